"""Samples side by side: how many pipelines run at once, and how samples are dealt out to them.

A batch of B is one more axis, the first, of every message and register: B pipelines that share their weights
and their phase. Each takes whole samples back to back, so that what neurons carry stays in its sample.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from spikejelly_pack.spec.graph import AvgPool2d, Conv2d, ConvTranspose2d, Network
from spikejelly_pack.spec.graph.base import MAX_SIZE, Array, integer

__all__ = ["LARGEST_BATCH", "Deal", "choose_batch"]

# Beyond, the time of a step grows with the batch: nothing is left to share.
LARGEST_BATCH = 32
# Values that the largest operation may hold at once (float64: 2 MB); large layers are busy with one sample.
LARGEST_VALUES = 1 << 18


def choose_batch(network: Network, engine: str, samples: int, batch: int | None) -> int:
    """Pipelines of a run: the caller's number, or one that pays; never more than needed.

    Args:
        network: The network.
        engine: Name of the engine. Lava's own runtime keeps stock ``Dense`` unless told otherwise.
        samples: Samples of the run.
        batch: The caller's number; None: chosen here.

    Raises:
        ParameterError: ``batch`` is no positive integer.
    """
    if batch is not None:
        wanted = integer("simulate", "batch", batch, 1, MAX_SIZE, "run at least one sample at a time")
    elif engine == "inline":
        wanted = max(1, min(LARGEST_BATCH, LARGEST_VALUES // _largest(network)))
    else:
        wanted = 1
    turns = -(-samples // min(wanted, samples))
    return -(-samples // turns)  # as few pipelines as take the same number of turns


def _largest(network: Network) -> int:
    """Most values that one operation gathers for one sample."""
    sizes = [1]
    for op in network.ops.values():
        size = math.prod(network.shapes.get(op.name, ()))  # a readout's is not there
        if isinstance(op, (Conv2d, ConvTranspose2d)):
            size = size // len(op.weight) * math.prod(op.weight.shape[1:]) * op.groups
        elif isinstance(op, AvgPool2d):
            size *= math.prod(op.kernel)
        sizes.append(size)
    return max(sizes)


@dataclass(frozen=True)
class Deal:
    """Who gets which windows: pipeline b takes samples ``b * turns`` onwards, the windows of each in order.

    Attributes:
        batch: Pipelines; with one, nothing has a batch axis.
        samples: Samples of the run.
        windows: Windows of a sample.
    """

    batch: int
    samples: int
    windows: int

    @property
    def length(self) -> int:
        """Windows of one pipeline; the last sample runs again where there are none left."""
        return -(-self.samples // self.batch) * self.windows

    @property
    def lead(self) -> tuple[int, ...]:
        """The batch axis of a shape, if there is one."""
        return (self.batch,) if self.batch > 1 else ()

    def out(self, stream: Array) -> Array:
        """The stream ``[N * W, *]`` as messages ``[L, *]`` or ``[L, B, *]``."""
        if self.batch == 1:
            return stream
        samples = stream.reshape(self.samples, self.windows, *stream.shape[1:])
        turns = self.length // self.windows
        dealt = np.minimum(np.arange(self.batch * turns), self.samples - 1)
        return samples[dealt].reshape(self.batch, self.length, *stream.shape[1:]).swapaxes(0, 1)

    def back(self, rows: Array) -> Array:
        """Rows ``[L, *]`` or ``[L, B, *]`` as the stream ``[N * W, *]``."""
        if self.batch == 1:
            return rows
        stream = rows.swapaxes(0, 1).reshape(-1, *rows.shape[2:])
        return stream[: self.samples * self.windows]

    def window(self, pipeline: Any, window: Any) -> Any:
        """Place in the stream of a window of a pipeline."""
        return pipeline * self.length + window

    def done(self, windows: int) -> int:
        """Samples done when every pipeline has done that many windows."""
        return min(max(windows, 0) // self.windows * self.batch, self.samples)
