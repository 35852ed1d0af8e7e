"""Threshold at a percentile of the activations: rare outliers saturate, the rest gains resolution."""

from __future__ import annotations

from torch import Tensor

from ...spec.errors import ParameterError
from ...spec.parameters import NeuronParameters
from .base import HistogramCalibrator

__all__ = ["PercentileCalibrator"]


class PercentileCalibrator(HistogramCalibrator):
    """Percentile of the positive values seen: the upper edge of its bin, 1/2048 of the range or finer.

    Source: Rueckauer et al. (2017), doi 10.3389/fnins.2017.00682.

    Args:
        channel_wise: As in :class:`.Calibrator`.
        percentile: In (0, 100], dimensionless.
    """

    def __init__(self, channel_wise: bool, percentile: float | str = 99.9) -> None:
        super().__init__(channel_wise)
        try:
            self.percentile = float(percentile)
        except ValueError:
            self.percentile = 0.0
        if not 0.0 < self.percentile <= 100.0:
            raise ParameterError(
                f"SpikePackRecipe: a percentile must be in (0, 100], got {percentile!r}; 99.9 is a usual "
                "choice."
            )

    def threshold(self, parameters: NeuronParameters) -> Tensor:
        counts = self.histogram.counts
        wanted = counts.sum(dim=1, keepdim=True) * (self.percentile / 100.0)
        index = (counts.cumsum(dim=1) < wanted).sum(dim=1).clamp(max=counts.shape[1] - 1)
        return self.histogram.upper_edges().gather(1, index[:, None]).squeeze(1)
