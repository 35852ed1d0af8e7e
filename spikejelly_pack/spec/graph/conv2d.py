"""Two-dimensional convolution (correlation, as in PyTorch) with stride, padding, dilation and groups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import ShapeError
from .base import Array, Shape, Synapse, check_size, integer, pair, register, tensor_field
from .dense import exact_matmul

__all__ = ["Conv2d", "check_groups", "correlate", "spatial_shape", "windows"]

_CHUNK = 1 << 24  # float64 values of one unfolded piece


def windows(
    x: Array,
    kernel: Shape,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    *,
    fill: int = 0,
    beyond: Sequence[int] = (0, 0),
) -> Array:
    """View ``[N, C, H, W]`` as ``[N, C, H_out, W_out, k_h, k_w]``, padded with ``fill``.

    ``beyond`` rows and columns more are padded at the bottom and on the right.
    """
    sides = [(pad, pad + more) for pad, more in zip(padding, beyond, strict=True)]
    x = np.pad(x, ((0, 0), (0, 0), *sides), constant_values=fill)
    span = tuple(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))
    view = np.lib.stride_tricks.sliding_window_view(x, span, axis=(2, 3))
    return view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]


def spatial_shape(
    owner: str, shape: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape
) -> Shape:
    """Output height and width of a window operation; raises when the window does not fit."""
    check_size(owner, (shape[0], shape[1] + 2 * padding[0], shape[2] + 2 * padding[1]))
    size = tuple(
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, k, s, p, d in zip(shape[1:], kernel, stride, padding, dilation, strict=True)
    )
    if min(size) < 1:
        raise ShapeError(
            f"{owner}: a window of {kernel} does not fit an input of shape {shape}; lower the kernel."
        )
    return size


def correlate(
    x: Array,
    weight: Array,
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> Array:
    """Currents ``[N, out, H_out, W_out]`` (int64) of ``x`` ``[N, in, H, W]``, exactly."""
    view = windows(x.astype(np.float64), weight.shape[2:], stride, padding, dilation)
    samples, _, height, width = view.shape[:4]
    rows = weight.reshape(groups, weight.shape[0] // groups, math.prod(weight.shape[1:]))
    # Every value appears once per window that covers it: some samples at a time bound the memory.
    chunk = max(1, _CHUNK // (groups * rows.shape[2] * height * width))
    out = np.empty((samples, weight.shape[0], height, width), np.int64)
    for first in range(0, samples, chunk):
        part = view[first : first + chunk].transpose(0, 1, 4, 5, 2, 3)
        columns = part.reshape(len(part), groups, rows.shape[2], height * width)
        out[first : first + chunk] = exact_matmul(rows, columns).reshape(len(part), *out.shape[1:])
    return out


def check_groups(owner: str, weight: Array, value: int) -> int:
    """Groups of a weight ``[out, in / groups, k_h, k_w]``; raises where they or the shape are wrong."""
    if weight.ndim != 4 or 0 in weight.shape:
        raise ShapeError(
            f"{owner}: weight must be [out, in / groups, k_h, k_w], got shape {weight.shape}; reshape it."
        )
    out, remedy = weight.shape[0], "use one that divides the output channels"
    groups = integer(owner, "groups", value, 1, out, remedy, ShapeError)
    if out % groups:
        raise ShapeError(f"{owner}: groups must divide {out} output channels, got {groups}; {remedy}.")
    return groups


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
        groups = check_groups(self.label, self.weight, self.groups)
        for name, low in (("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(self.label, name, getattr(self, name), low))
        object.__setattr__(self, "groups", groups)

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        channels = self.weight.shape[1] * self.groups
        if len(shape) != 3 or shape[0] != channels:
            raise ShapeError(
                f"{self.label}: input must have shape ({channels}, H, W), got {shape}; fit the weight."
            )
        kernel = self.weight.shape[2:]
        return (
            self.weight.shape[0],
            *spatial_shape(self.label, shape, kernel, self.stride, self.padding, self.dilation),
        )

    def apply(self, x: Array, weight: Array | None = None) -> Array:
        w = self.weight if weight is None else weight
        return correlate(x, w, self.stride, self.padding, self.dilation, self.groups)
