"""The integer network holds the quantizer's own integers. Oracles: the quantizer; brute force."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import ann2snn
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn

from spikejelly_pack.bit_budget.quantize import quantize_weights, quantizer_of
from spikejelly_pack.integer import build_integer
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.recipes import SpikePackRecipe
from spikejelly_pack.spec.errors import UnsupportedError
from spikejelly_pack.spec.execute import encode, outputs, run_packed
from spikejelly_pack.spec.graph import Network


class Residual(nn.Module):
    """A skip connection (two branches in one sum), pooling folded into a linear layer, channel thresholds."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1)
        self.inner = nn.Conv2d(6, 6, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x))
        x = torch.relu(self.norm(self.inner(x)) + x)
        return self.head(nn.functional.avg_pool2d(x, 4).flatten(1))


def inputs(samples: int = 40) -> Tensor:
    return torch.rand(samples, 2, 4, 4, generator=torch.Generator().manual_seed(1))


def converted(time_steps: int = 4) -> Any:
    torch.manual_seed(5)
    recipe = SpikePackRecipe([inputs()], time_steps=time_steps, progress=False)
    return ann2snn.Converter(recipe).convert(Residual())


def integer_weights(network: Network) -> dict[str, np.ndarray]:
    return {op.name: np.asarray(op.weights()) for op in network.synapses if op.kind in ("conv2d", "dense")}


def own_integers(net: nn.Module) -> dict[str, np.ndarray]:
    found = {}
    for path, module in net.named_modules():
        if (quantizer := quantizer_of(module)) is not None:
            found[path] = quantizer.integers(module.parametrizations.weight.original)[0].numpy()
    return found


def unpooled(integers: np.ndarray) -> np.ndarray:
    """The head reads a 4 x 4 map that pooling averages to one value: every weight stands 16 times."""
    return np.repeat(integers, 16, axis=1)


@pytest.mark.parametrize("bits", range(1, 9))
def test_integers_are_the_quantizer_s_own(bits: int) -> None:
    snn = converted()
    quantize_weights(snn, bits)
    network = build_integer(snn, inputs(2), own_bits=True, skip_bits=16)
    exported, own = integer_weights(network), own_integers(snn)
    assert len(own) == len(exported) == 3
    for path, integers in own.items():
        wanted = unpooled(integers) if path == "head" else integers
        divisor = np.array([math.gcd(*map(int, row.reshape(-1))) for row in wanted])
        shape = (-1, *[1] * (wanted.ndim - 1))
        assert exported[path].shape == wanted.shape
        # a row with a common divisor may be stored with another multiple of the same direction
        peak = np.abs(wanted).reshape(len(wanted), -1).max(1)
        factor = np.abs(exported[path]).reshape(len(wanted), -1).max(1) / peak
        assert np.array_equal(exported[path], (wanted * factor.reshape(shape)).astype(np.int64))
        assert np.array_equal(factor * divisor, np.rint(factor * divisor))
        full = (divisor == 1) & (2 * peak > max(1, 2 ** (bits - 1) - 1))
        assert (factor[full] == 1.0).all()  # no room for a factor: the very integers
        assert full.any() or path == "head"


@pytest.mark.parametrize("bits", [1, 2, 3, 5, 8])
def test_wider_declared_weights_hold_a_multiple(bits: int) -> None:
    snn = converted()
    quantize_weights(snn, bits)
    exported, own = integer_weights(build_integer(snn, inputs(2))), own_integers(snn)
    for path, integers in own.items():
        wanted = unpooled(integers) if path == "head" else integers
        for row, source in zip(exported[path], wanted, strict=True):
            row, source = row.reshape(-1), source.reshape(-1)
            at = int(np.abs(source).argmax())
            assert np.array_equal(row * source[at], source * row[at])  # one factor for the whole row
            assert np.sign(row[at]) == np.sign(source[at])
            assert np.abs(row).max() <= 127
    if bits <= 3:  # 127 / 3 multiples to choose from: the gain is nearly exact
        assert _gain_error(snn) < _gain_error(snn, own_bits=True)


def _gain_error(snn: Any, **options: Any) -> float:
    """Relative error of logits against the float form with the same nodes."""
    network = build_integer(snn, inputs(2), **options)
    (entry,) = network.inputs
    x = inputs()
    integer = outputs(network, run_packed(network, encode(entry, x.numpy())))["output"]
    with torch.no_grad():
        wanted = snn(x).numpy()
    return float(np.linalg.norm(integer - wanted) / np.linalg.norm(wanted))


def test_integer_form_computes_the_quantized_network() -> None:
    """With a threshold free to follow the scale, codes and logits are those of the float form, nearly."""
    snn = converted()
    quantize_weights(snn, 4)
    quantized = _gain_error(snn)
    plain = _gain_error(converted())
    assert quantized < 3 * plain  # no worse kind of error than rounding plain weights to 8 bits leaves


def test_batchnorm_behind_quantized_weights() -> None:
    """Folding scales and may flip a row; its integers stay."""
    torch.manual_seed(0)
    net = nn.Sequential(
        SpikePackNode(4), sj.Conv2d(2, 5, 3, bias=False), sj.BatchNorm2d(5), SpikePackNode(4), sj.Flatten(),
        sj.Linear(20, 3),
    )  # fmt: skip
    with torch.no_grad():
        net[2].weight.copy_(torch.tensor([1.0, -0.7, 0.3, 2.0, -1.5]))
        net[2].running_var.copy_(torch.tensor([0.5, 0.6, 1.0, 2.0, 0.9]))
    quantize_weights(net, 3)
    exported = integer_weights(build_integer(net.eval(), inputs(2), own_bits=True))["1"]
    own = own_integers(net)["1"]
    signs = np.array([1, -1, 1, 1, -1]).reshape(-1, 1, 1, 1)
    assert np.array_equal(exported, own * signs)


def test_threshold_is_the_best_there_is() -> None:
    """Against brute force over every factor and threshold of a single branch."""
    torch.manual_seed(2)
    hidden = SpikePackNode(3, v_threshold=2.3)
    net = nn.Sequential(SpikePackNode(3), sj.Flatten(), sj.Linear(32, 6, bias=False), hidden, sj.Linear(6, 2))
    quantize_weights(net, 3)
    network = build_integer(net, inputs(2))
    scale = quantizer_of(net[2]).integers(net[2].parametrizations.weight.original)[1].double().numpy()
    peak = np.abs(own_integers(net)["2"]).max(1)
    for channel, threshold in enumerate(network.neurons[0].threshold):
        ratio = scale[channel] / 7 / (2.3 / 7)  # weight unit per code step of the source, in LSBs
        errors = {
            (m, n): abs(m / n - ratio) / ratio
            for m in range(1, 127 // int(peak[channel]) + 1)
            for n in (int(m / ratio), int(m / ratio) + 1)
            if n
        }
        row = integer_weights(network)["2"][channel]
        m = np.abs(row).max() // peak[channel]
        assert abs(m / threshold - ratio) / ratio <= min(errors.values()) * (1 + 1e-6)


def test_integers_stay_where_the_threshold_is_coarse(tolerance: Callable[..., Any]) -> None:
    """One digit in, six out: a threshold of a few units; rounding it must not reach the weights."""
    torch.manual_seed(4)
    net = nn.Sequential(
        SpikePackNode(1), sj.Flatten(), sj.Linear(32, 8), SpikePackNode(6, v_threshold=0.6), sj.Linear(8, 2)
    )
    quantize_weights(net, 8)
    network = build_integer(net, inputs(2), own_bits=True)
    assert int(network.neurons[0].threshold.max()) < 20
    assert np.array_equal(integer_weights(network)["2"], own_integers(net)["2"])
    # one unit of the readout's membrane is what its integers stand for: scale times integers is the weight
    real = network.readouts[0].scale[:, None] * integer_weights(network)["4"]
    wanted = net[4].weight.detach().numpy() / 63
    assert np.abs(real - wanted).max() <= tolerance(torch.float32).between(4, float(np.abs(wanted).max()))


def test_more_than_eight_bits_are_refused() -> None:
    snn = converted()
    quantize_weights(snn, {"inner": 9, "*": 4})
    assert not quantizer_of(snn.get_submodule("inner")).exportable
    with pytest.raises(UnsupportedError, match=r"layer 'inner' must have weights of at most 8 bits .* got 9"):
        build_integer(snn, inputs(2))


def test_export_leaves_the_network_quantized() -> None:
    snn = converted()
    quantize_weights(snn, 3)
    x = inputs()
    with torch.no_grad():
        before = snn(x)
        build_integer(snn, x[:2])
        assert torch.equal(snn(x), before)
    assert quantizer_of(snn.get_submodule("inner")) is not None


def test_amplitudes_per_channel_leave_no_grid() -> None:
    theta = torch.tensor([0.5, 0.9])
    net = nn.Sequential(
        SpikePackNode(4, v_threshold=theta, scale_output=True), sj.Conv2d(2, 3, 3), SpikePackNode(4),
        sj.Flatten(), sj.Linear(12, 2),
    )  # fmt: skip
    quantize_weights(net, 3)
    with pytest.raises(UnsupportedError, match=r"quantized weights of '1' must be integers times one scale"):
        build_integer(net, inputs(2))
