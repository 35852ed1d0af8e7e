"""Stack tensors along a new axis and keep their memory layout (channels last stays channels last)."""

from __future__ import annotations

from collections.abc import Sequence

import torch

__all__ = ["stack"]


def stack(parts: Sequence[torch.Tensor], dim: int) -> torch.Tensor:
    """:func:`torch.stack` whose result has the axis order in memory of its parts; axes before ``dim`` lead.

    Args:
        parts: Tensors of one shape and layout.
        dim: Place of the new axis, not negative.
    """
    first = parts[0]
    if first.is_contiguous():
        return torch.stack(list(parts), dim)
    inner = sorted(range(dim, first.ndim), key=first.stride, reverse=True)
    order = [*range(dim), *inner]
    stacked = torch.stack([part.permute(order) for part in parts], dim)
    back = [*range(dim + 1), *(dim + 1 + inner.index(axis) for axis in range(dim, first.ndim))]
    return stacked.permute(back)
