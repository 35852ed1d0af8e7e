"""Values that did not fit a register of the hardware: written by the models, read when the run is over."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from .batching import Deal

__all__ = ["REGISTERS", "Overflow", "OverflowLog", "Overflows"]

Table = npt.NDArray[np.int64]
# In the order in which a window goes through them.
REGISTERS = ("charge", "membrane", "fire")
_COLUMNS = 6


@dataclass(frozen=True)
class Overflow:
    """One value that did not fit.

    Attributes:
        layer: Neuron or readout.
        neuron: Index of the neuron in the population, C order of the caller's layout.
        sample: Sample whose window was charged.
        time_step: Time step of the window, from 1; the one step of a window where spikes are graded.
        register: ``"charge"`` (the sum so far), ``"membrane"`` (bias added) or ``"fire"`` (magnitude and
            rounding offset).
        value: What the adder computed.
        held: What the register holds instead.
    """

    layer: str
    neuron: int
    sample: int
    time_step: int
    register: str
    value: int
    held: int


class OverflowLog:
    """Rows of one population in a file; every write is complete, so that a killed model loses none.

    Args:
        path: File to create.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        path.write_bytes(b"")

    def write(self, window: int, time_step: int, register: str, values: Any, kept: Any) -> None:
        """Store what differs between ``values`` and ``kept``, both in Lava's order (axes reversed).

        Of a batch, its first axis becomes the last: an index is ``neuron * B + pipeline``.
        """
        values, kept = values.transpose().reshape(-1), kept.transpose().reshape(-1)
        (neurons,) = np.nonzero(values != kept)
        if not len(neurons):
            return
        rows = np.empty((len(neurons), _COLUMNS), np.int64)
        rows[:, :3] = window, time_step, REGISTERS.index(register)
        rows[:, 3], rows[:, 4], rows[:, 5] = neurons, values[neurons], kept[neurons]
        with self.path.open("ab", buffering=0) as file:
            file.write(rows.tobytes())

    def read(self, latency: int, deal: Deal) -> Table:
        """Rows (sample, time step, register, neuron, value, held) of the windows of the samples."""
        rows = np.frombuffer(self.path.read_bytes(), np.int64).reshape(-1, _COLUMNS).copy()
        rows[:, 0] -= latency
        rows = rows[(rows[:, 0] >= 0) & (rows[:, 0] < deal.length)]
        rows[:, 3], pipeline = np.divmod(rows[:, 3], deal.batch)
        rows[:, 0] = deal.window(pipeline, rows[:, 0]) // deal.windows
        return rows[rows[:, 0] < deal.samples]


class Overflows(Sequence[Overflow]):
    """All overflows of a run: by sample, then layer, time step, register and neuron.

    Args:
        tables: Rows as :meth:`OverflowLog.read` gives them, by layer, in the order of the network.
    """

    def __init__(self, tables: dict[str, Table] | None = None) -> None:
        self.tables: dict[str, Table] = dict(tables or {})
        self._layers = list(self.tables)
        parts = [np.insert(table, 1, index, axis=1) for index, table in enumerate(self.tables.values())]
        rows = np.concatenate(parts) if parts else np.empty((0, _COLUMNS + 1), np.int64)
        self._rows: Table = rows[np.lexsort(rows[:, 4::-1].T)]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Overflow: ...
    @overload
    def __getitem__(self, index: slice) -> list[Overflow]: ...

    def __getitem__(self, index: int | slice) -> Overflow | list[Overflow]:
        if isinstance(index, slice):
            return [self._one(row) for row in self._rows[index]]
        return self._one(self._rows[index])

    def __iter__(self) -> Iterator[Overflow]:
        return map(self._one, self._rows)

    def __repr__(self) -> str:
        return f"<{len(self)} overflows in {list(self.count_by_layer())}>"

    def _one(self, row: Table) -> Overflow:
        sample, layer, time_step, register, neuron, value, kept = (int(n) for n in row)
        return Overflow(
            self._layers[layer], neuron, sample, time_step, REGISTERS[register], value, kept
        )  # fmt: skip

    def count_by_layer(self) -> dict[str, int]:
        """Overflows of every layer that had one."""
        counts = np.bincount(self._rows[:, 1], minlength=len(self._layers))
        return {name: int(n) for name, n in zip(self._layers, counts, strict=True) if n}
