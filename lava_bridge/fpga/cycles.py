"""How many cycles a sample takes, from its codes: the law that simulation is held to.

Every population works on its own window while the others work on theirs, so a stream of samples takes the
time of the busiest population, window by window. Within a window a population spends

- slots: one for every event its scanners find, and one for a beat without any;
- operations: one for every membrane word that an event reaches (and one for a window that ends without);
- firing: one for every beat of its output, while the next window is integrated already.

Slots of several projections overlap, operations do not. A window takes the largest of the three at least;
exactly that where every event is one operation (a dense layer that is not folded).

A convolution by line buffers has other operations: of every word of a window one for each of its slices, and
at least one for each column of the kernel; its slots are the beats that are written into the line buffers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from spikejelly_pack.spec.execute import as_inputs, packed_step
from spikejelly_pack.spec.graph import Input
from spikejelly_pack.spec.graph.base import Array

from .design import Design, Projection, Stream
from .line import work
from .streams import positions_of

__all__ = ["Load", "busiest", "loads", "source_codes"]


@dataclass(frozen=True, eq=False)
class Load:
    """Work of one population, ``[N]`` each.

    Attributes:
        slots: Cycles of its busiest scanner.
        operations: Additions of a whole membrane word.
        firing: Cycles of its firing side.
        synaptic: Additions of single neurons, lanes that add zero left out: synaptic operations.
    """

    slots: Array
    operations: Array
    firing: Array
    synaptic: Array

    @property
    def cycles(self) -> Array:
        """Cycles of each window, at least."""
        return np.maximum(np.maximum(self.slots, self.operations), self.firing)


def source_codes(design: Design, codes: Mapping[str, Array] | Array) -> dict[str, Array]:
    """Codes of every stream ``[N, *]`` by name, by the numpy reference."""
    network = design.network
    values: dict[str, Array] = dict(as_inputs(network, codes))
    for op in network.ops.values():
        if not isinstance(op, Input):
            values[op.name] = packed_step(op, [values[name] for name in op.inputs])
    for name, pool in design.pools.items():
        values[name] = packed_step(network.ops[pool.op], [_maps(design, pool.source, values)])
    return {name: values[name] for name in design.streams}


def _maps(design: Design, name: str, values: Mapping[str, Array]) -> Array:
    return values[name].reshape(len(values[name]), *design.streams[name].grid)


def _digits(stream: Stream, codes: Array, csd: bool) -> Array:
    """Digits that are not zero ``[N, positions, beats, fire, digits]``."""
    magnitude = np.abs(positions_of(stream, codes))
    marks = (magnitude ^ (3 * magnitude)) >> 1 if csd else magnitude
    return (marks[..., None] >> np.arange(stream.time_steps + int(csd))) & 1


def _projection(projection: Projection, stream: Stream, codes: Array) -> tuple[Array, Array, Array]:
    """Slots, operations and synaptic operations ``[N]``."""
    digits = _digits(stream, codes, projection.csd)
    events = digits.max(3).sum(3) if projection.parameters["LANE"] else digits.sum((3, 4))
    slots = np.maximum(events, 1).sum((1, 2))
    rows, columns = projection.row_table[:, 0], projection.col_table[:, 0]
    taps = np.multiply.outer(rows, columns).reshape(-1)
    operations = (events.sum(2) * taps).sum(1) * projection.parameters["NK"]
    # the last event of a window that reaches nothing is an operation all the same
    silent = (events[:, -1, -1] == 0) | (taps[-1] == 0)
    kernel = projection.link.kernel
    reach = kernel.shape[0] if not projection.link.depthwise else 1
    synaptic = (digits.sum((2, 3, 4)) * taps).sum(1) * reach
    return slots, operations + silent, synaptic


def _beat(stream: Stream) -> tuple[int, int]:
    return stream.beats_per_position, stream.fire


def loads(design: Design, codes: Mapping[str, Array] | Array) -> dict[str, Load]:
    """Work of every population on samples ``[N, *]``, by name."""
    values = source_codes(design, codes)
    result: dict[str, Load] = {}
    for population in design.populations.values():
        firing = np.full(len(next(iter(values.values()))), population.beats)
        if (line := population.line) is not None:
            source = design.streams[line.link.source]
            maps = positions_of(source, values[source.name]).reshape(-1, *source.grid[1:], *_beat(source))
            slots, operations, synaptic = work(line, maps)
            result[population.name] = Load(slots, operations, firing, synaptic)
            continue
        parts = [
            _projection(projection, design.streams[projection.link.source], values[projection.link.source])
            for projection in population.projections
        ]
        slots, operations, synaptic = (np.stack(column) for column in zip(*parts, strict=True))
        result[population.name] = Load(slots.max(0), operations.sum(0), firing, synaptic.sum(0))
    return result


def busiest(work: Mapping[str, Load]) -> str:
    """The population that takes the most cycles over all samples: it sets the throughput."""
    return max(work, key=lambda name: int(work[name].cycles.sum()))
