"""Threshold of least squared coding error, for the number of time steps the node will have."""

from __future__ import annotations

import torch
from torch import Tensor

from ...spec.equations import least_significant, nearest_code
from ...spec.parameters import NeuronParameters
from .base import HistogramCalibrator

__all__ = ["SquaredErrorCalibrator"]


class SquaredErrorCalibrator(HistogramCalibrator):
    """Minimizes ``E[(x - theta * d(x))^2]`` over theta: few time steps trade outliers for resolution.

    Clipping at the least squared error: Banner et al., arXiv 1810.05723, there for assumed distributions.
    Theta is searched among 160 shares of the largest value, 0.05 to 1.05 and 1 itself.
    """

    candidates = 160

    def threshold(self, parameters: NeuronParameters) -> Tensor:
        counts, centers = self.histogram.counts, self.histogram.centers()
        top = self.histogram.top
        best = top.clone()
        least = torch.full_like(top, torch.inf, dtype=torch.float64)
        for share in [1.0, *torch.linspace(1.05, 0.05, self.candidates).tolist()]:
            theta = (top * share).clamp(min=1e-30)
            error = (counts * self._squared_error(centers, theta[:, None], parameters)).sum(dim=1)
            better = error < least
            best, least = torch.where(better, theta, best), torch.where(better, error, least)
        return torch.where(top > 0, best, top)

    @staticmethod
    def _squared_error(values: Tensor, theta: Tensor, parameters: NeuronParameters) -> Tensor:
        lsb = least_significant(theta, parameters.weight_sum)
        code = nearest_code(values, lsb, parameters.max_code, parameters.half, torch.floor)
        return ((values - code * lsb) ** 2).to(torch.float64)
