"""Products on the tensor cores by an own kernel: byte codes times int8 weights, neurons fused or not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import kernels
from ..library import code_dtype
from .base import Kernel, Product, layout, storage_dtype

__all__ = ["Fire", "KernelRoute"]


@dataclass(frozen=True, eq=False)
class Fire:
    """Neurons behind a product.

    Attributes:
        theta: int64 ``[C]``, positive.
        bias: int64 ``[C]``.
        time_steps: T.
        signed: Fire on the absolute value.
        half: ``round_half_up``, else floor.
    """

    theta: Tensor
    bias: Tensor
    time_steps: int
    signed: bool
    half: bool


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
