"""What calibrators share: streaming, bounded memory, per tensor or per channel."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from ...spec.parameters import NeuronParameters

__all__ = ["Calibrator", "by_channel"]


def by_channel(x: Tensor, channel_wise: bool) -> Tensor:
    """View ``[N, C, *]`` as ``[C, M]`` or, per tensor, ``[1, M]``."""
    return x.transpose(0, 1).flatten(1) if channel_wise and x.dim() > 1 else x.reshape(1, -1)


class Calibrator(ABC):
    """Collects statistics of what a node will receive.

    Args:
        channel_wise: One threshold per channel (axis 1) instead of one per tensor.
    """

    def __init__(self, channel_wise: bool) -> None:
        self.channel_wise = channel_wise

    @abstractmethod
    def observe(self, magnitude: Tensor) -> None:
        """Take in one batch of non-negative values ``[C, M]`` (``[1, M]`` per tensor)."""

    @abstractmethod
    def threshold(self, parameters: NeuronParameters) -> Tensor:
        """Threshold ``[C]`` or ``[1]`` (float32); 0 where a channel was never active."""


class RangeHistogram:
    """Counts of positive values in equal bins whose range doubles when a larger value arrives.

    Memory is ``C * bins`` whatever the amount of data; exact zeros are left out, they are coded exactly.
    """

    def __init__(self, bins: int = 2048) -> None:
        self.bins = bins
        self.counts = torch.empty(0)
        self.width = torch.empty(0)

    def add(self, values: Tensor) -> None:
        """Count ``[C, M]`` values."""
        values = values.to(torch.float32)
        top = values.amax(dim=1) if values.numel() else values.new_zeros(len(values))
        if not len(self.counts):
            self.counts = torch.zeros(len(values), self.bins, dtype=torch.float64, device=values.device)
            self.width = torch.zeros(len(values), device=values.device)
        fresh = (self.width == 0) & (top > 0)
        self.width[fresh] = top[fresh] / self.bins * (1 + 1e-6)
        while bool((over := top > self.width * self.bins).any()):
            merged = self.counts[over].view(-1, self.bins // 2, 2).sum(2)
            self.counts[over] = torch.cat([merged, torch.zeros_like(merged)], dim=1)
            self.width[over] *= 2
        index = (values / self.width.clamp(min=1e-38)[:, None]).long().clamp(max=self.bins - 1)
        self.counts.scatter_add_(1, index, (values > 0).to(torch.float64))

    def centers(self) -> Tensor:
        """Middle of every bin, ``[C, bins]``."""
        steps = torch.arange(self.bins, device=self.width.device, dtype=torch.float32) + 0.5
        return self.width[:, None] * steps
