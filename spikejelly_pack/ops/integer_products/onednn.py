"""oneDNN's quantized products on the CPU: uint8 codes, int8 weights, int32 sums, float32 result."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..exactness import exact_integers
from .base import Kernel, Product, layout
from .byte_planes import in_planes, through_planes
from .int8 import saturation

__all__ = ["OneDnnRoute"]

_SIGNED_ZERO = 128  # signed codes are shifted into uint8; oneDNN subtracts the zero point, in the padding too


class OneDnnRoute:
    """``torch.ops.onednn.qconv_pointwise`` and ``qlinear_pointwise`` with unit scales.

    They are torch's own operators behind quantized inference, without a promise of stability: where this
    torch or CPU lacks them the attempt fails at once and another route is taken, with the reason kept.
    """

    name = "onednn"
    devices = ("cpu",)

    def refuses(self, product: Product, device: torch.device) -> str | None:
        if not torch.backends.mkldnn.is_available():
            return "this torch is built without oneDNN"
        if int(product.weight.min()) < -128 or int(product.weight.max()) > 127:
            return f"weights reach {product.largest_weight}, beyond int8"
        if _exceeds(product):
            halves = in_planes(product)
            return "codes exceed 8 bits" if halves is None else self.refuses(halves, device)
        # Shifted codes: the sum before the zero point's correction is up to twice as large.
        if product.magnitude > exact_integers(torch.float32):
            return f"sums reach {product.magnitude}, beyond the exact integers of float32"
        return saturation(product, device)

    def prepare(self, product: Product, device: torch.device) -> Kernel:
        if _exceeds(product):
            halves = in_planes(product)
            assert halves is not None
            return through_planes(self.prepare(halves, device))
        zero = _SIGNED_ZERO if product.low < 0 else 0
        return _dense(product, zero) if product.window is None else _convolution(product, zero)


def _exceeds(product: Product) -> bool:
    """Whether no byte holds a code."""
    return product.low < -128 or product.high > (255 if product.low >= 0 else 127)


def _bytes(codes: Tensor, zero: int) -> Tensor:
    # int8 -128..127 to uint8 0..255: the sign bit flipped.
    return (codes ^ -128).view(torch.uint8) if zero else codes


def _ones(product: Product) -> tuple[Tensor, Tensor]:
    outputs = product.weight.shape[0]
    return torch.ones(outputs), torch.zeros(outputs, dtype=torch.int64)


def _dense(product: Product, zero: int) -> Kernel:
    ops: Any = torch.ops.onednn
    scale, shift = _ones(product)
    packed = ops.qlinear_prepack(product.weight.to(torch.int8), None)
    tail = (None, 1.0, 0, torch.float32, "none", [], "")
    return lambda codes: ops.qlinear_pointwise(_bytes(codes, zero), 1.0, zero, packed, scale, shift, *tail)


def _convolution(product: Product, zero: int) -> Kernel:
    ops: Any = torch.ops.onednn
    window = product.window
    assert window is not None
    scale, shift = _ones(product)
    geometry = (list(window.stride), list(window.padding), list(window.dilation), window.groups)
    packed = ops.qconv_prepack(product.weight.to(torch.int8), scale, 1.0, zero, *geometry, None)
    tail = (None, *geometry, 1.0, 0, torch.float32, "none", [], "")
    return lambda codes: ops.qconv_pointwise(
        _bytes(layout(codes), zero), 1.0, zero, packed, scale, shift, *tail
    )
