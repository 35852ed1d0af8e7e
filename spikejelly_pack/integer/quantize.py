"""Integer weights and thresholds of one population: a common denominator for all it receives.

With ``r = w / LSB`` per output channel, firing asks whether ``sum r P + b / LSB`` reaches the next
integer. Writing ``r = W_int / N`` turns that into integers with threshold ``theta_int = N``: the weight
scale ``s = LSB / N`` is shared by all branches and N is exact, not rounded. N is searched for the least
squared error of the weights; small rows (pooling, skips) get their best rational approximation. N is bounded
by the declared weight widths and by the membrane register, which must hold the worst case of the sum.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from ..spec.errors import BoundError
from .adaptive import Rounder
from .values import Branch, FloatArray
from .weight_grid import RowGrid, denominators, factors, grids_of, whole_factor

__all__ = ["Quantized", "Row", "quantize_population", "quantize_readout"]

IntArray = npt.NDArray[np.int32]
_PRODUCTS = 1 << 16  # candidates times weights tried per channel
_EXACT = 1 + 1e-9  # 127 / (127 / 100) is 99.999.. in floats: keep the exact denominator
_CANDIDATES = 64  # tried however many weights there are


@dataclass(frozen=True)
class Quantized:
    """Integer form of one population.

    Attributes:
        threshold: theta_int ``[C]`` (all ones for a readout).
        bias: ``[C]``.
        weights: ``[C, K]`` per branch.
        scale: Real value of one unit of the membrane, ``[C]``.
    """

    threshold: IntArray
    bias: IntArray
    weights: list[IntArray]
    scale: FloatArray


@dataclass(frozen=True)
class Row:
    """All that one output channel receives, in units of its LSB (a readout: in real units).

    Attributes:
        weights: Per branch ``[K_i]``.
        limits: Largest integer weight per branch.
        names: Branches, for messages.
        reach: Worst case of the sum over all inputs, bias included.
        slack: What rounding the weights can add to it, in units of the membrane.
        grids: Per branch the integers of weights that are quantized already (the branch then stands in
            ``weights`` with its scale alone), else None.
    """

    weights: list[FloatArray]
    limits: list[float]
    names: list[str]
    reach: float
    slack: float
    grids: list[RowGrid | None]

    def largest_factor(self, register: int) -> tuple[float, str]:
        """Largest factor that fits the weights and, in ``register``, the sum; and what bounds it."""
        bounds = [(float(register), "the membrane register")]
        for weights, limit, name in zip(self.weights, self.limits, self.names, strict=True):
            peak = float(np.abs(weights).max(initial=0.0))
            if peak > 0:
                bounds.append((limit / peak, f"the weight width of {name!r}"))
        if self.reach > 0:
            bounds.append((max(0.0, register - self.slack) / self.reach, "the membrane register"))
        return min(bounds)

    @property
    def wanted(self) -> float:
        """Largest factor the declared weight widths alone allow."""
        peaks = [float(np.abs(weights).max(initial=0.0)) for weights in self.weights]
        pairs = zip(peaks, self.limits, strict=True)
        return min((limit / peak for peak, limit in pairs if peak > 0), default=1.0)

    @property
    def importance(self) -> FloatArray:
        """What an error of each entry of ``weights`` weighs: a scale moves all integers of its row."""
        pairs = zip(self.weights, self.grids, strict=True)
        return np.concatenate([np.ones(len(w)) if g is None else np.array([g.power]) for w, g in pairs])


def _rows(
    owner: str,
    branches: Sequence[Branch],
    bits: list[int],
    bias: FloatArray,
    unit: FloatArray,
    rounder: Rounder | None,
) -> list[Row]:
    # adaptive rounding moves a weight by up to 1, and the bias by as much as the weights together
    error = 0.5 if rounder is None else 2.0
    limits = [(1 << (width - 1)) - 1 for width in bits]
    names = [branch.name for branch in branches]
    rows = []
    for channel in range(len(unit)):
        weights = [branch.rows[channel] / unit[channel] for branch in branches]
        grids = grids_of(owner, branches, weights, channel)
        high = low = slack = 0.0
        for branch, row, grid in zip(branches, weights, grids, strict=True):
            up, down = branch.reach(row)
            high, low = high + up, low + down
            moved = np.count_nonzero(row) if grid is None else int(np.abs(grid.integers).sum())
            slack += error * branch.most * moved
        reach = max(high, low) + abs(float(bias[channel])) / float(unit[channel])
        known = zip(weights, limits, grids, strict=True)
        bounds = [(w, float(limit)) if g is None else g.bound(limit) for w, limit, g in known]
        entries, tops = [w for w, _ in bounds], [limit for _, limit in bounds]
        rows.append(Row(entries, tops, names, float(reach), float(slack) + 1.0, grids))
    return rows


def _rounded(
    owner: str,
    branches: Sequence[Branch],
    rows: list[Row],
    factor: FloatArray,
    n: FloatArray,
    rounder: Rounder | None,
) -> tuple[list[IntArray], FloatArray]:
    """Integer weights: ``factor`` times real ones; of quantized ones their own integers times a factor.

    Also what ``rounder`` takes off the bias, ``[C]`` in units of the membrane.
    """
    off = np.zeros(len(factor))
    weights = [np.rint(branch.rows * factor[:, None]).astype(np.int32) for branch in branches]
    for channel, row in enumerate(rows):
        if any(grid is not None for grid in row.grids):
            for index, m in enumerate(factors(owner, channel, row.grids, float(n[channel]))):
                if (grid := row.grids[index]) is not None and m is not None:
                    weights[index][channel] = m * grid.integers
    if rounder is not None:
        for index, branch in enumerate(branches):
            if all(row.grids[index] is None for row in rows):
                target = branch.rows * factor[:, None]
                off += rounder.improve(branch, target, weights[index], rows[0].limits[index])
    return weights, off


def quantize_population(
    owner: str,
    branches: Sequence[Branch],
    bits: list[int],
    bias: FloatArray,
    unit: FloatArray,
    time_steps: int,
    state_bits: int,
    rounder: Rounder | None = None,
    carried: float = 0.0,
) -> Quantized:
    """Quantize everything a firing population receives.

    Args:
        owner: Name for messages.
        branches: What it receives.
        bits: Declared weight width per branch.
        bias: Real bias ``[C]``.
        unit: Real value of the population's own LSB, ``[C]``.
        time_steps: T of its code: ``theta_int <= 2^(state_bits - 1 - T)``.
        state_bits: Width of its membrane register, sign included.
        rounder: Rounds weights by their effect on data; None: to the nearest.
        carried: Most that the window before adds to the membrane, in LSBs.

    Raises:
        BoundError: A channel does not fit at the smallest threshold, 1; the message names what bounds it.
    """
    register = (1 << (state_bits - 1)) - 1
    threshold = np.empty(len(unit), np.int32)
    coarse = []  # by how many bits the register is too narrow for half of the weight levels
    rows = _rows(owner, branches, bits, bias, unit, rounder)
    for channel, row in enumerate(rows):
        # the rounding offset, half a threshold, enters the register too, and what is carried (rounded down)
        full = replace(row, reach=row.reach + 0.5 + carried, slack=row.slack + bool(carried))
        top, bound = full.largest_factor(register)
        limit = (1 << (state_bits - 1)) >> time_steps
        if min(top, limit) < 1:
            raise BoundError(
                f"neuron {owner!r}: channel {channel} must fit its widths at threshold 1, but {bound} "
                f"allows only {top:.3g}; calibrate a larger threshold, or declare more weight_bits, "
                "skip_bits or state_bits."
            )
        relative = np.append(np.concatenate(row.weights), bias[channel] / unit[channel])
        coarse += (
            [math.log2(row.wanted / (2 * top))]
            if 2 * top < row.wanted and row.reach > 2 * abs(relative[-1])
            else []
        )
        # A weight's rounding error meets codes up to ``most``, the bias' only one.
        importance = np.append(row.importance, max(branch.most for branch in branches) ** -2.0)
        threshold[channel] = _best_denominator(row, relative, importance, int(min(top * _EXACT, limit)))
    _warn_if_coarse(owner, coarse, len(unit), time_steps, state_bits)
    n = threshold.astype(np.float64)
    integers, off = _rounded(owner, branches, rows, n / unit, n, rounder)
    return Quantized(threshold, _integer_bias(owner, bias / unit * n - off), integers, unit / n)


def _warn_if_coarse(owner: str, coarse: list[float], channels: int, time_steps: int, state_bits: int) -> None:
    """Say that the register, not the weight width, decides the resolution: it fits, but is less exact."""
    if coarse:
        missing = math.ceil(max(coarse))  # every time step less, here and in what is read, is worth one bit
        fewer = f"T <= {time_steps - missing}" if missing < time_steps else "fewer weight bits"
        warnings.warn(
            f"neuron {owner!r}: in {len(coarse)} of {channels} channels the {state_bits}-bit membrane leaves "
            f"less than half of the weight levels at T = {time_steps}; use {fewer} or state_bits >= "
            f"{state_bits + missing}.",
            stacklevel=5,
        )


def _best_denominator(row: Row, relative: FloatArray, importance: FloatArray, top: int) -> int:
    """The N <= ``top`` that rounds ``relative * N`` with the least squared error relative to N."""
    if any(grid is not None for grid in row.grids):
        candidates = denominators(row.grids, top).astype(np.float64)
    else:
        count = min(top, max(_CANDIDATES, min(top // 4, _PRODUCTS // max(relative.size, 1))))
        candidates = np.arange(top, top - count, -1, dtype=np.float64)
    scaled = relative[None, :] * candidates[:, None]
    error = ((scaled - np.rint(scaled)) ** 2) @ importance / candidates**2
    return int(candidates[int(error.argmin())])


def _integer_bias(owner: str, bias: FloatArray) -> IntArray:
    rounded = np.rint(bias)
    if rounded.size and float(np.abs(rounded).max()) >= 1 << 31:
        channel = int(np.abs(rounded).argmax())
        raise BoundError(
            f"neuron {owner!r}: the bias of channel {channel} must fit 32 bits, got {rounded[channel]:.3g}; "
            "its weights are too small beside it, remove the channel or train it again."
        )
    return rounded.astype(np.int32)


def quantize_readout(
    owner: str,
    branches: Sequence[Branch],
    bits: list[int],
    bias: FloatArray,
    state_bits: int,
    rounder: Rounder | None = None,
) -> Quantized:
    """Quantize what a readout receives: no threshold, so widths alone decide the scale of each output.

    Args:
        owner: Name for messages.
        branches: As :func:`quantize_population`.
        bits: As there.
        bias: As there.
        state_bits: As there.
        rounder: As there.

    Raises:
        BoundError: The membrane register does not even hold the rounding errors of the weights.
    """
    register = (1 << (state_bits - 1)) - 1
    factor = np.ones(len(bias))
    rows = _rows(owner, branches, bits, bias, np.ones(len(bias)), rounder)
    for channel, row in enumerate(rows):
        if row.reach > 0:
            shares = [w / row.reach for w in row.weights]
            unit = replace(row, weights=shares, reach=1.0).largest_factor(register)
            if unit[0] < 1:
                raise BoundError(
                    f"readout {owner!r}: output {channel} must fit its widths, but {unit[1]} does not hold "
                    "it; declare more state_bits or use fewer time steps."
                )
            factor[channel] = whole_factor(row.grids, unit[0] / row.reach)
    weights, off = _rounded(owner, branches, rows, factor, factor, rounder)
    ones = np.ones(len(bias), np.int32)
    return Quantized(ones, _integer_bias(owner, bias * factor - off), weights, 1.0 / factor)
