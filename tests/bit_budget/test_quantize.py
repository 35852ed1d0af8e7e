"""Weight quantizers against brute force, closed forms and hand-derived gradients."""

from __future__ import annotations

import copy
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from spikejelly_pack.bit_budget.quantize import (
    WEIGHT_QUANTIZERS,
    bake_weights,
    quantize_weights,
    quantized_layers,
)
from spikejelly_pack.bit_budget.quantize.quantizers import quantizer_class
from spikejelly_pack.bit_budget.quantize.scale import scanned_scale
from spikejelly_pack.spec.errors import ParameterError, UnsupportedError


def rows_of(seed: int, shape: tuple[int, ...]) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def brute_force_error(row: np.ndarray, integers: range) -> float:
    """Least squared error over every integer vector, each with its own best scale."""
    best = float((row**2).sum())
    for code in itertools.product(integers, repeat=len(row)):
        k = np.array(code, np.float64)
        if k @ k:
            best = min(best, float((row**2).sum() - max(k @ row, 0.0) ** 2 / (k @ k)))
    return best


@pytest.mark.parametrize(("bits", "integers"), [(1, (-1, 1)), (2, (-1, 0, 1)), (3, (-3, -2, -1, 0, 1, 2, 3))])
@pytest.mark.parametrize("seed", range(3))
def test_scale_is_the_best_of_all(bits: int, integers: Any, seed: int, tolerance: Callable[..., Any]) -> None:
    weight = rows_of(seed, (3, 5))
    quantizer = quantizer_class(bits)(bits, weight)
    errors = (weight - quantizer(weight)).square().sum(1)
    for row, error in zip(weight.numpy(), errors.tolist(), strict=True):
        allowed = tolerance(torch.float64).between(40, float((row**2).sum()))
        assert abs(error - brute_force_error(row, integers)) <= allowed


@pytest.mark.parametrize("peak", [7, 127])
def test_the_scan_comes_close_to_the_walk(peak: int) -> None:
    weight = rows_of(4, (8, 200))
    quantizer = quantizer_class(8 if peak == 127 else 4)(8 if peak == 127 else 4, weight)
    scanned = scanned_scale(weight, peak)
    code = (weight / scanned[:, None]).round().clamp(-peak, peak)
    scan_error = (weight - code * scanned[:, None]).square().sum(1)
    walk_error = (weight - quantizer(weight)).square().sum(1)
    assert bool((walk_error <= scan_error * (1 + 1e-12)).all())  # the walk is exact
    assert bool((scan_error <= walk_error * 1.1).all())


@settings(max_examples=40)
@given(bits=st.integers(1, 16), seed=st.integers(0, 10_000), axis=st.sampled_from([0, 1]))
def test_output_is_integers_times_one_scale_per_channel(bits: int, seed: int, axis: int) -> None:
    weight = rows_of(seed, (3, 4, 2)).float()
    quantizer = quantizer_class(bits)(bits, weight, axis=axis)
    integers, scale = quantizer.integers(weight)
    shape = [1, 1, 1]
    shape[axis] = -1
    assert scale.shape == (weight.shape[axis],)
    assert torch.equal(quantizer(weight), integers * scale.view(shape))
    allowed = {-1, 1} if bits == 1 else set(range(-(2 ** (bits - 1)) + 1, 2 ** (bits - 1)))
    assert set(integers.flatten().tolist()) <= allowed


def test_more_bits_leave_less_error() -> None:
    weight = rows_of(0, (16, 60))
    errors = []
    for bits in range(1, 17):
        errors.append(float((weight - quantizer_class(bits)(bits, weight)(weight)).square().sum()))
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-6 * errors[0]


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_gradients_are_those_of_lsq(bits: int, tolerance: Callable[..., Any]) -> None:
    weight = (rows_of(1, (2, 50)) * 2).requires_grad_(True)
    quantizer = quantizer_class(bits)(bits, weight, training=True)
    incoming = rows_of(2, (2, 50))
    quantizer(weight).backward(incoming)
    peak = {1: 1, 2: 1, 4: 7, 8: 127}[bits]
    w, g, s = weight.detach().numpy(), incoming.numpy(), quantizer.scale.detach().numpy()[:, None]
    share = w / s
    nearest = np.where(share < 0, -1.0, 1.0) if bits == 1 else np.rint(share)
    inside = np.abs(share) <= peak
    slope = np.where(inside, np.clip(nearest, -peak, peak) - share, np.sign(share) * peak)
    wanted_scale = (g * slope).sum(1) / np.sqrt(50 * peak)
    assert weight.grad is not None
    assert quantizer.scale.grad is not None
    assert np.array_equal(weight.grad.numpy() != 0, inside)
    close = tolerance(torch.float64).between(60, float(np.abs(g).max()) * peak * 8)
    assert np.abs(weight.grad.numpy() - np.where(inside, g, 0.0)).max() <= close
    assert np.abs(quantizer.scale.grad.numpy() - wanted_scale).max() <= close


@pytest.mark.parametrize("bits", [1, 2, 5])
def test_a_row_of_zeros_stays_finite(bits: int) -> None:
    weight = torch.zeros(2, 6)
    value = quantizer_class(bits)(bits, weight, training=True)(weight)
    assert bool(value.isfinite().all())
    if bits == 1:
        assert bool((value > 0).all())  # a bit has no zero: it counts as positive
    assert float(value.detach().abs().max()) < 1e-9


def test_every_width_has_one_family() -> None:
    for bits in range(1, 17):
        assert sum(bits in cls.widths for cls in WEIGHT_QUANTIZERS.values()) == 1
    with pytest.raises(ParameterError, match=r"BinaryWeight: bits must be in 1\.\.1, got 2"):
        WEIGHT_QUANTIZERS["binary"](2, torch.ones(1, 2))


# -- a whole network ------------------------------------------------------------------------------


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 3, 2, groups=1), nn.Flatten(), nn.Linear(75, 5)
    )


def test_widths_by_path() -> None:
    net = network()
    before = {path: net.get_submodule(path).weight.detach().clone() for path in ("0", "2", "4")}
    found = quantize_weights(net, {"0": 2, "4": None, "*": 6})
    assert {path: quantizer.bits for path, quantizer in found.items()} == {"0": 2, "2": 6}
    assert quantized_layers(net).keys() == {"0", "2"}
    assert torch.equal(net.get_submodule("4").weight, before["4"])
    for channel in range(3):  # one scale per output channel, which is axis 1 of a transposed convolution
        integers, scales = found["2"].integers(before["2"])
        assert torch.equal(net.get_submodule("2").weight[:, channel], integers[:, channel] * scales[channel])


def test_a_second_call_starts_from_the_float_weight() -> None:
    net, direct = network(), network()
    quantize_weights(net, 1)
    quantize_weights(net, 7)
    quantize_weights(direct, 7)
    assert torch.equal(net[0].weight, direct[0].weight)


def test_baking_keeps_the_values_and_leaves_copies_alone() -> None:
    net = network()
    quantize_weights(net, 3)
    twin = copy.deepcopy(net)
    value = net[0].weight.detach().clone()
    bake_weights(net)
    assert type(net[0]) is nn.Conv2d
    assert "weight" in net[0]._parameters
    assert torch.equal(net[0].weight, value)
    assert quantized_layers(net) == {}
    assert torch.equal(twin[0].weight, value)
    assert len(quantized_layers(twin)) == 3


def test_training_moves_weights_and_scales() -> None:
    net = network(3)
    found = quantize_weights(net, 2, training=True)
    x = torch.randn(32, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    target = torch.arange(32) % 5
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    start = {path: quantizer.scale.detach().clone() for path, quantizer in found.items()}
    losses = []
    for _ in range(60):
        loss = nn.functional.cross_entropy(net(x), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    for path, quantizer in found.items():
        assert not torch.equal(quantizer.scale, start[path])
        integers, _ = quantizer.integers(net.get_submodule(path).parametrizations.weight.original)
        assert set(integers.unique().tolist()) <= {-1, 0, 1}


@pytest.mark.parametrize("bits", [0, 17, True, 2.5, "8"])
def test_width_outside_the_range(bits: Any) -> None:
    with pytest.raises(ParameterError, match=r"weight bits must be an integer in 1\.\.16, got"):
        quantize_weights(network(), bits)
    with pytest.raises(ParameterError, match=r"layer '2': weight bits must be"):
        quantize_weights(network(), {"2": bits})


def test_refusals_name_the_layer() -> None:
    with pytest.raises(ParameterError, match=r"must name convolutions or linear layers, got \['1'\]"):
        quantize_weights(network(), {"1": 4})
    tied = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    tied[1].weight = tied[0].weight
    with pytest.raises(
        UnsupportedError, match=r"layer '1' must have a weight of its own, got the one of '0'"
    ):
        quantize_weights(tied, 4)
    normed = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(UnsupportedError, match="layer '0' must hold its weight as a parameter"):
        quantize_weights(normed, 4)
