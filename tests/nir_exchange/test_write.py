"""What is written computes, evaluated by NIR's definitions, what the packed network computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from spikingjelly.activation_based import layer as sj
from torch import nn

from spikejelly_pack import SpikePackNode, build_integer, read_nir, set_form, write_nir
from spikejelly_pack.layer.synaptic_scale import ChannelConcat, SynapticScale
from spikejelly_pack.spec.errors import ExchangeFileError, OutputError, ParameterError, UnsupportedError
from spikejelly_pack.spec.execute import as_inputs, encode, outputs, run_packed
from spikejelly_pack.spec.graph import Dense, Input, Network, Neuron, Readout


class Net(nn.Module):
    """Every operation that NIR has.

    Weights are small integers and inputs codes, so sums are multiples of 1/4 LSB; thresholds are m + 1/97, of
    which no multiple up to 2^5 is one: no sum lies on a threshold.
    """

    def __init__(self, seed: int, **options: Any) -> None:
        super().__init__()
        rng = np.random.default_rng(seed)
        self.steps = options.pop("time_steps")
        full = float(2**self.steps - 1)

        def layer(module: Any) -> Any:
            for parameter in module.parameters():
                values = torch.from_numpy(rng.integers(-6, 7, tuple(parameter.shape))).double()
                parameter.data = values / full if parameter is module.bias else values
            return module

        def node(channels: int, part: int = 1) -> SpikePackNode:
            theta = torch.from_numpy(rng.integers(5, 30, channels) + 1 / 97) / part
            return SpikePackNode(self.steps, v_threshold=theta, **options)

        self.encoder = SpikePackNode(self.steps, v_threshold=full, **options)
        self.conv = layer(sj.Conv2d(2, 4, 3, padding=1))
        self.node = node(4)
        self.grouped = layer(nn.Conv2d(4, 4, 3, padding=2, dilation=2, groups=2, bias=False))
        self.skip = SynapticScale(torch.from_numpy(rng.integers(1, 4, 4)).double())
        self.second = node(4)
        self.pool = nn.AvgPool2d(2)
        self.third = node(4, part=32)
        self.flatten = nn.Flatten()
        self.head = layer(nn.Linear(4 * 3 * 3, 5))
        set_form(self, "packed")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.node(self.conv(self.encoder(x)))
        x = self.second(self.grouped(x) + self.skip(x) + x + x)
        x = self.third(self.pool(x))
        return self.head(self.flatten(x))


def net_and_batch(seed: int, **options: Any) -> tuple[Net, torch.Tensor]:
    net = Net(seed, **options).eval()
    low = -(2**net.steps) if options["signed"] else 0
    batch = np.random.default_rng(seed + 1).integers(low, 2**net.steps, (2, 2, 6, 6))
    return net, torch.from_numpy(batch).double()


OPTIONS = st.fixed_dictionaries(
    {
        "time_steps": st.integers(1, 5),
        "signed": st.booleans(),
        "rounding": st.sampled_from(["round_half_up", "floor"]),
    }
)
FEW = hypothesis_settings(
    max_examples=5,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@FEW
@given(options=OPTIONS, seed=st.integers(0, 999))
def test_float_network_is_written_exactly(options: dict[str, Any], seed: int, evaluate: Any) -> None:
    net, batch = net_and_batch(seed, **options)
    with torch.no_grad():
        expected = net(batch).numpy()
    np.testing.assert_allclose(evaluate(write_nir(net, None, batch), batch), expected, rtol=1e-11, atol=1e-11)


@FEW
@given(options=OPTIONS, seed=st.integers(0, 999))
def test_integer_network_is_written_exactly(options: dict[str, Any], seed: int, evaluate: Any) -> None:
    net, batch = net_and_batch(seed, **options)
    network = build_integer(net, batch)
    codes = encode(network.inputs[0], batch.numpy())
    (expected,) = outputs(network, run_packed(network, as_inputs(network, codes))).values()
    graph = write_nir(network, None)
    assert graph.nodes["conv"].weight.dtype == np.float32
    np.testing.assert_allclose(evaluate(graph, batch), expected, rtol=1e-12, atol=1e-12)
    scale = graph.nodes["output_scale"]
    scale.weight[:], scale.bias[:] = np.eye(5), 0
    membranes = run_packed(network, as_inputs(network, codes))["output"] - network.readouts[0].bias
    assert np.array_equal(evaluate(graph, batch), membranes)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("rounding", ["round_half_up", "floor"])
def test_every_tie_fires(signed: bool, rounding: str, evaluate: Any) -> None:
    """Small integer thresholds, all pairs of codes: every membrane on a threshold is met."""
    low = -7 if signed else 0
    codes = np.array([(a, b) for a in range(low, 8) for b in range(low, 8)])
    options = {"time_steps": 3, "signed": signed, "rounding": rounding}
    weight = np.array([[1, 0], [2, -1], [3, 5]], np.int32)
    network = Network(
        [
            Input("x", (), np.array([7.0], np.float32), (2,), **options),
            Dense("w", ("x",), 8, weight),
            Neuron("n", ("w",), np.array([1, 3, 4], np.int32), np.array([0, -5, 2], np.int32), **options),
            Dense("v", ("n",), 8, np.eye(3, dtype=np.int32)),
            Readout("y", ("v",), np.ones(3), np.zeros(3, np.int32)),
        ],
        time_steps=3,
    )
    expected = run_packed(network, as_inputs(network, codes))["n"]
    if low == 0 and rounding == "floor":  # the table by hand, for two of the pairs
        table = {(7, 7): (7, min((14 - 7 - 5) // 3, 7), min((21 + 35 + 2) // 4, 7)), (4, 0): (4, 1, 3)}
        assert {pair: tuple(expected[codes.tolist().index(list(pair))]) for pair in table} == table
    assert np.array_equal(evaluate(write_nir(network, None), codes), expected)


@FEW
@given(options=OPTIONS, seed=st.integers(0, 999))
def test_files_read_back_into_the_same_network(options: dict[str, Any], seed: int, tmp_path: Path) -> None:
    net, batch = net_and_batch(seed, **options)
    path = tmp_path / "net.nir"
    write_nir(net, path, batch)
    back = read_nir(path, dtype=torch.float64)
    with torch.no_grad():
        np.testing.assert_allclose(back(batch), net(batch), rtol=1e-11, atol=1e-11)
    network = build_integer(net, batch)
    write_nir(network, path)
    again = read_nir(path, dtype=torch.float64)
    codes = encode(network.inputs[0], batch.numpy())
    (expected,) = outputs(network, run_packed(network, as_inputs(network, codes))).values()
    with torch.no_grad():
        np.testing.assert_allclose(again(batch).numpy(), expected, rtol=1e-12, atol=1e-12)


def test_network_read_back_exports_to_the_same_integers(tmp_path: Path) -> None:
    net, batch = net_and_batch(3, time_steps=4, signed=False, rounding="round_half_up")
    write_nir(net, tmp_path / "net.nir", batch)
    one, two = (build_integer(m, batch) for m in (net, read_nir(tmp_path / "net.nir", dtype=torch.float64)))
    for a, b in zip(one.neurons, two.neurons, strict=True):
        assert np.array_equal(a.threshold, b.threshold)
        assert np.array_equal(a.bias, b.bias)
    for a, b in zip(one.synapses, two.synapses, strict=True):
        if a.name == "grouped":  # written with zeros between the groups
            dense = np.zeros_like(b.weights())
            dense[:2, :2], dense[2:, 2:] = a.weights()[:2], a.weights()[2:]
            assert np.array_equal(dense, b.weights())
        else:
            assert np.array_equal(a.weights(), b.weights())


def test_files_pass_the_check_of_nir_itself(tmp_path: Path) -> None:
    net, batch = net_and_batch(3, time_steps=3, signed=True, rounding="floor")
    for network in (net, build_integer(net, batch)):
        write_nir(network, tmp_path / "net.nir", batch)
        assert nir.read(tmp_path / "net.nir").check_types()


@pytest.mark.parametrize("tau", [1.3, 1.7, 2.0])
@pytest.mark.parametrize("rounding", ["round_half_up", "floor"])
@pytest.mark.parametrize("scale_output", [False, True])
def test_digits_of_one_population(tau: float, rounding: str, scale_output: bool, evaluate: Any) -> None:
    node = SpikePackNode(
        5, tau, 1.7, signed=True, rounding=rounding, scale_output=scale_output, form="packed"
    )
    values = torch.linspace(-2.0, 2.0, 997, dtype=torch.float64)[None]
    net = nn.Sequential(node, nn.Linear(997, 1, bias=False).double())
    net[1].weight.data.zero_()
    graph = write_nir(net, None, values)
    assert np.allclose(evaluate(graph.nodes["0"], values), node(values).numpy(), rtol=1e-14)


def test_conv1d(evaluate: Any) -> None:
    net = nn.Sequential(
        SpikePackNode(3, v_threshold=7.0, form="packed"),
        nn.Conv1d(2, 3, 3, stride=2, padding=1),
        nn.Flatten(),
    ).double()
    batch = torch.from_numpy(np.random.default_rng(0).integers(0, 8, (2, 2, 9))).double()
    graph = write_nir(net, None, batch)
    with torch.no_grad():
        assert np.allclose(evaluate(graph, batch), net(batch).numpy(), rtol=1e-12)
        assert torch.equal(read_nir(graph, dtype=torch.float64)(batch), net(batch))


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(SpikePackNode(2, form="packed"), *layers)


class Concat(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.node, self.concat = SpikePackNode(2), ChannelConcat()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.node(x)
        return self.concat(x, x)


@pytest.mark.parametrize(
    ("net", "says"),
    [
        (sequential(nn.MaxPool2d(2)), "MaxPool2d has no counterpart in NIR"),
        (Concat(), "ChannelConcat has no counterpart"),
        (sequential(nn.Linear(6, 2)), "'1': a linear layer must read samples with one axis"),
        (sequential(nn.Conv2d(2, 2, 3, padding_mode="circular")), "padding must be zeros"),
        (sequential(nn.AvgPool2d(4, ceil_mode=True)), "must divide every window alike"),
        (nn.Sequential(SpikePackNode(2, leak=0.5)), "neuron '0' must have leak 0, got 0.5"),
        (sequential(nn.Conv2d(2, 2, (3, 1))), "NIR infers the shapes of square kernels only"),
    ],
)
def test_what_nir_cannot_express_is_refused_by_name(net: nn.Module, says: str) -> None:
    with pytest.raises(UnsupportedError, match=says):
        write_nir(net, None, torch.zeros(1, 2, 6, 6))


def test_integer_concatenation_is_refused() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.flat, self.b = SpikePackNode(2), nn.Flatten(), nn.Linear(8, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.a(x)
            return self.b(self.flat(torch.cat([x, x], 1)))

    with pytest.raises(UnsupportedError, match=r"concat .* has no counterpart in NIR"):
        write_nir(build_integer(Two(), torch.zeros(1, 1, 2, 2)), None)


def test_integer_leak_is_refused() -> None:
    network = Network(
        [
            Input("x", (), np.ones(1, np.float32), (2,)),
            Dense("w", ("x",), 8, np.eye(2, dtype=np.int32)),
            Neuron("n", ("w",), np.ones(2, np.int32), np.zeros(2, np.int32), leak_shift=2),
            Dense("v", ("n",), 8, np.eye(2, dtype=np.int32)),
            Readout("y", ("v",), np.ones(2), np.zeros(2, np.int32)),
        ],
        time_steps=4,
    )
    with pytest.raises(UnsupportedError, match=r"neuron 'n' must have leak 0, got 0.25"):
        write_nir(network, None)


def test_bad_arguments(tmp_path: Path) -> None:
    net = sequential(nn.Flatten())
    with pytest.raises(ParameterError, match="example_input must be a batch"):
        write_nir(net, None)
    with pytest.raises(OutputError, match="choose another output path"):
        write_nir(net, tmp_path, torch.zeros(1, 2, 2, 2))


def test_altered_population_is_refused(tmp_path: Path) -> None:
    graph = write_nir(sequential(nn.Flatten()), None, torch.zeros(1, 2, 2, 2))
    graph.nodes["0"].nodes["digit_1"].threshold[0] += 1
    nir.write(tmp_path / "net.nir", graph)
    with pytest.raises(ExchangeFileError, match="must be those its metadata describes"):
        read_nir(tmp_path / "net.nir")
    graph.nodes["0"].metadata["spikepack"] = "{}"
    with pytest.raises(ExchangeFileError, match="must describe a SpikePack population"):
        read_nir(graph)
    graph.nodes["0"].metadata.clear()
    with pytest.raises(UnsupportedError, match="got a sub-graph; flatten it"):
        read_nir(graph)
