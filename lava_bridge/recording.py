"""What Lava models leave behind: one row per window in a file, readable at any time from any process.

Files instead of messages: reading a Lava ``Var`` costs tens of microseconds per element, and rows survive a
model that dies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .batching import Deal

__all__ = ["Recorder", "Recording"]


class Recorder:
    """A table of rows in a file, written by one model and read by the process that started it.

    Args:
        path: File to create.
        rows: Number of windows to record; later ones are dropped.
        shape: Shape of one row, as messages have it (axes of a sample reversed, after those of the batch).
    """

    def __init__(self, path: Path, rows: int, shape: tuple[int, ...]) -> None:
        self.rows = rows
        self._table = np.memmap(path, np.int64, "w+", shape=(rows, *shape))
        self._done = np.memmap(path.with_suffix(".done"), np.int64, "w+", shape=(1,))

    def write(self, row: int, values: npt.NDArray[Any]) -> None:
        """Store row ``row``; the maps are shared, so a forked child writes what the parent reads."""
        if row < self.rows:
            self._table[row] = values
            self._done[0] = row + 1

    @property
    def done(self) -> int:
        """Rows written so far."""
        return int(self._done[0])

    def read(self, start: int) -> npt.NDArray[np.int64]:
        """Rows from ``start`` on, as they were written."""
        return np.array(self._table[start:])


@dataclass(frozen=True)
class Recording:
    """A recorder and the windows before the first sample's, which hold what the empty pipeline made."""

    recorder: Recorder
    latency: int
    deal: Deal

    @property
    def windows_done(self) -> int:
        """Windows recorded so far; negative while the pipeline fills."""
        return self.recorder.done - self.latency

    def values(self) -> npt.NDArray[np.int64]:
        """The stream ``[N * W, *]`` in the caller's order of axes."""
        stream = self.deal.back(self.recorder.read(self.latency))
        return stream.transpose(0, *range(stream.ndim - 1, 0, -1))
