"""Fully connected synapse."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from .base import Array, Shape, Synapse, register, tensor_field

__all__ = ["Dense", "exact_matmul"]


def exact_matmul(a: Array, b: Array) -> Array:
    """Integer matrix product through float64 BLAS.

    Exact in whatever order the sum takes: weights have at most 16 bits and codes 16 digits, so a product
    is below 2^31 and a partial sum below 2^53 up to a fan-in of 2^22.
    """
    return (a.astype(np.float64, copy=False) @ b.astype(np.float64, copy=False)).astype(np.int64)


@register("dense")
@dataclass(frozen=True, eq=False)
class Dense(Synapse):
    """``y = W x`` with ``weight`` int32 ``[out, in]``."""

    weight: Array = tensor_field(np.int32)

    def check(self) -> None:
        super().check()
        if self.weight.ndim != 2 or 0 in self.weight.shape:
            raise ShapeError(
                f"{self.label}: weight must be [out, in], got shape {self.weight.shape}; reshape it."
            )

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if shape != (self.weight.shape[1],):
            raise ShapeError(
                f"{self.label}: input must have shape ({self.weight.shape[1]},), got {shape}; flatten it "
                "first."
            )
        return (self.weight.shape[0],)

    def apply(self, x: Array, weight: Array | None = None) -> Array:
        return exact_matmul(x, (self.weight if weight is None else weight).T)
