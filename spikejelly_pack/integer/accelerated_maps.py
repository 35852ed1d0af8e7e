"""Steps of an accelerated integer network that rearrange maps: maximum pooling and upsampling."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from .accelerated_ops import Edge, Step, step_of

__all__: list[str] = []


@step_of("max_pool2d")
class MaxPoolStep(Step):
    """Largest code of each window: the CPU pools the stored integers, other devices floats that hold them."""

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        (self.edge,) = edges
        self.geometry = (op.kernel, op.stride, op.padding, op.dilation, op.ceil_mode)

    def forward(self, parts: list[Tensor]) -> Tensor:
        (codes,) = parts
        if codes.device.type == "cpu":
            return F.max_pool2d(codes, *self.geometry)
        return F.max_pool2d(codes.to(torch.float32), *self.geometry).to(codes.dtype)


@step_of("upsample2d")
class UpsampleStep(Step):
    """Every value as a block, of codes or of sums."""

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        (self.edge,) = edges
        self.factor = op.factor

    def forward(self, parts: list[Tensor]) -> Tensor:
        return parts[0].repeat_interleave(self.factor[0], -2).repeat_interleave(self.factor[1], -1)
