"""Maximum pooling of spikes: the largest code of each window, in every form."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import ShapeError
from .base import Array, Op, Shape, Signal, boolean, check_size, pair, register
from .conv2d import windows

__all__ = ["MaxPool2d"]


def _places(size: int, kernel: int, stride: int, padding: int, dilation: int, ceil_mode: bool) -> int:
    """Number of windows along one axis, as PyTorch counts them."""
    span = size + 2 * padding - dilation * (kernel - 1) - 1
    last = -(-span // stride) if ceil_mode else span // stride
    if ceil_mode and last * stride >= size + padding:
        last -= 1  # a window starts inside the input or in front of it
    return last + 1


@register("max_pool2d")
@dataclass(frozen=True, eq=False)
class MaxPool2d(Op):
    """Largest code of each window; padding is "not there", never a zero.

    On digits it is the digit-serial maximum, most significant digit first, with a mask of the positions
    that are still tied (:func:`.equations.digit_maximum`): the digits of the same maximum in the same time
    step.
    """

    kernel: tuple[int, int] = (2, 2)
    stride: tuple[int, int] = (2, 2)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)
    ceil_mode: bool = False
    accepts: ClassVar[Signal | None] = Signal.SPIKES
    emits: ClassVar[Signal | None] = Signal.SPIKES
    since: ClassVar[int] = 2

    def check(self) -> None:
        for name, low in (("kernel", 1), ("stride", 1), ("padding", 0), ("dilation", 1)):
            object.__setattr__(self, name, pair(self.label, name, getattr(self, name), low))
        object.__setattr__(self, "ceil_mode", boolean(self.label, "ceil_mode", self.ceil_mode))
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel, strict=True)):
            raise ShapeError(
                f"{self.label}: padding must be at most half the kernel, got padding {self.padding} with "
                f"kernel {self.kernel}; padding has no maximum."
            )

    def size(self, shape: Shape) -> tuple[int, int]:
        """Output height and width of maps ``(C, H, W)``."""
        axes = zip(shape[-2:], self.kernel, self.stride, self.padding, self.dilation, strict=True)
        height, width = (_places(*axis, self.ceil_mode) for axis in axes)
        return height, width

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if len(shape) != 3:
            raise ShapeError(f"{self.label}: input must have shape (C, H, W), got {shape}; unflatten it.")
        check_size(self.label, (shape[0], *(n + 2 * p for n, p in zip(shape[1:], self.padding, strict=True))))
        size = self.size(shape)
        if min(size) < 1:
            raise ShapeError(
                f"{self.label}: a window of {self.kernel} does not fit an input of shape {shape}; lower the "
                "kernel."
            )
        for axis, places in enumerate(size):
            starts = np.arange(places)[:, None] * self.stride[axis] - self.padding[axis]
            taps = starts + np.arange(self.kernel[axis]) * self.dilation[axis]
            if not ((taps >= 0) & (taps < shape[axis + 1])).any(1).all():
                raise ShapeError(
                    f"{self.label}: every window must cover an input, got one of padding alone on shape "
                    f"{shape}; lower padding or dilation."
                )
        return (shape[0], *size)

    def candidates(self, x: Array, absent: int) -> Array:
        """Values of every window ``[*, C, H', W', k_h, k_w]`` of maps ``[*, C, H, W]``.

        Args:
            x: Codes or digits.
            absent: Stands for padding.
        """
        maps = x.reshape(-1, *x.shape[-3:])
        size = self.size(x.shape)
        axes = zip(size, self.kernel, self.stride, self.dilation, strict=True)
        spans = [(n - 1) * stride + dilation * (kernel - 1) + 1 for n, kernel, stride, dilation in axes]
        beyond = [
            max(0, span - n - 2 * pad) for span, n, pad in zip(spans, x.shape[-2:], self.padding, strict=True)
        ]
        geometry = (self.kernel, self.stride, self.padding, self.dilation)
        view = windows(maps, *geometry, fill=absent, beyond=beyond)
        view = view[:, :, : size[0], : size[1]]
        return view.reshape(*x.shape[:-3], *view.shape[1:])

    def largest(self, codes: Array) -> Array:
        """Maximum of codes ``[*, C, H, W]``, in their dtype."""
        # The smallest value of the dtype never exceeds a code, and no window is padding alone.
        return np.asarray(self.candidates(codes, int(np.iinfo(codes.dtype).min)).max((-2, -1)))
