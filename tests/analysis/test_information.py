"""Information of one neuron and of the layers of a network."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer as sj_layer
from spikingjelly.activation_based import neuron as sj_neuron
from torch import nn

from spikejelly_pack import SpikePackNode
from spikejelly_pack.analysis import (
    best_operating_point,
    is_neuron,
    miller_madow,
    network_information,
    neuron_information,
)
from spikejelly_pack.spec.errors import ParameterError, ShapeError, UnsupportedError

SAMPLES = 2**14


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("drive", ["constant", "stream"])
@pytest.mark.parametrize("time_steps", [1, 2, 4])
def test_the_closed_form_is_what_sampled_codes_give(time_steps: int, drive: str, signed: bool) -> None:
    node = SpikePackNode(time_steps, signed=signed, form="packed", step_mode="m")
    found = neuron_information(node, time_steps, 0.4, 0.6, drive=drive)
    assert found.exact
    rng = np.random.default_rng(1)
    current = rng.normal(0.4, 0.6, (time_steps if drive == "stream" else 1, SAMPLES))
    weights = 2.0 ** np.arange(time_steps - 1, -1, -1)
    membrane = (np.broadcast_to(current, (time_steps, SAMPLES)) * weights[:, None]).sum(0) / weights.sum()
    codes = node.encode(torch.from_numpy(membrane)).numpy().astype(int)
    counts = np.unique(codes, return_counts=True)[1]
    # Four standard errors of the estimate: sd(-log2 p) / sqrt(N), with -log2 p of a code below T + 2 bits
    # here (variance below (T + 2)^2 / 4, Popoviciu).
    assert abs(found.bits - miller_madow(counts)) < 4 * (time_steps + 2) / 2 / math.sqrt(SAMPLES)


def test_sampling_agrees_with_the_closed_form_through_the_serial_node() -> None:
    exact = neuron_information(SpikePackNode(3), 3, 0.5, 0.4, drive="stream")
    # A leak of almost nothing takes the sampling way.
    sampled = neuron_information(SpikePackNode(3, leak=1e-9), 3, 0.5, 0.4, drive="stream", samples=SAMPLES)
    assert exact.exact
    assert not sampled.exact
    assert sampled.samples == SAMPLES
    assert abs(exact.bits - sampled.bits) < 4 * 2.5 / math.sqrt(SAMPLES)


@pytest.mark.parametrize("time_steps", [2, 4])
def test_a_held_value_moves_a_hard_reset_neuron_through_few_trains(time_steps: int) -> None:
    # With a constant current an IF neuron with hard reset fires with a fixed period 1..T, or never.
    found = best_operating_point(
        sj_neuron.IFNode(), time_steps, means=[0.5], stds=[0.4], samples=2**10, final_samples=SAMPLES
    )
    assert found.distinct == time_steps + 1
    assert found.bits <= math.log2(time_steps + 1)
    packed = best_operating_point(SpikePackNode(time_steps), time_steps)
    assert packed.bits > time_steps - 0.1
    assert packed.bits > found.bits


def test_one_step_neuron_is_a_threshold() -> None:
    # One step, threshold at the mean: one bit, whichever neuron.
    found = neuron_information(sj_neuron.IFNode(), 1, 1.0, 1.0, samples=SAMPLES)
    assert found.bits == pytest.approx(1.0, abs=1e-3)
    assert found.distinct == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"drive": "both"}, "drive must be"),
        ({"samples": 1}, "samples must be at least 2"),
        ({"std": 0.0}, "std positive"),
        ({"time_steps": 0}, "time_steps must be"),
        ({"time_steps": 3}, "the node's own 2"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, says: str) -> None:
    with pytest.raises(ParameterError, match=says):
        neuron_information(SpikePackNode(2), **{"time_steps": 2, **arguments})


def _identity(node: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Identity(), node)


def test_layer_of_a_network_carries_what_its_codes_carry() -> None:
    codes = torch.arange(8.0).repeat(4) / 7
    net = _identity(SpikePackNode(3, form="packed", step_mode="s"))
    [layer] = network_information(net, [codes[:16, None], (codes[16:, None], "label")])
    assert layer.name == "1"
    assert layer.samples == 32
    assert layer.plugin == pytest.approx(3.0, abs=1e-12)
    assert layer.bits == pytest.approx(3.0 + 7 / (64 * math.log(2)), abs=1e-12)
    assert layer.ceiling == pytest.approx(3.0)
    assert layer.silent == 0.0


def test_serial_and_packed_form_carry_the_same() -> None:
    x = torch.rand(64, 20, generator=torch.Generator().manual_seed(0)).double()
    packed = _identity(SpikePackNode(4, form="packed", step_mode="m"))
    serial = _identity(SpikePackNode(4, step_mode="m"))
    single = _identity(SpikePackNode(4, step_mode="s"))
    [one] = network_information(packed, [x[None]])
    [two] = network_information(serial, [x.expand(4, *x.shape)])
    assert (one.bits, one.plugin) == (two.bits, two.plugin)

    def steps(net: nn.Module, batch: torch.Tensor) -> None:
        # The pipeline's first T steps are silent, then the window's digits come.
        for _ in range(8):
            net(batch)

    [three] = network_information(single, [x], forward=steps)
    assert three.plugin == one.plugin


def test_neurons_are_drawn_and_silent_ones_counted() -> None:
    net = nn.Sequential(sj_layer.Linear(3, 10, bias=False, step_mode="m"), sj_neuron.LIFNode(step_mode="m"))
    nn.init.zeros_(net[0].weight)
    [layer] = network_information(net, [torch.ones(4, 8, 3)], neurons=6)
    assert (layer.neurons, layer.silent, layer.bits, layer.kind) == (6, 1.0, 0.0, "LIFNode")
    assert layer.ceiling == 3.0


def test_network_without_neurons_or_data_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="got none"):
        network_information(nn.Linear(2, 2), [torch.ones(1, 2)])
    net = _identity(SpikePackNode(3, form="packed"))
    with pytest.raises(UnsupportedError, match=r"\['9'\]"):
        network_information(net, [torch.ones(1, 2)], layers=["9"])
    with pytest.raises(UnsupportedError, match="must hold data"):
        network_information(net, [])
    with pytest.raises(ShapeError, match="layer 1 must keep its shape"):
        network_information(net, [torch.ones(1, 5), torch.ones(1, 2)])
    net.append(SpikePackNode(3, form="packed"))
    with pytest.raises(UnsupportedError, match="layer 2 must run"):
        network_information(net, [torch.ones(1, 2)], forward=lambda net, x: net[1](x))


def test_every_batch_starts_from_the_reset_state() -> None:
    net = _identity(sj_neuron.IFNode(step_mode="m"))
    x = torch.full((2, 4, 1), 0.4)
    net(x)  # leaves a membrane behind
    [layer] = network_information(net, [x, x])
    assert layer.silent == 1.0
    assert net[1].v == 0.0


def test_the_operating_point_is_judged_on_fresh_draws() -> None:
    node = sj_neuron.LIFNode()
    grid = {"means": [1.5], "stds": [0.7]}
    found = best_operating_point(node, 2, samples=64, final_samples=64, seed=3, **grid)
    assert found == neuron_information(node, 2, 1.5, 0.7, samples=64, seed=4)
    assert found != neuron_information(node, 2, 1.5, 0.7, samples=64, seed=3)


@pytest.mark.parametrize("name", ["IFNode", "LIFNode", "ParametricLIFNode", "ILIFNode", "KLIFNode"])
def test_neurons_and_what_is_made_from_them_are_neurons(name: str) -> None:
    kind = getattr(sj_neuron, name)
    own = type("Own", (kind,), {"__module__": "elsewhere"})
    assert is_neuron(kind())
    assert is_neuron(own())
    assert is_neuron(sj_neuron.PSN(2))
    assert is_neuron(SpikePackNode())
    assert not is_neuron(sj_layer.Linear(1, 1))
