"""Threshold at the largest activation: nothing saturates."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from ...spec.parameters import NeuronParameters
from .base import Calibrator

__all__ = ["MaximumCalibrator"]


class MaximumCalibrator(Calibrator):
    """Largest value seen (Diehl et al., 2015, doi 10.1109/IJCNN.2015.7280696)."""

    def __init__(self, channel_wise: bool) -> None:
        super().__init__(channel_wise)
        self.top = torch.zeros(0)

    def observe(self, magnitude: Tensor) -> None:
        if not magnitude.numel():
            return
        top = magnitude.amax(dim=1).to(torch.float32)
        self.top = torch.maximum(self.top, top) if len(self.top) else top

    def threshold(self, parameters: NeuronParameters) -> Tensor:
        return self.top.clone()

    def state(self) -> dict[str, Tensor]:
        return {"top": self.top}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.top = state["top"]
