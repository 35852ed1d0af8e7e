"""Nearest-neighbour upsampling: every value becomes a block."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..errors import ShapeError
from .base import Op, Shape, pair, register

__all__ = ["Upsample2d"]


@register("upsample2d")
@dataclass(frozen=True, eq=False)
class Upsample2d(Op):
    """Repeat every row ``factor[0]`` times and every column ``factor[1]`` times; of spikes or of currents."""

    factor: tuple[int, int] = (2, 2)
    since: ClassVar[int] = 2

    def check(self) -> None:
        object.__setattr__(self, "factor", pair(self.label, "factor", self.factor, 1))

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != 3:
            raise ShapeError(f"{self.label}: input must have shape (C, H, W), got {shape}; unflatten it.")
        return (shape[0], shape[1] * self.factor[0], shape[2] * self.factor[1])
