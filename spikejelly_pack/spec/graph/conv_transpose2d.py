"""Transposed convolution: every value spreads its kernel over the output."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import ShapeError
from .base import Array, Shape, Synapse, check_size, pair, register, tensor_field
from .conv2d import check_groups, correlate

__all__ = ["ConvTranspose2d"]


@register("conv_transpose2d")
@dataclass(frozen=True, eq=False)
class ConvTranspose2d(Synapse):
    """The transpose of a convolution with ``weight`` int32 ``[out, in / groups, k_h, k_w]``.

    ``y[o, h stride + i dilation - padding] += weight[o, c, i] x[c, h]`` in both axes. PyTorch keeps the
    weight as ``[in, out / groups, k_h, k_w]``; here the outputs come first, as in every synapse.
    """

    weight: Array = tensor_field(np.int32)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    output_padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    since: ClassVar[int] = 2

    def check(self) -> None:
        super().check()
        for name, low in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(self.label, name, getattr(self, name), low))
        object.__setattr__(self, "groups", check_groups(self.label, self.weight, self.groups))
        axes = zip(self.output_padding, self.stride, self.dilation, strict=True)
        if any(extra >= max(stride, dilation) for extra, stride, dilation in axes):
            raise ShapeError(
                f"{self.label}: output_padding must be below stride or dilation, got {self.output_padding} "
                f"with stride {self.stride} and dilation {self.dilation}; lower it."
            )

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        channels = self.weight.shape[1] * self.groups
        if len(shape) != 3 or shape[0] != channels:
            raise ShapeError(
                f"{self.label}: input must have shape ({channels}, H, W), got {shape}; fit the weight."
            )
        full = self._full(shape)
        size = tuple(
            n - 2 * pad + extra for n, pad, extra in zip(full, self.padding, self.output_padding, strict=True)
        )
        if min(size) < 1:
            raise ShapeError(
                f"{self.label}: padding {self.padding} leaves nothing of an output of {full}; lower it."
            )
        check_size(self.label, (channels, *full))
        return (self.weight.shape[0], *size)

    def _full(self, shape: Shape) -> Shape:
        """Height and width before padding is cut off."""
        axes = zip(shape[-2:], self.weight.shape[2:], self.stride, self.dilation, strict=True)
        return tuple((n - 1) * stride + dilation * (kernel - 1) + 1 for n, kernel, stride, dilation in axes)

    def apply(self, x: Array, weight: Array | None = None) -> Array:
        w = self.weight if weight is None else weight
        samples, channels, height, width = x.shape
        # A correlation with the mirrored kernel over the input with stride - 1 zeros between its values.
        rows, columns = (height - 1) * self.stride[0] + 1, (width - 1) * self.stride[1] + 1
        spread = np.zeros((samples, channels, rows, columns), x.dtype)
        spread[:, :, :: self.stride[0], :: self.stride[1]] = x
        reach = [d * (k - 1) for d, k in zip(self.dilation, w.shape[2:], strict=True)]
        full = correlate(
            spread, w[:, :, ::-1, ::-1], (1, 1), (reach[0], reach[1]), self.dilation, self.groups
        )
        # Output padding may reach beyond what any value touches: zeros.
        sides = [(0, extra) for extra in self.output_padding]
        full = np.pad(full, ((0, 0), (0, 0), *sides))
        shape = self.output_shape(x.shape[1:])
        top, left = self.padding
        return full[:, :, top : top + shape[1], left : left + shape[2]]
