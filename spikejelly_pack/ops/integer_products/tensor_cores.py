"""Products on the tensor cores by an own kernel: byte codes times int8 weights, neurons fused or not."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .. import kernels
from ..library import code_dtype
from .base import Fire, Kernel, Product, layout, storage_dtype

__all__ = ["FusedKernel", "KernelRoute"]


@dataclass(frozen=True)
class KernelRoute:
    """``cupy_kernels``' product; with :class:`Fire` the sums never reach memory."""

    name: str = "cupy"
    devices: tuple[str, ...] = ("cuda",)

    def refuses(self, product: Product, device: torch.device) -> str | None:
        if product.kind == "grouped conv":
            return "groups have no kernel"
        if int(product.weight.min()) < -128 or int(product.weight.max()) > 127:
            return f"weights reach {product.largest_weight}, beyond int8"
        if storage_dtype(product.low, product.high) is torch.int32:
            return "codes exceed 8 bits"
        depth = product.weight[0].numel()
        if depth > kernels.max_depth():
            return f"{depth} terms could leave int32"
        return kernels.unavailable(device)

    def prepare(self, product: Product, device: torch.device, fire: Fire | None = None) -> Kernel:
        weight = layout(product.weight.to(torch.int8).to(device))
        options: dict[str, object] = {}
        dtype = torch.int32
        if fire is not None:
            dtype = code_dtype(fire.time_steps, fire.signed)
            constants = {"theta": fire.theta, "bias": fire.bias}
            options = {name: value.to(device, torch.int32) for name, value in constants.items()}
            options |= {"time_steps": fire.time_steps, "signed": fire.signed, "half": fire.half}
        if product.window is None:
            return lambda codes: kernels.product_linear(codes, weight, dtype, options)
        window = product.window
        options |= {"stride": window.stride, "padding": window.padding, "dilation": window.dilation}
        return lambda codes: kernels.product_conv2d(layout(codes), weight, dtype, options)


@dataclass(frozen=True)
class FusedKernel:
    """The kernel with :class:`.base.Fire` behind it."""

    name: str = "fused"
    provider: str = "cupy"
    devices: tuple[str, ...] = ("cuda",)

    def refuses(self, product: Product, fire: Fire, device: torch.device) -> str | None:
        del fire
        return KernelRoute().refuses(product, device)

    def prepare(self, product: Product, device: torch.device, fire: Fire) -> Kernel:
        return KernelRoute().prepare(product, device, fire)
