"""Hand-computed integer forms, hand-built networks, the file, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, convert
from spikejelly_pack.integer import build_integer, export
from spikejelly_pack.integer.pooling import unpool
from spikejelly_pack.integer.values import Pooled, Spikes
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import BoundError, DtypeError, ParameterError, ShapeError, UnsupportedError
from spikejelly_pack.spec.execute import encode, outputs, run_packed
from spikejelly_pack.spec.targets import Target


def node(time_steps: int = 2, theta: Any = 1.0, **options: Any) -> SpikePackNode:
    return SpikePackNode(time_steps, v_threshold=theta, **options)


def linear(weight: list[list[float]], bias: list[float] | None = None) -> nn.Linear:
    layer = nn.Linear(len(weight[0]), len(weight), bias=bias is not None)
    layer.weight.data = torch.tensor(weight)
    if bias is not None:
        layer.bias.data = torch.tensor(bias)
    return layer


def test_a_network_worked_out_by_hand() -> None:
    """T = 2: codes 0..3; one LSB is 1/3 before and behind, so r = (1/3, -2/3) / (1/3) = (1, -2)."""
    net = nn.Sequential(node(), linear([[1.0, -2.0]], [0.5]), node(), linear([[2.0]]))
    network = build_integer(net, torch.zeros(1, 2))
    (neuron,), (first, last) = network.neurons, network.synapses
    theta = int(neuron.threshold[0])
    np.testing.assert_array_equal(first.weight, [[theta, -2 * theta]])
    assert int(neuron.bias[0]) == round(0.5 * 3 * theta)  # b Q / theta LSBs, each theta units
    codes = run_packed(network, np.array([[3, 0], [3, 1], [2, 0], [0, 3], [0, 0]], np.uint8))
    # P = clamp(floor(p0 - 2 p1 + 1.5 + 0.5), 0, 3)
    np.testing.assert_array_equal(codes["2"][:, 0], [3, 3, 3, 0, 2])
    np.testing.assert_allclose(
        outputs(network, codes)["output"][:, 0], [2.0, 2.0, 2.0, 0.0, 4 / 3], rtol=1e-6
    )
    assert last.weight.shape == (1, 1)


def test_unpool_is_the_transpose_of_average_pooling() -> None:
    """Left-over rows, overlaps and padding included."""
    generator = torch.Generator().manual_seed(3)
    for height, width, kernel, stride, padding in [
        (6, 6, (2, 2), (2, 2), (0, 0)), (7, 5, (3, 2), (2, 1), (1, 0)), (8, 8, (2, 3), (3, 3), (1, 1)),
        (5, 7, (3, 3), (1, 2), (0, 1)),
    ]:  # fmt: skip
        x = torch.rand(4, 2, height, width, generator=generator, dtype=torch.float64)
        pooled = nn.AvgPool2d(kernel, stride, padding)(x)
        gain = torch.rand(2, generator=generator, dtype=torch.float64)
        weight = torch.rand(3, pooled[0].numel(), generator=generator, dtype=torch.float64)
        spikes = Spikes("x", np.ones(2), (2, height, width), 1, False)
        size = (pooled.shape[2], pooled.shape[3])
        value = Pooled(spikes, kernel, stride, padding, size, True, gain.numpy())
        expected = (pooled * gain[:, None, None]).flatten(1) @ weight.T
        got = x.flatten(1).numpy() @ unpool(weight.numpy(), value).T
        np.testing.assert_allclose(got, expected.numpy(), rtol=1e-12)


@pytest.mark.parametrize(("name", "numbers"), [("valid", (0, 0)), ("same", (2, 1))])
def test_paddings_by_name_are_those_in_numbers(name: str, numbers: tuple[int, int]) -> None:
    torch.manual_seed(0)
    named = nn.Conv2d(1, 2, (3, 2), padding=name, dilation=2)  # (k - 1) dilation = 4 and 2
    x = torch.rand(2, 1, 6, 5)
    shape = named(x).shape[1:]
    net = nn.Sequential(node(4), named, node(4), nn.Flatten(), nn.Linear(shape.numel(), 2))
    network = build_integer(net, x)
    assert next(op for op in network.synapses if op.kind == "conv2d").padding == numbers
    assert network.shapes["2"] == tuple(shape)


def test_best_pooling_weight_is_exact_where_one_exists() -> None:
    """2 x 2 average into an equal threshold: theta_int = 4 m."""
    net = nn.Sequential(node(4), sj.AvgPool2d(2), node(4), nn.Flatten(), nn.Linear(2, 2))
    network = build_integer(net, torch.zeros(1, 2, 2, 2))
    (neuron,) = network.neurons
    pool = next(op for op in network.synapses if op.kind == "avg_pool2d")
    np.testing.assert_array_equal(neuron.threshold, 4 * pool.multiplier)


def test_the_bias_has_a_say_in_the_denominator() -> None:
    """Weight 1/3 and bias 1/9 of an LSB: 381 is the finest denominator of the weight alone, not of both."""
    net = nn.Sequential(node(), linear([[1 / 3]], [1 / 27]), node(), linear([[1.0]]))
    (neuron,) = build_integer(net, torch.zeros(1, 1)).neurons
    assert int(neuron.threshold[0]) == 9 * int(neuron.bias[0])


def test_the_window_of_the_nodes_is_that_of_the_file() -> None:
    """The network worked out by hand with T = 2 in a window of 5, whose weights absorb 31 / 3."""
    net = nn.Sequential(
        node(window=5), linear([[31 / 3, -62 / 3]], [0.5]), node(window=5), linear([[62 / 3]])
    )
    network = build_integer(net, torch.zeros(1, 2))
    assert network.time_steps == 5
    assert [op.time_steps for op in (*network.inputs, *network.neurons)] == [2, 2]
    theta = int(network.neurons[0].threshold[0])
    np.testing.assert_array_equal(network.synapses[0].weight, [[theta, -2 * theta]])
    codes = run_packed(network, np.array([[3, 0], [3, 1], [2, 0], [0, 3], [0, 0]], np.uint8))
    np.testing.assert_array_equal(codes["2"][:, 0], [3, 3, 3, 0, 2])
    np.testing.assert_allclose(
        outputs(network, codes)["output"][:, 0], [2.0, 2.0, 2.0, 0.0, 4 / 3], rtol=1e-6
    )


def test_batchnorm_scaled_output_and_reused_nodes_are_exported() -> None:
    torch.manual_seed(1)

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = node(6, 1.0)
            self.conv, self.norm = sj.Conv2d(2, 3, 3), sj.BatchNorm2d(3)
            self.again, self.node = sj.Conv2d(3, 3, 1), node(6, 1.5, scale_output=True)
            self.norm.running_var.uniform_(0.5, 2)
            self.norm.running_mean.normal_()

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            x = self.node(self.norm(self.conv(self.encoder(x))))
            return x, self.again(self.node(self.again(x)))

    net, x = Net().eval(), torch.rand(5, 2, 6, 6)
    network = build_integer(net, x, weight_bits=12, state_bits=32)
    assert len(network.neurons) == 2
    membranes = run_packed(network, encode(network.inputs[0], x.numpy()))
    for module in (net.encoder, net.node):
        module.form = "packed"
    with torch.no_grad():
        expected = net(x)
    for name, reference in zip(("output_0", "output_1"), expected, strict=True):
        got = outputs(network, membranes)[name]
        assert np.linalg.norm(got - reference.numpy()) < 0.02 * np.linalg.norm(reference.numpy())


def test_a_silent_channel_with_a_bias_fits() -> None:
    """No weight bounds its scale; the register does, whatever the bias."""
    net = nn.Sequential(
        node(8), linear([[1.0], [0.0], [1e-6]], [0.0, 300.0, 0.9]), node(8), linear([[1.0] * 3])
    )
    network = build_integer(net, torch.zeros(1, 1))
    codes = run_packed(network, np.array([[0], [255]], np.uint8))
    np.testing.assert_array_equal(codes["2"], [[0, 255, 230], [255, 255, 230]])


def test_file_round_trip_with_golden_samples(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        node(4), nn.Conv2d(1, 2, 3), node(4, torch.tensor([0.5, 0.8])), nn.Flatten(), nn.Linear(32, 3)
    )
    x = torch.rand(6, 1, 6, 6, dtype=torch.float64)
    network = export(net, tmp_path / "net.spk", x, golden=2)
    assert [file.name for file in tmp_path.iterdir()] == ["net.spk"]
    loaded = exchange.load(tmp_path / "net.spk")
    codes = encode(network.inputs[0], x.numpy())
    for name, value in run_packed(network, codes).items():
        np.testing.assert_array_equal(run_packed(loaded, codes)[name], value)


REFUSED = [
    ([nn.Conv2d(1, 2, 3), node()], "layer '0': must read spikes, got the analog input"),
    ([node(), nn.Conv2d(1, 2, (3, 2), padding="same"), node()],
     r"layer '1': padding must be the same on both sides, got 'same' with a kernel of \(3, 2\)"),
    ([node(), nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), node()],
     "layer '1': padding must be zeros, got padding_mode='reflect'"),
    ([node(), nn.Conv2d(1, 1, 1), sj.MaxPool2d(2)],
     "layer '2': max-pooling must read spikes, got a sum of currents; put the SpikePackNode in front"),
    ([sj.MaxPool2d(2), node()], "layer '0': must read spikes, got the analog input"),
    ([node(), sj.Upsample(scale_factor=2, mode="bilinear")],
     "layer '1': upsampling must repeat values, got mode 'bilinear'; use mode='nearest'"),
    ([node(), sj.Upsample(scale_factor=1.5)],
     r"layer '1': upsampling must be by whole factors, got \(1.5, 1.5\)"),
    ([node(), sj.Upsample(size=(4, 12))], "layer '1': upsampling must be by whole factors"),
    ([node(), nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 1)],
     "layer '2': a convolution must read spikes, got a sum"),
    ([node(), nn.AvgPool2d(2), nn.Conv2d(1, 2, 1)], r"layer '2': .* must read spikes, got average-pooled"),
    ([node(), nn.AvgPool2d(2, ceil_mode=True)], "layer '1': average pooling must divide every window alike"),
    ([node(), sj.AdaptiveAvgPool2d(4)], "layer '1': adaptive pooling must divide"),
    ([node(tau=1.5)], "neuron '0': the integer form needs tau = 2"),
    ([node(), nn.Conv2d(1, 1, 1), node(leak=0.3)],
     r"neuron '2': leak must be 2\^-k .* got 0.3; train with the nearest, 0.25 \(k = 2\)"),
    ([node(leak=0.5)], "neuron '0': the encoder of an input codes every window for itself, got leak = 0.5"),
    ([node(), nn.GELU()], "layer '1': GELU has no conversion rule"),
    ([node(), sj.GroupNorm(1, 1)], "layer '1': GroupNorm has no integer form"),
    ([node(), nn.Linear(6, 6)], r"layer '1': a linear layer must read .* got shape \(1, 6, 6\)"),
    ([node(), nn.Conv2d(1, 1, 1), node(theta=torch.ones(6), channel_dim=2)], "channels must be dimension 1"),
    ([node(), sj.WSConv2d(1, 1, 1)], "layer '1': WSConv2d has no integer form"),
]  # fmt: skip


@pytest.mark.parametrize(("layers", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_refusals_name_the_layer(layers: list[nn.Module], message: str) -> None:
    net = nn.Sequential(*layers, nn.Flatten(), nn.Identity())
    with pytest.raises(UnsupportedError, match=message):
        build_integer(net, torch.rand(2, 1, 6, 6))


def test_a_forward_that_fails_without_a_word_is_named_by_its_error() -> None:
    class Silent(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            raise TypeError

    with pytest.raises(UnsupportedError, match="able to trace the network, got TypeError: TypeError; move"):
        build_integer(nn.Sequential(Silent(), SpikePackNode(2, form="packed")), torch.zeros(1, 2))


def test_networks_without_nodes_or_one_encoder_are_refused() -> None:
    with pytest.raises(UnsupportedError, match="must hold at least one SpikePackNode"):
        build_integer(nn.Sequential(nn.Linear(2, 2)), torch.zeros(1, 2))

    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.fc = node(), node(3), nn.Linear(2, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(self.a(x)) + self.b(x)

    with pytest.raises(UnsupportedError, match="the input must pass one SpikePackNode"):
        build_integer(Two(), torch.zeros(1, 2))


def test_channels_that_cannot_fit_are_named() -> None:
    net = nn.Sequential(node(), linear([[1.0], [1e6]]), node(), linear([[1.0, 1.0]]))
    with pytest.raises(
        BoundError, match=r"neuron '2': channel 1 must fit its widths .* the weight width of '1'"
    ):
        build_integer(net, torch.zeros(1, 1))
    with pytest.raises(BoundError, match="neuron '2': channel 0 must fit its widths"):
        build_integer(
            nn.Sequential(node(8), linear([[1.0]]), node(8), linear([[1.0]])), torch.zeros(1, 1), state_bits=8
        )


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"weight_bits": 1}, ParameterError, "weight_bits must be an integer in 2..16, got 1"),
        ({"skip_bits": 20}, ParameterError, "skip_bits must be an integer in 2..16, got 20"),
        ({"state_bits": 40}, BoundError, "state_bits must be an integer in 8..32, got 40"),
        ({"golden": -1}, ParameterError, "golden must be an integer >= 0, got -1"),
    ],
)
def test_widths_are_checked(tmp_path: Path, options: dict[str, int], error: Any, message: str) -> None:
    net = nn.Sequential(node(), nn.Linear(2, 2))
    with pytest.raises(error, match=message):
        export(net, tmp_path / "net.spk", torch.zeros(1, 2), **options)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("example", "error", "message"),
    [
        (
            torch.zeros(1, 3),
            ShapeError,
            "export: the network must accept its input, got torch.float32 of shape",
        ),
        (torch.zeros(2), ShapeError, r"example_input must be a batch \[N, \*\]"),
        (
            torch.zeros(1, 2, dtype=torch.int64),
            DtypeError,
            "must be a floating point tensor, got torch.int64",
        ),
        (torch.full((1, 2), torch.nan), DtypeError, "must hold no NaN"),
    ],
)
def test_examples_are_checked(example: Tensor, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        build_integer(nn.Sequential(node(), nn.Linear(2, 2)), example)


def test_a_target_that_the_network_exceeds_leaves_no_file(tmp_path: Path) -> None:
    """The widths come from the target; what still does not fit is named and nothing is written."""
    net = nn.Sequential(node(4), linear([[1.0] * 64] * 2)).eval()
    path = tmp_path / "net.spk"
    x = torch.rand(3, 64)
    network = export(net, path, x, target="loihi2")
    assert {op.state_bits for op in network.readouts} == {24}
    path.unlink()
    narrow = Target("narrow", weight_bits=8, state_bits=10, overflow="wrap")
    with pytest.raises(BoundError, match=r"readout 'output': neuron 0 can reach 121920 \(observed: \d+, "):
        export(net, path, x, target=narrow, state_bits=24)
    assert list(tmp_path.iterdir()) == []


def test_networks_of_the_module_route_are_refused_with_what_fx_said() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.SiLU(), nn.Linear(4, 2))
    snn = convert(net, [torch.rand(8, 3)], time_steps=4, progress=False)
    with pytest.raises(
        UnsupportedError, match=r"module route.*not by fx: layer '1': SiLU has no conversion rule"
    ):
        build_integer(snn, torch.rand(2, 3))
