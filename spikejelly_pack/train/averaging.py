"""The moving average of the weights that is validated, stored and exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

__all__ = ["WarmAverage", "share_of_newest"]

_WARM = 10.0  # steps; as in TensorFlow's ExponentialMovingAverage(num_updates=...)


def share_of_newest(decay: float, count: float) -> float:
    """Share of the newest weights in the average after ``count`` earlier ones.

    ``1 - decay`` in the end. Before, ``1 - (1 + count) / (10 + count)``: with the full decay from the first
    step on, a short run would validate its initial weights.
    """
    return 1.0 - min(decay, (1.0 + count) / (_WARM + count))


def _rule(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor], None]:
    def update(averages: Sequence[Tensor], newest: Sequence[Tensor], count: Tensor) -> None:
        share = share_of_newest(decay, float(count))
        for average, value in zip(averages, newest, strict=True):
            if average.is_floating_point():
                average.lerp_(value, share)
            else:
                average.copy_(value)  # counters

    return update


class WarmAverage(WeightAveraging):
    """Exponential moving average of weights and buffers whose memory grows with the steps taken.

    Args:
        decay: In 0..1 (1 excluded).
    """

    def __init__(self, decay: float) -> None:
        super().__init__(multi_avg_fn=_rule(decay))
