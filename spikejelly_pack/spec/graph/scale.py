"""Identity synapse: a skip connection, one integer weight per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import ShapeError
from .base import Array, Shape, Synapse, register, tensor_field

__all__ = ["Scale", "per_channel"]


def per_channel(values: Array, ndim: int) -> Array:
    """View ``[C]`` so that it broadcasts against one sample of ``ndim`` axes with the channel first."""
    return values.reshape(values.shape + (1,) * (ndim - 1))


@register("scale")
@dataclass(frozen=True, eq=False)
class Scale(Synapse):
    """``y[c] = multiplier[c] * x[c]`` with ``multiplier`` int32 ``[C]``.

    Skip weights are often larger than the branch they join allows in 8 bits, hence an own
    ``weight_bits``; a device with narrow weights uses several synapses.
    """

    multiplier: Array = tensor_field(np.int32)
    plumbing: ClassVar[bool] = True

    def check(self) -> None:
        super().check()
        if self.multiplier.ndim != 1:
            raise ShapeError(
                f"{self.label}: multiplier must be [C], got shape {self.multiplier.shape}; reshape it."
            )

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or shape[0] != self.multiplier.shape[0]:
            raise ShapeError(
                f"{self.label}: input must have {self.multiplier.shape[0]} channels, got {shape}; fit its "
                "multiplier."
            )
        return shape

    def apply(self, x: Array, weight: Array | None = None) -> Array:
        m = (self.multiplier if weight is None else weight).astype(np.int64)
        return x.astype(np.int64) * per_channel(m, x.ndim - 1)
