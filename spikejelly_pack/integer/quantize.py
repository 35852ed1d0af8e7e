"""Integer weights and thresholds of one population: a common denominator for all it receives.

With ``r = w / LSB`` per output channel, firing asks whether ``sum r P + b / LSB`` reaches the next
integer. Writing ``r = W_int / N`` turns that into integers with threshold ``theta_int = N``: the weight
scale ``s = LSB / N`` is shared by all branches and N is exact, not rounded. N is searched for the least
squared error of the weights; small rows (pooling, skips) get their best rational approximation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..spec.errors import BoundError
from .values import FloatArray

__all__ = ["Quantized", "quantize_population", "quantize_readout"]

IntArray = npt.NDArray[np.int32]
_MOST_PRODUCTS = 1 << 16  # candidates times weights tried per channel


@dataclass(frozen=True)
class Quantized:
    """Integer form of one population.

    Attributes:
        threshold: theta_int ``[C]``.
        bias: ``[C]``.
        weights: ``[C, K]`` per branch.
        scale: Real value of one unit of the membrane, ``[C]``.
    """

    threshold: IntArray
    bias: IntArray
    weights: list[IntArray]
    scale: FloatArray


def quantize_population(
    owner: str, rows: list[FloatArray], bits: list[int], bias: FloatArray, unit: FloatArray, most: int
) -> Quantized:
    """Quantize everything a firing population receives.

    Args:
        owner: Name for messages.
        rows: Real weights per LSB of the source's code, ``[C, K_i]`` per branch.
        bits: Declared weight width per branch.
        bias: Real bias ``[C]``.
        unit: Real value of the population's own LSB, ``[C]``.
        most: Largest threshold the membrane register allows.

    Raises:
        BoundError: A weight exceeds what its width can hold at the smallest threshold.
    """
    relative = [row / unit[:, None] for row in rows]
    limits = [(1 << (width - 1)) - 1 for width in bits]
    merged = np.concatenate(relative, axis=1)
    threshold = np.empty(len(unit), np.int32)
    for channel in range(len(unit)):
        top = _largest(owner, channel, [r[channel] for r in relative], limits, most)
        threshold[channel] = _best_denominator(merged[channel], top)
    n = threshold.astype(np.float64)
    weights = [np.rint(r * n[:, None]).astype(np.int32) for r in relative]
    return Quantized(threshold, _integer_bias(owner, bias / unit * n), weights, unit / n)


def _largest(owner: str, channel: int, rows: list[FloatArray], limits: list[int], most: int) -> int:
    top = float(most)
    for row, limit in zip(rows, limits, strict=True):
        peak = float(np.abs(row).max(initial=0.0))
        top = min(top, limit / peak) if peak > 0 else top
    if top < 1:
        raise BoundError(
            f"neuron {owner!r}: channel {channel} has a weight larger than its width holds at threshold 1; "
            "calibrate a larger threshold or declare more weight_bits."
        )
    return int(top)


def _best_denominator(row: FloatArray, top: int) -> int:
    """The N <= ``top`` that rounds ``row * N`` with the least squared error relative to N."""
    count = max(1, min(top, _MOST_PRODUCTS // max(row.size, 1), max(64, top // 4)))
    candidates = np.arange(top, top - count, -1, dtype=np.float64)
    scaled = row[None, :] * candidates[:, None]
    error = ((scaled - np.rint(scaled)) ** 2).sum(axis=1) / candidates**2
    return int(candidates[int(error.argmin())])


def _integer_bias(owner: str, bias: FloatArray) -> IntArray:
    rounded = np.rint(bias)
    if rounded.size and float(np.abs(rounded).max()) >= 1 << 31:
        raise BoundError(
            f"neuron {owner!r}: a bias of {float(np.abs(rounded).max()):.3g} does not fit 32 bits; "
            "its threshold is too small beside it, calibrate it again."
        )
    return rounded.astype(np.int32)


def quantize_readout(owner: str, rows: list[FloatArray], bits: list[int], bias: FloatArray) -> Quantized:
    """Quantize what a readout receives: no threshold, so the scale alone decides (per output)."""
    limits = [(1 << (width - 1)) - 1 for width in bits]
    peaks = [np.abs(row).max(axis=1) / limit for row, limit in zip(rows, limits, strict=True)]
    scale = np.maximum.reduce(peaks)
    scale = np.where(scale > 0, scale, 1.0)
    weights = [np.rint(row / scale[:, None]).astype(np.int32) for row in rows]
    threshold = np.ones(len(scale), np.int32)
    return Quantized(threshold, _integer_bias(owner, bias / scale), weights, scale)
