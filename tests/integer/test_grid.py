"""Integers of quantized weights are found again, and decisions are those of exact arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import ann2snn
from torch import nn

from spikejelly_pack import build_integer
from spikejelly_pack.integer.grid import _reach, decide, recover_grid
from spikejelly_pack.integer.values import Branch, Spikes
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.recipes import LSQActivation, SpikePackQuantizedRecipe
from spikejelly_pack.spec.errors import BoundError, UnsupportedError
from spikejelly_pack.spec.execute import run_packed
from spikejelly_pack.spec.parameters import NeuronParameters


@given(
    integers=st.lists(st.integers(-127, 127), min_size=1, max_size=40),
    scale=st.floats(2.0**-20, 2.0**20),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_integers_come_back_in_lowest_terms(integers: list[int], scale: float, dtype: Any) -> None:
    w = np.array(integers, np.int64)
    found = recover_grid((w.astype(dtype) * dtype(scale)).astype(np.float64), 127)
    assert found is not None
    divisor = int(np.gcd.reduce(w)) or 1
    np.testing.assert_array_equal(found[0], w // divisor)
    if w.any():
        assert found[1] == pytest.approx(scale * divisor, rel=1e-6)


def test_other_weights_have_none() -> None:
    assert recover_grid(np.array([1.0, math.sqrt(2), math.pi]), 127) is None


@given(
    spacing=st.floats(0.3, 300.0), bias=st.floats(-500.0, 500.0), steps=st.integers(1, 5),
    low=st.integers(-400, 0), high=st.integers(0, 900),
    rounding=st.sampled_from(["round_half_up", "floor"]),
)  # fmt: skip
def test_decisions_are_exact_for_every_sum(
    spacing: float, bias: float, steps: int, low: int, high: int, rounding: str
) -> None:
    """Against rational arithmetic, for all sums that can occur."""
    parameters = NeuronParameters(steps, rounding=rounding)
    found = decide(spacing, bias, low, high, parameters, (512, 1 << 22, (1 << 31) - 1))
    if found is None:
        return
    half = found.threshold // 2 if parameters.half else 0
    for total in range(low, high + 1):
        real = (Fraction(total) + Fraction(bias)) / Fraction(spacing) + Fraction(parameters.half)
        expected = min(max(math.floor(real), 0), parameters.max_code)
        got = (found.factor * total + found.bias + half) // found.threshold
        assert min(max(got, 0), parameters.max_code) == expected


def test_whole_spacing_needs_no_factor() -> None:
    found = decide(12.0, 3.0, -100, 900, NeuronParameters(4), (1, 1 << 20, 1 << 23))
    assert found is not None
    assert (found.factor, found.threshold, found.bias) == (1, 12, 3)


def quantized_network(bits: int, weight_bits: int) -> nn.Sequential:
    torch.manual_seed(bits)
    net = nn.Sequential(
        LSQActivation(bits, step=1 / (2**bits - 1)), nn.Conv2d(1, 6, 3, padding=1),
        LSQActivation(bits, step=0.3), nn.Conv2d(6, 8, 3, stride=2), LSQActivation(bits, step=0.2),
        nn.Flatten(), nn.Linear(72, 5),
    ).double()  # fmt: skip
    top = 2 ** (weight_bits - 1) - 1
    for layer in net:
        if isinstance(layer, (nn.Conv2d, nn.Linear)):
            scale = layer.weight.detach().abs().flatten(1).amax(1) / top
            shaped = scale.view(-1, *[1] * (layer.weight.dim() - 1))
            layer.weight.data = (layer.weight.data / shaped).round() * shaped
    return net.eval()


@pytest.mark.parametrize(("bits", "weight_bits", "declared"), [(2, 4, 8), (3, 4, 10), (4, 4, 12), (4, 8, 16)])
@torch.no_grad()
def test_integer_codes_are_those_of_the_quantized_network(bits: int, weight_bits: int, declared: int) -> None:
    net, x = quantized_network(bits, weight_bits), torch.rand(40, 1, 8, 8, dtype=torch.float64)
    recipe = SpikePackQuantizedRecipe([x], progress=False, fold=True)
    snn: Any = ann2snn.Converter(recipe).convert(net)
    network = build_integer(snn, x[:1], weight_bits=declared, state_bits=32, exact=True)
    values, expected = x, {}
    for index, layer in enumerate(net):
        values = layer(values)
        if isinstance(layer, LSQActivation):
            expected[str(index)] = (values / layer.s).round().long().numpy()
    (entry,) = network.inputs
    got = run_packed(network, expected[entry.name])
    assert {path for path, module in snn.named_modules() if isinstance(module, SpikePackNode)} == set(
        expected
    )
    for path, codes in expected.items():
        np.testing.assert_array_equal(got[path], codes)
    (output,) = (op for op in network.ops.values() if op.kind == "readout")
    # the bias is rounded to the grid of the weights, nothing else
    error = np.abs(got[output.name] * output.scale - values.numpy())
    assert (error <= output.scale * 0.5001).all()


def test_refusals() -> None:
    x = torch.rand(4, 1, 8, 8, dtype=torch.float64)

    def exported(net: nn.Module, **options: Any) -> None:
        recipe = SpikePackQuantizedRecipe([x], progress=False, fold=True)
        build_integer(ann2snn.Converter(recipe).convert(net), x, exact=True, **options)

    with pytest.raises(
        BoundError, match="must have an exact integer form, but weight_bits=8 and state_bits=24"
    ):
        exported(quantized_network(4, 8))
    loose = quantized_network(2, 4)
    nn.init.normal_(loose[1].weight)  # type: ignore[arg-type]
    with pytest.raises(
        UnsupportedError, match="weights of channel 0 must be integers up to 127 times one scale"
    ):
        exported(loose)
    signed = nn.Sequential(*quantized_network(2, 4))
    signed[2] = LSQActivation(3, signed=True, step=0.3).double()
    with pytest.raises(UnsupportedError, match="needs an unsigned node"):
        exported(signed)


def test_signed_codes_reach_both_ways() -> None:
    """The decisions are proven between the smallest and the largest sum: both, from every branch."""
    rows = np.zeros((1, 2))
    plain, signed = (Spikes("x", np.ones(2), (2,), 7, sign) for sign in (False, True))
    whole = [np.array([3, -2]), np.array([1, 1])]
    branches = [Branch("dense", "a", source, rows, "weight", (1, 2)) for source in (plain, signed)]
    assert _reach(branches[:1], whole[:1]) == (-14, 21)
    assert _reach(branches[1:], whole[:1]) == (-35, 35)
    assert _reach(branches, whole) == (-14 - 14, 21 + 14)
