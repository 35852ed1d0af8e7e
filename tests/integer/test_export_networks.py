"""Whole networks on maps, leak between windows, several inputs and outputs: converted, exported, compared."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import ann2snn, functional
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, SpikePackRecipe, set_form
from spikejelly_pack.integer import IntegerNetwork, accelerate, build_integer, export
from spikejelly_pack.integer.map_rules import phases
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.bounds import accumulator_bounds, check_bounds
from spikejelly_pack.spec.errors import BoundError, ParameterError, ShapeError, UnsupportedError
from spikejelly_pack.spec.execute import encode, outputs, run_packed, run_serial_multi_step
from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.stream import run_serial_single_step


def every_executor(network: Any, codes: Any) -> dict[str, Any]:
    """What all executors agree on."""
    packed = run_packed(network, codes)
    runs = {
        "multi-step": run_serial_multi_step(network, codes),
        "single-step": run_serial_single_step(network, codes),
        "torch": IntegerNetwork(network)(codes),
        "accelerate": accelerate(network).every_code(codes),
    }
    for executor, values in runs.items():
        assert list(values) == list(packed)
        for name, value in packed.items():
            got = np.asarray(values[name]).astype(np.int64)
            np.testing.assert_array_equal(got, value.astype(np.int64), err_msg=f"{executor} {name}")
    return packed


@pytest.mark.parametrize("name", ["resnet18", "vgg", "unet", "unet_transposed", "unet_deep"])
def test_converted_networks_export(name: str, map_networks: Any, tmp_path: Path) -> None:
    """Narrow ones; the full widths run with the marker ``models``."""
    ann, x = map_networks(name, width=2, samples=4)
    snn = ann2snn.Converter(SpikePackRecipe([x], time_steps=6)).convert(ann)
    network = export(snn, tmp_path / "net.spk", x, weight_bits=12, state_bits=32, golden=2)
    assert exchange.load(tmp_path / "net.spk").version == 2 if name != "resnet18" else True
    codes = every_executor(network, encode(network.inputs[0], x.numpy()))
    set_form(snn, "packed")
    functional.reset_net(snn)
    with torch.no_grad():
        expected = snn(x).numpy()
    got = outputs(network, codes)["output"]
    assert got.shape == expected.shape
    # Rounding moves codes, and random networks amplify that; another function would be a spread away or more.
    # Equality, code by code, is what test_exactness.py shows on networks without rounding.
    spread = float(np.abs(expected - expected.mean(0)).mean())
    assert float(np.abs(got - expected).mean()) < 0.5 * spread


def test_kinds_of_the_converted_networks(map_networks: Any) -> None:
    wanted = {
        "unet": {"max_pool2d", "upsample2d", "concat", "delay"},
        "unet_transposed": {"max_pool2d", "conv_transpose2d", "concat", "delay"},
        "vgg": {"max_pool2d", "conv2d", "dense"},
        "resnet18": {"add", "delay"},
    }
    for name, kinds in wanted.items():
        ann, x = map_networks(name, width=2)
        snn = ann2snn.Converter(SpikePackRecipe([x], time_steps=4)).convert(ann)
        network = build_integer(snn, x, state_bits=32)
        assert kinds <= {op.kind for op in network.ops.values()}, name
        assert network.unbalanced() == []


class Remembering(nn.Module):
    """Encoder, convolution, a node that carries, a head: integers throughout, so that the forms are equal."""

    def __init__(self, leak: float, carry: str, signed: bool, rounding: str) -> None:
        super().__init__()
        self.encoder = SpikePackNode(3, v_threshold=7.0)
        self.fc = nn.Linear(3, 4).double()
        rng = np.random.default_rng(3)
        self.fc.weight.data = torch.from_numpy(rng.integers(-5, 6, (4, 3)) * 7.0)
        self.fc.bias.data = torch.from_numpy(rng.integers(-4, 5, 4) + 0.0)
        theta = torch.tensor([3.0, 5.0, 7.0, 9.0], dtype=torch.float64) * 7
        self.node = SpikePackNode(
            3, v_threshold=theta, leak=leak, carry=carry, signed=signed, rounding=rounding
        )
        self.head = nn.Linear(4, 2).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.node(self.fc(self.encoder(x))))


@pytest.mark.parametrize("carry", ["residual", "membrane"])
@pytest.mark.parametrize(
    ("signed", "rounding"), [(False, "round_half_up"), (True, "floor"), (True, "round_half_up")]
)
def test_leak_one_is_the_float_form(carry: str, signed: bool, rounding: str, tmp_path: Path) -> None:
    """With leak = 1 the shift rounds nothing, so every code of every window is that of the float network."""
    net = Remembering(1.0, carry, signed, rounding).eval()
    set_form(net, "packed")
    x = torch.from_numpy(np.random.default_rng(1).integers(0, 8, (5, 6, 3)) * 1.0)
    network = export(net, tmp_path / "net.spk", x, windows=5, state_bits=32)
    assert (network.windows, network.neurons[0].leak_shift, network.neurons[0].carry) == (5, 0, carry)
    assert exchange.load(tmp_path / "net.spk").windows == 5
    codes = every_executor(network, encode(network.inputs[0], x.numpy()))
    functional.set_step_mode(net, "m")
    with torch.no_grad():
        expected = net.node(net.fc(net.encoder(x)))
    np.testing.assert_array_equal(codes["node"].astype(np.float64), np.rint(expected.numpy() * 7))


def test_accelerated_networks_take_windows() -> None:
    net = Remembering(0.5, "membrane", True, "floor").eval()
    set_form(net, "packed")
    x = torch.from_numpy(np.random.default_rng(2).integers(0, 8, (4, 3, 3)) * 1.0)
    model = accelerate(net, x, windows=4, state_bits=32)
    network = model.accelerated.network
    expected = outputs(network, run_packed(network, encode(network.inputs[0], x.numpy())))["output"]
    assert expected.shape == (4, 3, 2)
    np.testing.assert_array_equal(model(x).numpy(), expected)
    with pytest.raises(ShapeError, match=r"a run of 4 windows must have \[4, N, 3\], got \(3, 3, 3\); stack"):
        model(x[:3])


@pytest.mark.parametrize("shift", [1, 2, 5])
def test_smaller_leaks_are_close(shift: int) -> None:
    """The shift rounds by less than one unit of the membrane, 1/theta of an LSB: a code moves by one."""
    net = Remembering(2.0**-shift, "membrane", False, "round_half_up").eval()
    set_form(net, "packed")
    x = torch.from_numpy(np.random.default_rng(1).integers(0, 8, (6, 40, 3)) * 1.0)
    network = build_integer(net, x, windows=6, state_bits=32)
    assert network.neurons[0].leak_shift == shift
    codes = every_executor(network, encode(network.inputs[0], x.numpy()))
    functional.set_step_mode(net, "m")
    with torch.no_grad():
        expected = np.rint(net.node(net.fc(net.encoder(x))).numpy() * 7)
    off = np.abs(codes["node"] - expected)
    assert off.max() <= 1
    assert (off > 0).mean() < 0.02


def test_a_leak_needs_room_in_the_register() -> None:
    """The bound counts what is carried: without a leak more of the register is left to the weights."""
    x = torch.zeros(2, 1, 3, dtype=torch.float64)
    for leak in (0.0, 1.0):
        net = Remembering(leak, "membrane", False, "floor").eval()
        network = build_integer(net, x, windows=2, state_bits=12)
        assert all(bound.fits for bound in accumulator_bounds(network))
    with pytest.raises(
        UnsupportedError, match=r"neuron 'node': an exact integer form needs leak = 0, got 1\.0"
    ):
        build_integer(net, x, windows=2, exact=True)


class TwoInputs(nn.Module):
    """Two encoders, maps of two depths joined, a dict of outputs."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right = SpikePackNode(4), SpikePackNode(3, signed=True)
        self.conv, self.node = nn.Conv2d(2, 3, 3, padding=1), SpikePackNode(4)
        self.last = nn.Conv2d(4, 2, 1)
        self.mask, self.flat, self.label = nn.Conv2d(3, 1, 1), sj.Flatten(), nn.Linear(2 * 16, 5)
        self.end = SpikePackNode(4)

    def forward(self, image: Tensor, depth: Tensor) -> dict[str, Any]:
        deep = self.node(self.conv(self.left(image)))
        both = torch.cat([deep, self.right(depth)], 1)
        return {"mask": self.mask(deep), "scores": (self.label(self.flat(self.end(self.last(both)))), deep)}


def test_several_inputs_and_outputs(tmp_path: Path) -> None:
    torch.manual_seed(4)
    net = TwoInputs().eval()
    image, depth = torch.rand(3, 2, 4, 4), torch.randn(3, 1, 4, 4)
    network = export(net, tmp_path / "net.spk", {"depth": depth, "image": image}, golden=2)
    assert [op.name for op in network.inputs] == ["left", "right"]
    assert [op.name for op in network.readouts] == ["output_mask", "output_scores_0", "output_scores_1"]
    samples = exchange.golden_samples(exchange.load(tmp_path / "net.spk"), tmp_path / "net.spk")
    codes = {
        "left": encode(network.ops["left"], image.numpy()),
        "right": encode(network.ops["right"], depth.numpy()),
    }
    np.testing.assert_array_equal(samples["right"], codes["right"][:2])
    result = outputs(network, every_executor(network, codes))
    set_form(net, "packed")
    with torch.no_grad():
        expected = net(image, depth)
    np.testing.assert_allclose(result["output_mask"], expected["mask"].numpy(), atol=0.05)
    np.testing.assert_allclose(result["output_scores_0"], expected["scores"][0].numpy(), atol=0.1)
    by_order = build_integer(net, (image, depth))
    for name, value in run_packed(by_order, codes).items():
        np.testing.assert_array_equal(value, run_packed(network, codes)[name])


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.rand(1, 2, 4, 4), r"the network has inputs \['image', 'depth'\], got 1 example"),
        ({"image": torch.rand(1, 2, 4, 4)}, r"got \['image'\]; pass an example for each"),
        ((torch.rand(1, 2, 4, 4), torch.rand(2, 1, 4, 4)), "all inputs must have the same number of samples"),
    ],
)
def test_examples_of_several_inputs_are_checked(example: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        build_integer(TwoInputs(), example)


def test_windows_of_examples_are_checked() -> None:
    net = Remembering(1.0, "membrane", False, "floor")
    with pytest.raises(ShapeError, match=r"example_input must be \[3, N, \*\] with windows=3, got"):
        build_integer(net, torch.zeros(2, 1, 3, dtype=torch.float64), windows=3)
    with pytest.raises(ParameterError, match="export: windows must be an integer in 1"):
        build_integer(net, torch.zeros(2, 1, 3, dtype=torch.float64), windows=0)


def test_phases_are_the_taps_that_meet() -> None:
    """Of a 3 x 3 kernel at stride 2, four sets of taps: 4, 2, 2 and 1 of them; at stride 1 all meet."""
    assert sorted(int(mask.sum()) for mask in phases((3, 3), (2, 2), (1, 1))) == [1, 2, 2, 4]
    assert [int(mask.sum()) for mask in phases((3, 2), (1, 1), (1, 2))] == [6]
    assert sorted(int(mask.sum()) for mask in phases((3, 1), (2, 1), (2, 1))) == [3]


def test_a_wide_fan_in_says_what_holds_it() -> None:
    """Half of the levels of 8-bit weights, all at their ends: 64 * 4608 * (2^T - 1) < 2^23 up to T = 4."""
    fan_in = 4608
    linear = nn.Linear(fan_in, 1)
    linear.weight.data = torch.full((1, fan_in), 127 / 128)

    def net(steps: int) -> nn.Module:
        behind = SpikePackNode(steps, v_threshold=float(fan_in))
        return nn.Sequential(SpikePackNode(steps), linear, behind, nn.Linear(1, 2))

    x = torch.zeros(1, fan_in)
    said = r"neuron '2': in 1 of 1 channels the 24-bit membrane .* use T <= 4 or state_bits >="
    for steps in (8, 5):
        with pytest.warns(UserWarning, match=said):
            build_integer(net(steps), x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        build_integer(net(4), x)
        network = build_integer(net(8), x, state_bits=28)
    (neuron,) = network.neurons
    narrow = dataclasses.replace(neuron, state_bits=24, threshold=np.ones(1, np.int32))
    ops = [narrow if op is neuron else op for op in network.ops.values()]
    with pytest.raises(BoundError, match=r"neuron '2': neuron 0 can reach \d+, which needs 2\d bits, but"):
        check_bounds(Network(ops, network.time_steps))


@pytest.mark.models
@pytest.mark.parametrize(
    ("name", "width"),
    [("resnet18", 64), ("vgg", 64), ("unet", 16), ("unet_transposed", 32), ("unet_deep", 16)],
)
def test_full_widths_export(name: str, width: int, map_networks: Any, tmp_path: Path) -> None:
    """Fan-in 4608 in 24-bit registers at T = 6, 8-bit weights: proven to fit, written, read, run in torch."""
    ann, x = map_networks(name, width=width, samples=2)
    snn = ann2snn.Converter(SpikePackRecipe([x], time_steps=6, calibrator="max")).convert(ann)
    network = export(snn, tmp_path / "net.spk", x, golden=1)
    assert all(bound.fits and bound.state_bits == 24 for bound in accumulator_bounds(network))
    loaded = exchange.load(tmp_path / "net.spk")
    codes = encode(loaded.inputs[0], x[:1].numpy())
    packed = run_packed(loaded, codes)
    for executor in (IntegerNetwork(loaded)(codes), accelerate(loaded).every_code(codes)):
        for layer, value in packed.items():
            np.testing.assert_array_equal(executor[layer].numpy(), value.astype(np.int64), err_msg=layer)
