"""Steps of an accelerated integer network on maps: pooling, upsampling, transposed convolution."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .accelerated_ops import Edge, Step, integers, per_channel, step_of, sum_dtype, sum_edge
from .torch_network import inputs_first

__all__: list[str] = []


@step_of("avg_pool2d")
class PoolStep(Step):
    """Sum over each window, times one weight per channel."""

    fresh = True
    multiplier: Tensor

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        weight = integers(op.multiplier)
        area = op.kernel[0] * op.kernel[1]
        self.edge = sum_edge(edges[0].most * area * int(weight.abs().max()))
        self.dtype = sum_dtype(op, max(self.edge.high, edges[0].most * area))
        # torch pads a pool by at most half its kernel; wider zeros are put around it first.
        wide = any(2 * pad > size for pad, size in zip(op.padding, op.kernel, strict=True))
        (high, side), inner = op.padding, (0, 0) if wide else op.padding
        self.border = (side, side, high, high) if wide else None
        self.window = (op.kernel, op.stride, inner)
        self.register_buffer("multiplier", weight, persistent=False)

    def forward(self, parts: list[Tensor]) -> Tensor:
        sums = parts[0].to(self.dtype)
        if self.border is not None:
            sums = F.pad(sums, self.border)
        total = F.avg_pool2d(sums, *self.window, divisor_override=1)
        return total.mul_(per_channel(self.multiplier, total, self.dtype))


@step_of("max_pool2d")
class MaxPoolStep(Step):
    """Largest code of each window, along the rows and then along the columns.

    Maxima of shifted maps are byte operations; PyTorch's own pool takes bytes on few devices, and converting
    them to floats and back costs several times as much.
    """

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        (self.edge,), self.op = edges, op

    def forward(self, parts: list[Tensor]) -> Tensor:
        (codes,) = parts
        for axis, outputs in enumerate(self.op.size(codes.shape)):
            codes = self._pooled(codes, axis, outputs)
        return codes

    def _pooled(self, codes: Tensor, axis: int, outputs: int) -> Tensor:
        """Maxima along the rows (axis 0) or the columns (1)."""
        op = self.op
        size, stride, pad, dilation = (pair[axis] for pair in (op.kernel, op.stride, op.padding, op.dilation))
        reach = (outputs - 1) * stride + 1
        # Padding never wins: it holds the lowest code, and every window covers a code.
        border = (pad, max(0, reach + dilation * (size - 1) - codes.shape[axis - 2] - pad))
        if any(border):
            codes = F.pad(codes, border if axis else (0, 0, *border), value=self.edge.low)
        shifted = [codes.narrow(axis - 2, at * dilation, reach) for at in range(size)]
        first, *rest = (part[..., ::stride] if axis else part[..., ::stride, :] for part in shifted)
        for part in rest:
            first = torch.maximum(first, part)
        return first


@step_of("upsample2d")
class UpsampleStep(Step):
    """Every value as a block, of codes or of sums."""

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        (self.edge,) = edges
        self.factor = op.factor

    def forward(self, parts: list[Tensor]) -> Tensor:
        return parts[0].repeat_interleave(self.factor[0], -2).repeat_interleave(self.factor[1], -1)


@step_of("conv_transpose2d")
class TransposedStep(Step):
    """A transposed convolution in floats that hold every partial sum exactly."""

    fresh = True
    weight: Tensor

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        weight = integers(op.weight)
        self.edge = sum_edge(edges[0].most * int(weight.abs().flatten(1).sum(1).max()))
        self.dtype = sum_dtype(op, self.edge.high)
        self.geometry = (op.stride, op.padding, op.output_padding, op.groups, op.dilation)
        self.register_buffer("weight", inputs_first(weight, op.groups), persistent=False)

    def forward(self, parts: list[Tensor]) -> Tensor:
        (codes,) = parts
        # Graphics cards may multiply float32 with fewer bits; float64 is what it says.
        dtype = self.dtype if codes.device.type == "cpu" else torch.float64
        sums = F.conv_transpose2d(codes.to(dtype), self.weight.to(dtype), None, *self.geometry)
        return sums.to(self.dtype)
