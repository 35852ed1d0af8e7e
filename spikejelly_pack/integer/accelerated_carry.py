"""Neurons of an accelerated integer network that carry from one window of a sample to the next."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..ops.integer_products import storage_dtype
from .accelerated_ops import Edge, NeuronStep, Step, integers, spike_edge, step_of
from .torch_network import fire_windows

__all__: list[str] = []


@step_of("neuron")
def neuron_step(op: Any, edges: list[Edge]) -> Step:
    """Neurons with a leak go window by window; all others fire at once."""
    return CarryStep(op) if op.carries else NeuronStep(op, edges)


class CarryStep(Step):
    """Fire on integers, each window from what the one before left."""

    bias: Tensor
    threshold: Tensor

    def __init__(self, op: Any) -> None:
        super().__init__()
        self.op, self.edge = op, spike_edge(op)
        self.storage = storage_dtype(self.edge.low, self.edge.high)
        self.register_buffer("bias", integers(op.bias), persistent=False)
        self.register_buffer("threshold", integers(op.threshold), persistent=False)

    def forward(self, parts: list[Tensor]) -> Tensor:
        return self.in_windows(parts, 1)

    def in_windows(self, parts: list[Tensor], windows: int) -> Tensor:
        sums = parts[0].to(torch.int64)
        return fire_windows(self.op, self.bias, self.threshold, sums, windows).to(self.storage)
