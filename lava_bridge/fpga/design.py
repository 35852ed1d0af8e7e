"""A network's hardware in numbers: streams, projections, populations; all that is generated follows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.graph.base import Array

from .options import Options
from .resolve import Grid, Link

__all__ = ["Design", "Line", "Pool", "Population", "Projection", "Stream", "bits_for", "signed_bits"]


def bits_for(count: int) -> int:
    """Width of an index of ``count`` values, at least one."""
    return max(1, (count - 1).bit_length())


@dataclass(frozen=True)
class Stream:
    """Codes of one source: position by position, channels innermost, ``fire`` codes a beat.

    Attributes:
        name: Input, neuron or pool.
        ident: Its name in the generated files.
        grid: Channels, rows, columns.
        fire: Codes of a beat.
        beats_per_position: Beats of one position; codes beyond the last channel are zero.
        time_steps: Digits of a code.
        signed: Whether a code has a sign bit on top of its magnitude.
    """

    name: str
    ident: str
    grid: Grid
    fire: int
    beats_per_position: int
    time_steps: int
    signed: bool

    @property
    def code_bits(self) -> int:
        """Width of one code."""
        return self.time_steps + int(self.signed)

    @property
    def beats(self) -> int:
        """Beats of a window."""
        return self.beats_per_position * self.grid[1] * self.grid[2]

    @property
    def data_bits(self) -> int:
        """Width of a beat."""
        return self.fire * self.code_bits


@dataclass(frozen=True, eq=False)
class Projection:
    """One link in hardware: scan, taps, weight memory.

    Attributes:
        link: Weights and geometry.
        ident: Name in the generated files.
        parameters: Values of the parameters of ``sp_project`` that depend on it alone.
        weights: ``[rows, lanes]``, the weight memory.
        row_table, col_table: ``[positions, 3]``: taps, first weight address, first membrane address.
        weight_bits: Width of a weight in memory.
        table_bits: Widths of the three columns of the tables.
        csd: Whether codes are recoded into signed digits.
        buffer: Beats buffered in front of it.
    """

    link: Link
    ident: str
    parameters: Mapping[str, int]
    weights: Array
    row_table: Array
    col_table: Array
    weight_bits: int
    table_bits: tuple[int, int, int]
    csd: bool
    memory: str
    buffer: int

    @property
    def memory_bits(self) -> int:
        """Bits of its weight memory."""
        return self.weights.size * self.weight_bits


@dataclass(frozen=True, eq=False)
class Line:
    """A convolution by line buffers: what its population adds up without a memory of membranes.

    Attributes:
        link: Weights and geometry.
        ident: Name in the generated files.
        parameters: Values of the parameters of ``sp_conv`` that depend on it alone.
        tables: ``[tables, words * subsets, lanes]``: sums of the weights of all subsets of a few taps.
        row_table: ``[output rows, 2 + kernel rows]``: rows done with afterwards, rows needed, and whether
            each kernel row is inside the map.
        col_table: ``[output columns, 1 + kernel columns]``: likewise, without the first.
        memory: Where the tables live.
    """

    link: Link
    ident: str
    parameters: Mapping[str, int]
    tables: Array
    row_table: Array
    col_table: Array
    memory: str

    @property
    def words(self) -> int:
        """Words of a window, all chunks of its channels: each has weights of its own."""
        return self.parameters["BEATS"] * self.parameters["NK"]

    @property
    def taps(self) -> int:
        """Codes of a word."""
        return self.parameters["KH"] * self.parameters["KW"] * self.parameters["F"]

    @property
    def memory_bits(self) -> int:
        """Bits of its tables."""
        return self.tables.size * self.parameters["T_W"]


@dataclass(frozen=True, eq=False)
class Pool:
    """Maximum pooling or upsampling of one source.

    Attributes:
        op: Name of the operation.
        stream: What it emits.
        source: What it reads.
        parameters: Values of the parameters of ``sp_pool``.
        row_table, col_table: As in :class:`Projection`; there are no weights.
        table_bits: As in :class:`Projection`.
    """

    op: str
    stream: Stream
    source: str
    parameters: Mapping[str, int]
    row_table: Array
    col_table: Array
    table_bits: tuple[int, int, int]

    @property
    def depth(self) -> int:
        """Words of its memory, which are the beats of its output."""
        return self.stream.beats


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons or readouts with their projections.

    Attributes:
        name: Neuron or readout.
        ident: Its name in the generated files.
        grid: Channels, rows, columns.
        lanes: Neurons of a membrane word: what one operation adds to.
        fire: Neurons that fire, or membranes that leave, in a cycle.
        chunks: Membrane words of one position.
        acc_bits: Width of a membrane.
        data_bits: Width of an addend.
        state_bits: Width of the firing register: membrane, bias, offset and the largest threshold.
        threshold_bits: Width of a threshold; 0 of a readout.
        time_steps: Digits of its codes; 0 of a readout.
        signed: Whether its codes have signs.
        table: ``[rows, fire, 3]``: bias, offset, threshold (readout: bias alone) in the order of the beats.
        projections: What it integrates, event by event; none where ``line`` is given.
        line: The convolution that it integrates by line buffers, if it does.
        form: How its convolution is computed, and why not by line buffers; empty where it has none.
    """

    name: str
    ident: str
    grid: Grid
    lanes: int
    fire: int
    chunks: int
    acc_bits: int
    data_bits: int
    state_bits: int
    threshold_bits: int
    time_steps: int
    signed: bool
    table: Array
    projections: tuple[Projection, ...]
    line: Line | None = None
    form: str = ""

    @property
    def inputs(self) -> tuple[Projection | Line, ...]:
        """Readers of the streams that it integrates."""
        return self.projections if self.line is None else (self.line,)

    @property
    def stored(self) -> int:
        """Membrane words in memory or registers: all of its positions, by line buffers those of one."""
        return self.depth if self.line is None else 1

    @property
    def readout(self) -> bool:
        """Whether it never fires."""
        return self.time_steps == 0

    @property
    def depth(self) -> int:
        """Membrane words of all positions; where one is stored it lives in registers."""
        return self.chunks * self.grid[1] * self.grid[2]

    @property
    def beats(self) -> int:
        """Beats of its output per window, which are the cycles its firing takes."""
        return self.depth * (self.lanes // self.fire)

    @property
    def out_bits(self) -> int:
        """Width of a beat of its output."""
        return self.fire * (self.state_bits if self.readout else self.time_steps + int(self.signed))


@dataclass(frozen=True, eq=False)
class Design:
    """Hardware of one network.

    Attributes:
        network: What it computes.
        options: How it was chosen.
        top: Name of the top module.
        streams: Streams of codes by the name of their source.
        populations: By name, in order of the network.
        pools: Maximum pooling and upsampling by the name of their stream.
    """

    network: Network
    options: Options
    top: str
    streams: Mapping[str, Stream]
    populations: Mapping[str, Population]
    pools: Mapping[str, Pool] = field(default_factory=dict[str, Pool])

    def readers(self, source: str) -> list[str]:
        """Idents of the projections and pools that read a stream."""
        everyone = (p for population in self.populations.values() for p in population.inputs)
        found = [projection.ident for projection in everyone if projection.link.source == source]
        return found + [f"{p.stream.ident}_in" for p in self.pools.values() if p.source == source]

    def port(self, side: str, name: str) -> str:
        """Prefix of an AXI4-Stream port: ``side`` is ``s`` of an input or ``m`` of a readout."""
        network = self.network
        alone = len(network.inputs if side == "s" else network.readouts) == 1
        ident = self.streams[name].ident if side == "s" else self.populations[name].ident
        return f"{side}_axis" if alone else f"{side}_axis_{ident}"

    def summary(self) -> dict[str, Any]:
        """Facts for reports: widths, parallelism and memories of every population."""
        return {
            population.name: {
                "grid": list(population.grid),
                "lanes": population.lanes,
                "fire": population.fire,
                **({"convolution": population.form} if population.form else {}),
                "membrane_words": population.stored,
                "accumulator_bits": population.acc_bits,
                "time_steps": population.time_steps,
                "weight_memory_bits": sum(p.memory_bits for p in population.inputs),
                "membrane_bits": 2 * population.stored * population.lanes * population.acc_bits,
            }
            for population in self.populations.values()
        }


def signed_bits(values: Array) -> int:
    """Width of two's complement that holds all values, at least two."""
    low, high = int(np.min(values, initial=0)), int(np.max(values, initial=0))
    return max(2, (-low - 1).bit_length() + 1 if low < 0 else 1, high.bit_length() + 1)
