"""Products in floats, exact while every partial sum is an integer the format holds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from ..exactness import exact_integers
from .base import Kernel, Product, layout, rows_of

__all__ = ["FloatRoute", "HalfRoute"]


@dataclass(frozen=True)
class FloatRoute:
    """torch's own linear and convolution in float32 or float64.

    cuDNN may compute a float32 convolution by Winograd's transform or in TF32, which are not exact on
    integers; on CUDA float32 is therefore left to dense products in full precision.
    """

    name: str
    dtype: torch.dtype
    devices: tuple[str, ...] = ("cpu", "cuda")

    def refuses(self, product: Product, device: torch.device) -> str | None:
        if product.magnitude > exact_integers(self.dtype):
            return f"sums reach {product.magnitude}, beyond the exact integers of {self.name}"
        if device.type == "cuda" and self.dtype is torch.float32:
            if product.window is not None:
                return "cuDNN may use Winograd or TF32, which are not exact"
            if torch.backends.cuda.matmul.allow_tf32:
                return "TF32 is allowed for matrix products, which is not exact"
        return None

    def prepare(self, product: Product, device: torch.device) -> Kernel:
        weight, window = layout(product.weight.to(device, self.dtype)), product.window
        if window is None:
            return lambda codes: F.linear(codes.to(self.dtype), weight)
        geometry = (window.stride, window.padding, window.dilation, window.groups)

        def convolve(codes: Tensor) -> Tensor:
            return F.conv2d(layout(codes).to(self.dtype), weight, None, *geometry)

        return convolve


@dataclass(frozen=True)
class HalfRoute:
    """Half-precision tensor cores with float32 sums, as matrix products of unfolded codes (CUDA)."""

    name: str
    dtype: torch.dtype
    devices: tuple[str, ...] = ("cuda",)

    def refuses(self, product: Product, device: torch.device) -> str | None:
        if product.kind == "grouped conv":
            return "groups need one product each"
        held = exact_integers(self.dtype)
        if max(product.most, product.largest_weight) > held:
            return f"codes or weights exceed {held}"
        if product.magnitude > exact_integers(torch.float32):
            return f"sums reach {product.magnitude}, beyond the exact integers of float32"
        return None

    def prepare(self, product: Product, device: torch.device) -> Kernel:
        weight, window = product.weight.to(device, self.dtype), product.window
        if window is None:
            matrix = weight.t()
            return lambda codes: torch.ops.aten.mm.dtype(codes.to(self.dtype), matrix, torch.float32)
        size = (weight.shape[2], weight.shape[3])
        matrix = weight.permute(0, 2, 3, 1).flatten(1).t()

        def convolve(codes: Tensor) -> Tensor:
            rows, (samples, height, width) = rows_of(codes.to(self.dtype), size, window)
            out = torch.ops.aten.mm.dtype(rows, matrix, torch.float32)
            return out.view(samples, height, width, -1).permute(0, 3, 1, 2)

        return convolve
