"""Exact integer form of populations whose weights are integers times one scale already.

A channel with real weights ``r = rho * w``, w integer, fires at least k when ``V = sum w P`` reaches
``(k - 1/2) / rho - b``: only at ``t_k``, the next integer, since V is one. The integer form decides the same
for every V if ``m V + b_int + floor(N / 2) >= N k`` says the same for each k, which holds where

    ``m (t_k - 1) < N k - floor(N / 2) - b_int <= m t_k``    for k = 1..2^T - 1,

so m (a factor on the weights), N (the threshold) and ``b_int`` are searched, smallest m first, and what is
found is proven, not measured.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from ..spec.errors import BoundError, UnsupportedError
from ..spec.parameters import NeuronParameters
from .quantize import Quantized, quantize_readout
from .values import Branch, FloatArray
from .weight_grid import TOLERANCE, recover_grid

__all__ = ["Decision", "decide", "exact_population", "exact_readout", "recover_grid"]

IntRow = npt.NDArray[np.int64]
_EXACT = 1 + 1e-9  # 127 / (127 / 100) is 99.999.. in floats
_CHUNK = 128  # factors tried at once


@dataclass(frozen=True)
class Decision:
    """Factor on the weights, threshold and bias of one channel, proven exact."""

    factor: int
    threshold: int
    bias: int


def decide(
    spacing: float,
    bias: float,
    low: int,
    high: int,
    parameters: NeuronParameters,
    bounds: tuple[int, int, int],
) -> Decision | None:
    """The smallest factor whose integer decisions equal the real ones for every sum in ``low..high``.

    Args:
        spacing: ``1 / rho``, the LSB in units of the weights' integers.
        bias: Real bias in the same units.
        low: Smallest sum.
        high: Largest sum.
        parameters: Constants of the node (tau = 2, unsigned).
        bounds: Largest factor, threshold and register value.
    """
    top_factor, top_threshold, register = bounds
    codes = np.arange(1, parameters.max_code + 1, dtype=np.int64)
    places = (
        _ceilings((codes - parameters.half).astype(np.float64), spacing, bias)
        .clip(low, high + 1)
        .astype(np.int64)
    )
    reach = max(abs(low), abs(high))
    for start in range(1, top_factor + 1, _CHUNK):
        factors = np.arange(start, min(start + _CHUNK, top_factor + 1), dtype=np.int64)
        m = np.repeat(factors, 3)
        n = np.rint(m * spacing).astype(np.int64) + np.tile([0, -1, 1], len(factors))
        offset = n // 2 if parameters.half else 0 * n
        level = n[:, None] * codes - offset[:, None]
        # codes reached by every sum bound the bias from below only, those reached by none from above only
        least = np.where(places <= high, level - m[:, None] * places, -register).max(1)
        most = np.where(places > low, level - m[:, None] * (places - 1) - 1, register).min(1)
        b = np.rint(m * bias).clip(least, np.maximum(least, most)).astype(np.int64)
        fits = (n >= 1) & (n <= top_threshold) & (m * reach + np.abs(b) + offset <= register)
        found = np.flatnonzero((least <= most) & fits)
        if len(found):
            at = int(found[0])
            return Decision(int(m[at]), int(n[at]), int(b[at]))
    return None


def _ceilings(levels: FloatArray, spacing: float, bias: float) -> FloatArray:
    """``ceil(levels * spacing - bias)``, where rounding could decide by rational arithmetic."""
    exact = levels * spacing - bias
    places = np.ceil(exact)
    doubt = 8 * np.finfo(np.float64).eps * (np.abs(levels * spacing) + abs(bias))
    for index in np.flatnonzero(np.abs(exact - np.rint(exact)) <= doubt):
        places[index] = math.ceil(Fraction(float(levels[index])) * Fraction(spacing) - Fraction(bias))
    return places


def _reach(branches: Sequence[Branch], rows: list[IntRow]) -> tuple[int, int]:
    """Smallest and largest sum over all inputs."""
    low = high = 0
    for branch, row in zip(branches, rows, strict=True):
        up, down = int(row.clip(min=0).sum()) * branch.most, int((-row).clip(min=0).sum()) * branch.most
        low, high = (low - up - down, high + up + down) if branch.source.signed else (low - down, high + up)
    return low, high


def _split(branches: Sequence[Branch], channel: int, limit: int) -> tuple[list[IntRow], float] | None:
    """Integer rows per branch and their scale; None where the weights have no common one."""
    grid = recover_grid(np.concatenate([branch.rows[channel] for branch in branches]), limit)
    if grid is None:
        return None
    cuts = np.cumsum([len(branch.rows[channel]) for branch in branches])[:-1]
    return np.split(grid[0], cuts), grid[1]


def exact_population(
    owner: str,
    branches: Sequence[Branch],
    bits: list[int],
    bias: FloatArray,
    unit: FloatArray,
    parameters: NeuronParameters,
    state_bits: int,
) -> Quantized:
    """As :func:`.quantize_population`, for quantized weights: the same codes as in real arithmetic, proven.

    Args:
        owner: Name for messages.
        branches: What the population receives.
        bits: Declared weight width per branch.
        bias: Real bias ``[C]``.
        unit: Real value of the population's own LSB, ``[C]``.
        parameters: Constants of the node.
        state_bits: Width of its membrane register, sign included.

    Raises:
        UnsupportedError: The node is signed, or a channel's weights are not integers times one scale.
        BoundError: The declared widths hold no exact form of a channel.
    """
    if parameters.signed:
        raise UnsupportedError(
            f"neuron {owner!r}: an exact integer form needs an unsigned node, got a signed one; export with "
            "exact=False."
        )
    limit, register = (1 << (min(bits) - 1)) - 1, (1 << (state_bits - 1)) - 1
    bounds = limit, (1 << (state_bits - 1)) >> parameters.time_steps, register
    rows: list[list[IntRow]] = []
    decisions: list[Decision] = []
    for channel in range(len(unit)):
        split = _split(branches, channel, limit)
        if split is None:
            raise UnsupportedError(
                f"neuron {owner!r}: the weights of channel {channel} must be integers up to {limit} times "
                "one scale, got others; train with quantized weights of fewer bits, declare more "
                "weight_bits, or export with exact=False."
            )
        decision = _channel(branches, split, float(unit[channel]), float(bias[channel]), parameters, bounds)
        if decision is None:
            raise BoundError(
                f"neuron {owner!r}: channel {channel} must have an exact integer form, but weight_bits="
                f"{min(bits)} and state_bits={state_bits} hold none; declare more, or use exact=False."
            )
        rows.append([row * decision.factor for row in split[0]])
        decisions.append(decision)
    threshold = np.array([d.threshold for d in decisions], np.int32)
    weights = [np.stack([row[index] for row in rows]).astype(np.int32) for index in range(len(branches))]
    return Quantized(threshold, np.array([d.bias for d in decisions], np.int32), weights, unit / threshold)


def _channel(
    branches: Sequence[Branch],
    split: tuple[list[IntRow], float],
    unit: float,
    bias: float,
    parameters: NeuronParameters,
    bounds: tuple[int, int, int],
) -> Decision | None:
    """The decision of one channel; ``bounds`` are the largest weight, threshold and register value."""
    whole, step = split
    limit, top_threshold, register = bounds
    peak = max(int(np.abs(row).max(initial=0)) for row in whole)
    # without weights any factor is 1, and half an LSB makes the constant code a whole number
    step, factors = (step, limit // peak) if peak else (unit / 2, 1)
    sums = _reach(branches, whole)
    return decide(unit / step, bias / step, *sums, parameters, (factors, top_threshold, register))


def exact_readout(
    owner: str, branches: Sequence[Branch], bits: list[int], bias: FloatArray, state_bits: int
) -> Quantized:
    """As :func:`.quantize_readout`; weights that have a grid keep it, the bias is rounded to it.

    Args:
        owner: Name for messages.
        branches: What the readout receives.
        bits: Declared weight width per branch.
        bias: Real bias ``[C]``.
        state_bits: Width of the membrane register.
    """
    plain = quantize_readout(owner, branches, bits, bias, state_bits)
    limit = (1 << (min(bits) - 1)) - 1
    for channel in range(len(bias)):
        split = _split(branches, channel, limit)
        if split is None or not any(row.any() for row in split[0]):
            continue
        whole, step = split
        peak = max(int(np.abs(row).max(initial=0)) for row in whole)
        # the largest factor the plain form allows, so that the register still fits
        factor = max(1, min(limit // peak, int(step / plain.scale[channel] * _EXACT)))
        scale = step / factor
        if scale < plain.scale[channel] * (1 - TOLERANCE):
            continue
        for weight, row in zip(plain.weights, whole, strict=True):
            weight[channel] = row * factor
        plain.bias[channel] = np.rint(bias[channel] / scale)
        plain.scale[channel] = scale
    return plain
