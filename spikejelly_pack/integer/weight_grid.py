"""Weights that are quantized already: their integers go to the integer network, times one factor per channel.

A quantized row is ``rho k`` with integers k, in units of the population's LSB. The common denominator N turns
rho into the factor ``m = rint(rho N)`` on all of k, so that the integer weights are ``m k`` whatever N is and
only the gain of the channel, ``m / (rho N)``, is rounded. With as many bits as k has, m is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn.utils import parametrize

from ..spec.errors import BoundError, UnsupportedError
from .values import Branch, FloatArray

__all__ = [
    "TOLERANCE",
    "HasWeightGrid",
    "RowGrid",
    "denominators",
    "factors",
    "grids_of",
    "plain_weights",
    "recover_grid",
    "weight_bits_of",
    "whole_factor",
]

#: Relative: float32 weights k * s are rounded products.
TOLERANCE = 2.0**-20
_MARK = "spikepack_weight_bits"
_HALF = 0.499  # rint of anything up to m + 0.499 is m


def recover_grid(values: FloatArray, limit: int) -> tuple[npt.NDArray[np.int64], float] | None:
    """Smallest integers w, at most ``limit``, and rho with ``values = rho * w``; None where there are none.

    Values agree to a relative 2^-20. All zeros give zeros and ``rho = 1``.
    """
    peak = float(np.abs(values).max(initial=0.0))
    if peak == 0.0:
        return np.zeros(values.shape, np.int64), 1.0
    for largest in range(1, limit + 1):
        scaled = values * (largest / peak)
        whole = np.rint(scaled)
        if (np.abs(scaled - whole) <= TOLERANCE * np.abs(whole)).all():
            return whole.astype(np.int64), float(whole @ values / (whole @ whole))
    return None


class HasWeightGrid(Protocol):
    """A parametrization of a weight whose values are integers of ``bits`` bits times a scale per channel."""

    bits: int

    @property
    def exportable(self) -> bool:
        """Whether an integer network can hold these weights."""
        ...

    def integers(self, weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Integers and scales ``[C]`` of a weight."""
        ...


def plain_weights(net: nn.Module) -> nn.Module:
    """Replace quantized weights of a copy by their values, and note their width on the layer.

    Raises:
        UnsupportedError: A width has no integer form.
    """
    for path, module in net.named_modules():
        quantizer = _quantizer(module)
        if quantizer is None:
            continue
        if not quantizer.exportable:
            raise UnsupportedError(
                f"export: layer {path!r} must have weights of at most 8 bits for an integer form, got "
                f"{quantizer.bits}; quantize it to 8 bits or fewer."
            )
        layer: Any = module
        with torch.no_grad():
            value = layer.weight.detach().clone()
        del layer._modules["parametrizations"]
        layer.__class__ = type(layer).__bases__[0]
        layer.register_parameter("weight", nn.Parameter(value, requires_grad=False))
        setattr(layer, _MARK, quantizer.bits)
    return net


def _quantizer(module: nn.Module) -> Any:
    if not parametrize.is_parametrized(module, "weight"):
        return None
    chain: Any = module.parametrizations
    last = chain["weight"][-1]
    alone = len(chain) == 1 and len(chain["weight"]) == 1
    return last if alone and hasattr(last, "bits") and callable(getattr(last, "integers", None)) else None


def weight_bits_of(module: nn.Module) -> int | None:
    """Width of a layer's quantized weight, None where it is not quantized."""
    return getattr(module, _MARK, None)


@dataclass(frozen=True)
class RowGrid:
    """One channel of one quantized branch, ``values = rho * integers``."""

    integers: npt.NDArray[np.int64]
    rho: float

    @property
    def peak(self) -> int:
        """Largest magnitude, at least 1."""
        return max(1, int(np.abs(self.integers).max(initial=0)))

    @property
    def power(self) -> float:
        """What an error of the factor weighs."""
        return float((self.integers.astype(np.float64) ** 2).sum())

    def bound(self, limit: int) -> tuple[FloatArray, float]:
        """The row as one number and the largest value it may be scaled to."""
        return np.array([self.rho]), limit // self.peak + _HALF


def grids_of(
    owner: str, branches: Sequence[Branch], weights: Sequence[FloatArray], channel: int
) -> list[RowGrid | None]:
    """The grid of every branch of one channel; None for those that are not quantized.

    Raises:
        UnsupportedError: A quantized branch lost its grid: its source's channels stand for different values.
    """
    found: list[RowGrid | None] = []
    for branch, values in zip(branches, weights, strict=True):
        if branch.quantized_bits is None:
            found.append(None)
            continue
        grid = recover_grid(values, max(1, (1 << (branch.quantized_bits - 1)) - 1))
        if grid is None:
            raise UnsupportedError(
                f"neuron {owner!r}: the quantized weights of {branch.name!r} must be integers times one "
                f"scale per channel, got others in channel {channel}; quantize the converted network, whose "
                "thresholds are folded into the weights, or use one threshold per tensor."
            )
        found.append(RowGrid(*grid))
    return found


def denominators(grids: Sequence[RowGrid | None], top: int) -> npt.NDArray[np.int64]:
    """Denominators that make some factor a whole number nearly, largest first; none above ``top``."""
    best: set[int] = set()
    for grid in grids:
        if grid is not None and grid.power:
            most = int(np.floor(top * grid.rho + 0.5))
            wanted = np.rint(np.arange(1, min(most, 1 << 15) + 1) / grid.rho)
            best.update(int(n) for n in wanted if 1 <= n <= top)
    return np.array(sorted(best or {top}, reverse=True), dtype=np.int64)


def factors(owner: str, channel: int, grids: Sequence[RowGrid | None], n: float) -> list[int | None]:
    """The factor of every branch for the denominator n.

    Raises:
        BoundError: A branch would vanish.
    """
    found: list[int | None] = []
    for grid in grids:
        factor = None if grid is None else int(np.rint(grid.rho * n))
        if grid is not None and grid.power and not factor:
            raise BoundError(
                f"neuron {owner!r}: channel {channel} must keep its quantized weights, but the register "
                "holds no threshold at which they are not 0; declare more state_bits or use fewer time steps."
            )
        found.append(factor)
    return found


def whole_factor(grids: Sequence[RowGrid | None], top: float) -> float:
    """The largest scale up to ``top`` of a row without a threshold: the first grid decides."""
    first = next((grid for grid in grids if grid is not None and grid.power), None)
    whole = 0.0 if first is None else float(np.floor(first.rho * top))
    return whole / first.rho if first is not None and whole else top
