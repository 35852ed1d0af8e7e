"""Adaptive rounding: never worse than the nearest integers, the best of all where they can be tried."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import ann2snn
from torch import nn

from spikejelly_pack import SpikePackRecipe, build_integer
from spikejelly_pack.integer.adaptive import descend
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.spec.execute import encode, outputs, run_packed


def cost(weights: Any, target: Any, spread: Any) -> Any:
    return np.einsum("ck,kl,cl->c", weights - target, spread, weights - target)


@pytest.mark.parametrize("seed", range(20))
def test_descent_against_every_choice(seed: int) -> None:
    """All 2^K roundings of small rows: no single move helps, and the best is often reached."""
    rng = np.random.default_rng(seed)
    target, inputs = rng.normal(0, 2, (6, 5)), rng.integers(0, 8, (30, 3)) @ rng.normal(size=(3, 5))
    spread = np.cov(inputs, rowvar=False)
    nearest = np.rint(target).astype(np.int32)
    found = descend(target, nearest, spread, 3)
    assert np.abs(found - target).max() < 1 + 1e-12 + np.abs(target).max().clip(3) - 3
    assert (np.abs(found) <= np.maximum(3, np.abs(nearest))).all()
    before, after = cost(nearest, target, spread), cost(found, target, spread)
    assert (after <= before + 1e-9).all()
    choices = np.array(list(itertools.product((0, 1), repeat=5)))
    for row in range(6):
        every = np.floor(target[row]) + choices
        every = every[(np.abs(every) <= 3).all(1)]
        if not len(every):
            continue
        costs = cost(every, target[row], spread)
        neighbours = (np.abs(every - found[row]).sum(1) == 1) & (np.abs(every - target[row]) < 1).all(1)
        assert (costs[neighbours] >= after[row] - 1e-9).all()


def test_integers_and_limits_stay() -> None:
    target = np.array([[1.0, -2.0, 0.0, 2.5], [3.0, 0.4, 0.4, 0.4]])
    spread = np.ones((4, 4)) + 1e-3 * np.eye(4)
    found = descend(target, np.rint(target).astype(np.int32), spread, 3)
    assert found[0, :3].tolist() == [1, -2, 0]
    assert found[1].tolist() == [3, 1, 0, 0], "the errors of three 0.4 make one"
    assert descend(np.array([[2.6, 2.6]]), np.array([[3, 3]], np.int32), np.ones((2, 2)), 3).sum() == 5
    assert (
        descend(np.array([[3.4, 3.4, 3.4]]), np.array([[3, 3, 3]], np.int32), np.ones((3, 3)), 3).max() == 3
    )


class Net(nn.Module):
    """Grouped, strided and dilated convolutions, a skip connection, pooling, a dense head."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(2, 6, 3, padding=1)
        self.b, self.c = nn.Conv2d(6, 6, 3, padding=2, dilation=2, groups=3), nn.Conv2d(6, 8, 3, stride=2)
        self.pool, self.head = nn.AvgPool2d(3), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.a(x))
        x = torch.relu(self.b(x) + x)
        return self.head(self.pool(torch.relu(self.c(x))).flatten(1))


@pytest.fixture(scope="module")
def converted() -> tuple[Any, torch.Tensor]:
    torch.manual_seed(0)
    smooth = nn.functional.interpolate(torch.rand(96, 2, 3, 3), size=8, mode="bilinear")
    recipe = SpikePackRecipe([smooth], time_steps=3, progress=False)
    return ann2snn.Converter(recipe).convert(Net().eval()), smooth


@torch.no_grad()
@pytest.mark.parametrize("bits", [4, 5, 8])
def test_outputs_come_nearer_to_the_float_form(bits: int, converted: Any) -> None:
    """On samples that were not used; weights stay within their width, within 1 of the real ones."""
    snn, x = converted
    wanted = snn(x[64:]).numpy()
    errors = {}
    for adaptive in (False, True):
        network = build_integer(snn, x[:64], weight_bits=bits, adaptive_rounding=adaptive)
        codes = encode(network.inputs[0], x[64:].numpy())
        got = outputs(network, run_packed(network, codes))["output"]
        errors[adaptive] = np.linalg.norm(got - wanted) / np.linalg.norm(wanted)
        limit = 2 ** (bits - 1) - 1
        widths = [
            int(np.abs(op.weights()).max()) for op in network.synapses if op.kind in {"conv2d", "dense"}
        ]
        assert max(widths) <= limit
    assert errors[True] < errors[False] * (0.9 if bits < 8 else 1.0)


@torch.no_grad()
def test_the_first_layer_is_the_best_of_its_neighbours(converted: Any) -> None:
    """Written out: covariance of the windows by torch's unfold, every single move tried."""
    snn, x = converted
    network = build_integer(snn, x, weight_bits=4, adaptive_rounding=True)
    plain = build_integer(snn, x, weight_bits=4)
    first, nearest = network.synapses[0], plain.synapses[0]
    neuron, other = network.neurons[0], plain.neurons[0]
    np.testing.assert_array_equal(neuron.threshold, other.threshold)
    (entry,) = network.inputs
    codes = torch.from_numpy(encode(entry, x.numpy()).astype(np.float64))
    windows = nn.functional.unfold(codes, 3, padding=1).transpose(1, 2).flatten(0, 1).numpy()
    spread = np.cov(windows, rowvar=False, bias=True)
    lsb = snn.get_submodule(snn.report.layers[1].path).theta.double().numpy() / 7
    real = snn.get_submodule("a").weight.double().flatten(1).numpy() / 7  # the encoder's amplitude is in it
    target = real / lsb.reshape(-1, 1) * neuron.threshold.reshape(-1, 1)
    found, before = first.weight.reshape(6, -1), nearest.weight.reshape(6, -1)
    assert np.abs(found - target).max() < 1
    np.testing.assert_array_equal(before, np.rint(target))
    assert (cost(found, target, spread) <= cost(before, target, spread)).all()
    assert cost(found, target, spread).sum() < 0.9 * cost(before, target, spread).sum()
    shift = np.rint(neuron.bias - other.bias + (found - target) @ windows.mean(0))
    assert np.abs(shift).max() <= 1, "the mean of the error is taken off the bias"


def test_exact_and_adaptive_exclude_each_other(converted: Any) -> None:
    snn, x = converted
    with pytest.raises(ParameterError, match="adaptive_rounding must be False with exact=True"):
        build_integer(snn, x, exact=True, adaptive_rounding=True)
