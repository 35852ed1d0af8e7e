"""Mean and variance of what an operation puts out, per channel, streamed over the calibration data."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Moments"]


class Moments:
    """Running sums of one operation's output channels, in float64.

    Attributes:
        dtype: Of the outputs.
    """

    def __init__(self) -> None:
        self.count, self.first, self.second = 0, torch.zeros(()), torch.zeros(())
        self.dtype = torch.float32

    def add(self, output: Tensor, axis: int = 1) -> None:
        """Take in one output with its channels on ``axis``."""
        rows = output.detach().movedim(axis, 0).reshape(output.shape[axis], -1).double()
        self.dtype = output.dtype
        self.count += rows.shape[1]
        self.first = self.first.to(rows) + rows.sum(1)
        self.second = self.second.to(rows) + rows.square().sum(1)

    @property
    def mean(self) -> Tensor:
        """``[C]``."""
        return self.first / self.count

    @property
    def variance(self) -> Tensor:
        """``[C]``, of the data itself (no correction for the sample's size)."""
        return (self.second / self.count - self.mean.square()).clamp(min=0)
