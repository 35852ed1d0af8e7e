"""Two-dimensional convolution (correlation, as in PyTorch) with stride, padding, dilation and groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from .base import Array, Shape, Synapse, pair, register, tensor_field
from .dense import exact_matmul

__all__ = ["Conv2d", "windows"]


def windows(
    x: Array, kernel: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int], dilation: tuple[int, int]
) -> Array:
    """View ``[N, C, H, W]`` as ``[N, C, H_out, W_out, k_h, k_w]``, zero-padded."""
    x = np.pad(x, ((0, 0), (0, 0), (padding[0], padding[0]), (padding[1], padding[1])))
    span = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, span, axis=(2, 3))  # type: ignore[call-overload]
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def spatial_shape(owner: str, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Shape:
    """Output height and width of a window operation; raises when the window does not fit."""
    size = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    )
    if min(size) < 1:
        raise ShapeError(f"{owner}: a window of {kernel} does not fit an input of shape {shape}; lower the kernel.")
    return size


@register("conv2d")
@dataclass(frozen=True, eq=False)
class Conv2d(Synapse):
    """Correlation with ``weight`` int32 ``[out, in / groups, k_h, k_w]``; zero padding."""

    weight: Array = tensor_field(np.int32)
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1

    def check(self) -> None:
        super().check()
        if self.weight.ndim != 4 or 0 in self.weight.shape:
            raise ShapeError(
                f"{self.label}: weight must be [out, in / groups, k_h, k_w], got shape {self.weight.shape}."
            )
        for name, low in (("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(self.label, name, getattr(self, name), low))
        if self.groups < 1 or self.weight.shape[0] % self.groups:
            raise ShapeError(
                f"{self.label}: groups must divide {self.weight.shape[0]} output channels, got {self.groups}."
            )

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        channels = self.weight.shape[1] * self.groups
        if len(shape) != 3 or shape[0] != channels:
            raise ShapeError(f"{self.label}: input must have shape ({channels}, H, W), got {shape}.")
        kernel = self.weight.shape[2:]
        return (
            self.weight.shape[0],
            *spatial_shape(self.label, shape, kernel, self.stride, self.padding, self.dilation),
        )

    def apply(self, x: Array, weight: Array | None = None) -> Array:
        w = self.weight if weight is None else weight
        view = windows(x, (w.shape[2], w.shape[3]), self.stride, self.padding, self.dilation)
        n, _, height, width = view.shape[:4]
        columns = view.transpose(0, 1, 4, 5, 2, 3).reshape(n, self.groups, -1, height * width)
        rows = w.reshape(self.groups, w.shape[0] // self.groups, -1)
        return exact_matmul(rows, columns).reshape(n, w.shape[0], height, width)
