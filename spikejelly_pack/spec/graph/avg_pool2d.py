"""Average pooling as a depthwise synapse of equal integer weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import ShapeError
from .base import Array, Shape, Synapse, pair, register, tensor_field
from .conv2d import spatial_shape, windows

__all__ = ["AvgPool2d"]


@register("avg_pool2d")
@dataclass(frozen=True, eq=False)
class AvgPool2d(Synapse):
    """Sum over each window times ``multiplier`` int32 ``[C]``; the division is in the neuron's threshold.

    Padded positions count as zeros (``count_include_pad=True``), so every window has the same divisor.
    """

    multiplier: Array = tensor_field(np.int32)
    kernel: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: tuple[int, int] = (0, 0)
    plumbing: ClassVar[bool] = True

    def check(self) -> None:
        super().check()
        for name, low in (("kernel", 1), ("stride", 1), ("padding", 0)):
            object.__setattr__(self, name, pair(self.label, name, getattr(self, name), low))
        if self.multiplier.ndim != 1:
            raise ShapeError(
                f"{self.label}: multiplier must be [C], got shape {self.multiplier.shape}; reshape it."
            )

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != 3 or shape[0] != self.multiplier.shape[0]:
            channels = self.multiplier.shape[0]
            raise ShapeError(
                f"{self.label}: input must have shape ({channels}, H, W), got {shape}; fit the multiplier."
            )
        size = spatial_shape(self.label, shape, self.kernel, self.stride, self.padding, (1, 1))
        return (shape[0], *size)

    def apply(self, x: Array, weight: Array | None = None) -> Array:
        m = (self.multiplier if weight is None else weight).astype(np.int64)
        view = windows(x.astype(np.int64), self.kernel, self.stride, self.padding, (1, 1))
        return view.sum((4, 5)) * m[:, None, None]
