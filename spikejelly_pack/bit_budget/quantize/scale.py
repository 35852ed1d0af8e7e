"""The scale of a symmetric weight quantizer that leaves the least squared error, row by row.

A row ``w`` is written ``s k`` with integers ``|k| <= peak``. For given k the best s is ``<w, k> / <k, k>``
and leaves ``|w|^2 - <w, k>^2 / <k, k>``. As s falls, entry i of the nearest k grows to j at
``s = |w_i| / (j - 1/2)``; walking down these ``K peak`` events passes every k that is nearest for some s, the
best among them, so the least error is found exactly. Where that is too much to sort, a scan over s is refined
by alternating both steps, each of which can only lower the error.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["SMALLEST_SCALE", "binary_scale", "exact_scale", "least_squares_scale", "scanned_scale"]

#: A scale is never smaller, so that rows of zeros can be divided by it.
SMALLEST_SCALE = 2.0**-40
_EVENTS = 1 << 15  # walked per row
_AT_ONCE = 1 << 21  # events sorted at once
_SCANNED = 96  # candidates for s, 0.2 to 1 times |w|_max / peak
_REFINED = 12  # alternating steps; they stop changing after a few


def binary_scale(rows: Tensor) -> Tensor:
    """Best s for k in {-1, 1}: the mean magnitude (XNOR-Net, arXiv 1603.05279). ``[C, K] -> [C]``."""
    return rows.abs().mean(1).clamp(min=SMALLEST_SCALE)


def least_squares_scale(rows: Tensor, peak: int) -> Tensor:
    """Best s for k in -peak..peak. ``[C, K] -> [C]``; rows of zeros give the smallest scale."""
    events = rows.shape[1] * peak
    if events > _EVENTS:
        return scanned_scale(rows, peak)
    chunks = rows.split(max(1, _AT_ONCE // max(events, 1)))
    return torch.cat([exact_scale(chunk, peak) for chunk in chunks])


def exact_scale(rows: Tensor, peak: int) -> Tensor:
    """The scale of least squared error, by walking all events. ``[C, K] -> [C]``."""
    magnitude = rows.abs().unsqueeze(2)
    step = torch.arange(1, peak + 1, dtype=rows.dtype, device=rows.device)
    order = (magnitude / (step - 0.5)).flatten(1).argsort(1, descending=True)
    product = magnitude.expand(-1, -1, peak).flatten(1).gather(1, order).cumsum(1)
    power = (2 * step - 1).expand(*rows.shape, peak).flatten(1).gather(1, order).cumsum(1)
    best = (product.square() / power).argmax(1, keepdim=True)
    return (product / power).gather(1, best).squeeze(1).clamp(min=SMALLEST_SCALE)


def scanned_scale(rows: Tensor, peak: int) -> Tensor:
    """The best scale a scan and its refinement find. ``[C, K] -> [C]``."""
    largest = rows.abs().amax(1).clamp(min=SMALLEST_SCALE)
    best = largest / peak
    error = _error(rows, best, peak)
    for share in torch.linspace(0.2, 1.0, _SCANNED, dtype=torch.float64).tolist():
        best, error = _better(rows, best, error, largest * (share / peak), peak)
    for _ in range(_REFINED):
        code = _code(rows, best, peak)
        power = code.square().sum(1)
        fitted = torch.where(power > 0, (rows * code).sum(1) / power.clamp(min=1.0), best)
        best, error = _better(rows, best, error, fitted.clamp(min=SMALLEST_SCALE), peak)
    return best.clamp(min=SMALLEST_SCALE)


def _code(rows: Tensor, scale: Tensor, peak: int) -> Tensor:
    return (rows / scale[:, None]).round().clamp(-peak, peak)


def _error(rows: Tensor, scale: Tensor, peak: int) -> Tensor:
    return (rows - _code(rows, scale, peak) * scale[:, None]).square().sum(1)


def _better(rows: Tensor, best: Tensor, error: Tensor, candidate: Tensor, peak: int) -> tuple[Tensor, Tensor]:
    """Row by row the scale with the smaller error."""
    tried = _error(rows, candidate, peak)
    return torch.where(tried < error, candidate, best), torch.minimum(tried, error)
