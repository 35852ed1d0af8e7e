"""Steps of an accelerated integer network that move codes or sums and compute nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops.integer_products import storage_dtype
from .accelerated_ops import Edge, Step, step_of, sum_dtype

__all__: list[str] = []


@step_of("concat")
class ConcatStep(Step):
    """Concatenation along the channels, of codes or of sums."""

    fresh = True

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        low, high = min(edge.low for edge in edges), max(edge.high for edge in edges)
        self.edge = Edge(low, high, edges[0].codes)
        self.dtype = storage_dtype(low, high) if self.edge.codes else sum_dtype(op, self.edge.most)

    def forward(self, parts: list[Tensor]) -> Tensor:
        return torch.cat([part.to(self.dtype) for part in parts], dim=1)


@step_of("flatten")
class FlattenStep(Step):
    """All axes of a sample into one."""

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        (self.edge,) = edges

    def forward(self, parts: list[Tensor]) -> Tensor:
        return parts[0].flatten(1)


@step_of("delay")
class DelayStep(Step):
    """The identity in packed form."""

    def __init__(self, op: Any, edges: list[Edge]) -> None:
        super().__init__()
        (self.edge,) = edges

    def forward(self, parts: list[Tensor]) -> Tensor:
        return parts[0]
