"""What calibrators share: streaming, bounded memory, per tensor or per channel."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor

from ...spec.parameters import NeuronParameters

__all__ = ["Calibrator", "HistogramCalibrator", "RangeHistogram", "Running", "Scalable", "by_channel"]

_LEAST_WIDTH = 2.0**-120  # keeps bins out of the subnormal floats


def by_channel(x: Tensor, channel_wise: bool) -> Tensor:
    """View ``[N, C, *]`` as ``[C, M]`` or, per tensor, ``[1, M]``."""
    return x.transpose(0, 1).flatten(1) if channel_wise and x.dim() > 1 else x.reshape(1, -1)


class Scalable(Protocol):
    """A future node whose threshold a search may scale, see :class:`.Site`.

    Attributes:
        scale: Factor on its threshold, dimensionless.
    """

    scale: float


class Running(Protocol):
    """What a search needs of the network whose thresholds it finishes, see :class:`.CodedNetwork`."""

    @property
    def sites(self) -> Sequence[Scalable]:
        """The future nodes, in the order in which they run."""
        ...

    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Source and coded value of every output of every batch."""
        ...


class Calibrator(ABC):
    """Collects statistics of what a node will receive.

    Args:
        channel_wise: One threshold per channel (axis 1) instead of one per tensor.

    Attributes:
        finish: ``finish(network, progress)``, a search over the running network that finishes the thresholds;
            None where the statistics alone decide.
    """

    finish: Callable[[Running, bool], None] | None = None

    def __init__(self, channel_wise: bool) -> None:
        self.channel_wise = channel_wise

    @abstractmethod
    def observe(self, magnitude: Tensor) -> None:
        """Take in one batch of non-negative values ``[C, M]`` (``[1, M]`` per tensor)."""

    @abstractmethod
    def threshold(self, parameters: NeuronParameters) -> Tensor:
        """Threshold ``[C]`` or ``[1]`` (float32); 0 where a channel was never active."""

    @abstractmethod
    def state(self) -> dict[str, Tensor]:
        """All that was seen so far."""

    @abstractmethod
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""


class HistogramCalibrator(Calibrator):
    """One that keeps a histogram of the magnitudes."""

    def __init__(self, channel_wise: bool) -> None:
        super().__init__(channel_wise)
        self.histogram = RangeHistogram()

    def observe(self, magnitude: Tensor) -> None:
        self.histogram.add(magnitude)

    def state(self) -> dict[str, Tensor]:
        found = self.histogram
        return {"counts": found.counts, "width": found.width, "top": found.top}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        found = self.histogram
        found.counts, found.width, found.top = state["counts"], state["width"], state["top"]


class RangeHistogram:
    """Counts of positive values in equal bins whose range doubles when a larger value arrives.

    Memory is ``C * bins`` whatever the amount of data; exact zeros are left out, they are coded exactly. The
    bin width is a power of two that the largest value alone decides, so that the counts do not depend on how
    the data was cut into batches.

    Attributes:
        counts: Values per bin, ``[C, bins]`` (float64).
        width: Bin width ``[C]``; 0 before the first positive value.
        top: Largest value ``[C]``.
    """

    def __init__(self, bins: int = 4096) -> None:
        self.bins = bins
        self.counts = torch.empty(0)
        self.width = torch.empty(0)
        self.top = torch.empty(0)

    def add(self, values: Tensor) -> None:
        """Count ``[C, M]`` values."""
        if not values.numel():
            return
        values = values.to(torch.float32)
        top = values.amax(dim=1)
        if not len(self.counts):
            self.counts = torch.zeros(len(values), self.bins, dtype=torch.float64, device=values.device)
            self.width, self.top = torch.zeros_like(top), torch.zeros_like(top)
        self.top = torch.maximum(self.top, top)
        wanted = self._width(self.top)
        self.width = torch.where(self.width == 0, wanted, self.width)
        while bool((over := self.width < wanted).any()):
            merged = self.counts[over].view(-1, self.bins // 2, 2).sum(2)
            self.counts[over] = torch.cat([merged, torch.zeros_like(merged)], dim=1)
            self.width[over] *= 2
        index = (values / self.width.clamp(min=_LEAST_WIDTH)[:, None]).long().clamp(max=self.bins - 1)
        self.counts.scatter_add_(1, index, (values > 0).to(torch.float64))

    def _width(self, top: Tensor) -> Tensor:
        """Smallest power of two whose ``bins`` multiples reach past ``top``; 0 where nothing came."""
        exponent = torch.frexp(top).exponent
        width = torch.ldexp(torch.ones_like(top), exponent) / self.bins
        return torch.where(top > 0, width.clamp(min=_LEAST_WIDTH), torch.zeros_like(top))

    def centers(self) -> Tensor:
        """Middle of every bin, ``[C, bins]``."""
        steps = torch.arange(self.bins, device=self.width.device, dtype=torch.float32) + 0.5
        return self.width[:, None] * steps

    def upper_edges(self) -> Tensor:
        """Largest value each bin can hold, ``[C, bins]``."""
        return torch.minimum(self.centers() + self.width[:, None] / 2, self.top[:, None])
