"""Geometry of average pooling, and its fold into a linear layer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..spec.graph import Shape
from .values import FloatArray, Pooled

__all__ = ["pooled_size", "unpool"]


def pooled_size(
    shape: Shape, kernel: Sequence[int], stride: Sequence[int], padding: Sequence[int]
) -> tuple[int, int]:
    """Height and width behind a pooling (or convolution) of maps ``(C, H, W)``."""
    height, width = (
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True)
    )
    return height, width


def unpool(weight: FloatArray, value: Pooled) -> FloatArray:
    """Weights over the pooled map as weights over the map itself: the transpose of average pooling.

    Args:
        weight: ``[out, C * H' * W']``.
        value: The pooling, window size and channel gain included.

    Returns:
        ``[out, C * H * W]``.
    """
    channels, height, width = value.spikes.shape
    (kernel_h, kernel_w), (stride_h, stride_w), (top, left) = value.kernel, value.stride, value.padding
    out_h, out_w = value.size
    maps = weight.reshape(len(weight), channels, out_h, out_w) * value.gain[:, None, None]
    padded = np.zeros((len(weight), channels, height + 2 * top, width + 2 * left))
    for y in range(kernel_h):
        for x in range(kernel_w):
            rows, columns = slice(y, y + stride_h * out_h, stride_h), slice(x, x + stride_w * out_w, stride_w)
            padded[:, :, rows, columns] += maps
    inside = padded[:, :, top : top + height, left : left + width]
    return inside.reshape(len(weight), -1) / (kernel_h * kernel_w)
