"""Which memory a tensor is a view of."""

from __future__ import annotations

from torch import Tensor

__all__ = ["storage_of"]


def storage_of(x: Tensor) -> int:
    """The same number for all views of one memory, as long as that memory lives."""
    # data_ptr() is public, but 0 for every empty and every meta tensor
    return x.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]
