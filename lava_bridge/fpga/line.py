"""Convolutions by line buffers: which populations can be, tables and parameters of ``sp_conv``.

A window is what lies under the kernel at one output position. Its words are the beats of the source: all taps
of ``fire`` channels. A word's slice, one digit of all its codes, is a mask that selects weights; their sum is
found in tables of a few taps each, whose sums are joined by adders.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from spikejelly_pack.spec.graph import Conv2d, Network
from spikejelly_pack.spec.graph.base import Array

from .design import Line, Population, Stream, bits_for, signed_bits
from .resolve import Grid, Link, Links

__all__ = ["held", "line_of", "obstacle", "tree_widths", "work"]

# Entries of a table: as many as the narrowest block memory of full width has words.
_ENTRIES = 512
_MOST_TAPS = 4


def obstacle(network: Network, links: Links, streams: Mapping[str, Stream]) -> str | None:
    """Why a population with a convolution cannot be computed by line buffers; None where it can."""
    link, *others = links.links
    if others:
        return f"{1 + len(others)} projections reach it"
    if type(network.ops[link.synapse]) is not Conv2d:
        return f"{network.ops[link.synapse].label} is no convolution"
    if link.depthwise:
        return f"{network.ops[link.synapse].label} is depthwise"
    if links.grid[0] != len(link.kernel):
        return f"{network.ops[link.synapse].label} is stored as a dense matrix"
    maps, out = streams[link.source].grid, links.grid
    if any(_axis(maps[1 + a], out[1 + a], link.kernel.shape[a - 2], link, a)[0, 1] == 0 for a in (0, 1)):
        return f"the first window of {network.ops[link.synapse].label} is nothing but padding"
    return None


def line_of(
    link: Link, stream: Stream, grid: Grid, lanes: int, chunks: int, *, name: str, memory: str
) -> Line:
    """Lay out one convolution.

    Args:
        link: Weights and geometry; all channels of the population.
        stream: Its source.
        grid: Channels, rows and columns of the population.
        lanes: Neurons of a membrane word.
        chunks: Membrane words of a position.
        name: For files and signals.
        memory: Where the tables live.
    """
    rows, columns = link.kernel.shape[-2:]
    weights = _by_word(link.kernel, stream, lanes, chunks)
    taps = _taps_of_a_table(weights.shape[1], len(weights), memory)
    tables = _subset_sums(weights, taps)
    positive, negative = np.maximum(weights, 0).sum(1).max(), np.minimum(weights, 0).sum(1).min()
    kept = (rows - 1) * link.dilation[0] + 1 + link.stride[0]
    row_table = _axis(stream.grid[1], grid[1], rows, link, 0)
    col_table = _axis(stream.grid[2], grid[2], columns, link, 1)
    count = int(row_table[:, :2].max())
    levels = (len(tables) - 1).bit_length()
    parameters = {
        "F": stream.fire, "T": stream.time_steps, "SIGNED": int(stream.signed),
        "BEATS": stream.beats_per_position, "COLS": stream.grid[2], "OROWS": grid[1], "OCOLS": grid[2],
        "KH": rows, "KW": columns, "DY": link.dilation[0], "DX": link.dilation[1], "SX": link.stride[1],
        "PX": link.padding[1], "NK": chunks, "NR": kept, "BANK0": -link.padding[0] % kept,
        "BANKY": link.stride[0] % kept,
        "BANKE": (stream.grid[1] - (grid[1] - 1) * link.stride[0]) % kept,
        "N_W": bits_for(max(count, kept) + 1), "X_W": bits_for(stream.grid[2] + 1), "Q": taps, "L": lanes,
        "T_W": signed_bits(tables), "S_W": signed_bits(np.array([positive, negative])), "LEVELS": levels,
    }  # fmt: skip
    return Line(link, name, parameters, tables, row_table, col_table[:, 1:], memory)


def _by_word(kernel: Array, stream: Stream, lanes: int, chunks: int) -> Array:
    """Weights ``[(chunk, beat), taps, lanes]``; taps as in a word: column by column, channels innermost."""
    out, sources, rows, columns = kernel.shape
    padded = np.zeros((chunks * lanes, stream.beats_per_position * stream.fire, rows, columns), np.int64)
    padded[:out, :sources] = kernel
    split = padded.reshape(chunks, lanes, stream.beats_per_position, stream.fire, rows, columns)
    ordered = split.transpose(0, 2, 5, 4, 3, 1)
    return np.ascontiguousarray(ordered).reshape(chunks * stream.beats_per_position, -1, lanes)


def _taps_of_a_table(taps: int, words: int, memory: str) -> int:
    """Taps that share a table: as many as fill a block memory; in LUTs, what takes the fewest of them."""
    fits = [q for q in range(1, min(_MOST_TAPS, taps) + 1) if words << q <= _ENTRIES] or [1]
    if memory == "distributed":
        # of each lane: a bit of constant memory is a sixteenth of a LUT, one of an adder a whole one
        tables = {q: -(-taps // q) for q in fits}
        most = min(fits, key=lambda q: tables[q] * (8 + q) * ((((1 << q) - 1) * words) / 16 + 1))
    else:
        most = fits[-1]
    return -(-taps // -(-taps // most))


def _subset_sums(weights: Array, taps: int) -> Array:
    """``[tables, words * 2^taps, lanes]``: the sum of every subset of the taps of a table."""
    words, count, lanes = weights.shape
    tables = -(-count // taps)
    padded = np.zeros((words, tables * taps, lanes), np.int64)
    padded[:, :count] = weights
    subsets = (np.arange(1 << taps)[:, None] >> np.arange(taps)) & 1
    sums = np.einsum("sq,wtql->twsl", subsets, padded.reshape(words, tables, taps, lanes))
    return np.ascontiguousarray(sums).reshape(tables, words << taps, lanes)


def _axis(size: int, out: int, kernel: int, link: Link, axis: int) -> Array:
    """Of each output along an axis: lines that are done with after it, lines needed, taps inside.

    Rows count from the first that is still needed, columns from the first of the map.
    """
    stride, padding, dilation = link.stride[axis], link.padding[axis], link.dilation[axis]
    lines = (np.arange(out) * stride - padding)[:, None] + np.arange(kernel) * dilation
    inside = (lines >= 0) & (lines < size)
    begin = np.clip(lines[:, 0], 0, size)
    base = begin if axis == 0 else np.zeros_like(begin)
    needed = np.where(inside, lines + 1, base[:, None]).max(1) - base
    done = np.append(begin[1:], size) - begin
    return np.column_stack([done, needed, inside]).astype(np.int64)


def held(line: Line, population: Population) -> int:
    """Windows that have room behind the adders: enough for them never to wait for the latency."""
    p = line.parameters
    least = max(p["BEATS"] * p["KW"], population.lanes // population.fire)
    return 2 + -(-(p["LEVELS"] + 9) // least)


def tree_widths(line: Line) -> list[tuple[int, int]]:
    """Sums of a lane and their width at every level of the tree, the tables first."""
    p, count = line.parameters, len(line.tables)
    return [(-(-count >> level), min(p["T_W"] + level, p["S_W"])) for level in range(p["LEVELS"] + 1)]


def work(line: Line, maps: Array) -> tuple[Array, Array, Array]:
    """What a convolution by line buffers takes.

    Args:
        line: The convolution.
        maps: Codes ``[N, rows, columns, beats, fire]``.

    Returns:
        Cycles in which beats are written, cycles of all words, and weights added, ``[N]`` each.
    """
    p = line.parameters
    digits = maps & ((1 << (p["T"] + p["SIGNED"])) - 1)  # two's complement
    together = np.bitwise_or.reduce(digits, axis=-1)
    count = ((digits[..., None] >> np.arange(p["T"] + p["SIGNED"])) & 1).sum(-1)
    taps = list(np.ndindex(p["KH"], p["KW"]))
    marks = np.bitwise_or.reduce([_under(line, together, i, j) for i, j in taps])
    slices = ((marks[..., None] >> np.arange(p["T"] + p["SIGNED"])) & 1).sum(-1)
    words = np.maximum(slices, p["KW"]).sum((1, 2, 3)) * p["NK"]
    weights = np.sum([_under(line, count.sum(-1), i, j).sum((1, 2, 3)) for i, j in taps], axis=0)
    written = np.full(len(maps), math.prod(maps.shape[1:4]))
    return written, words + _refill(line), weights * len(line.link.kernel)


def _under(line: Line, maps: Array, row: int, column: int) -> Array:
    """``[N, output rows, output columns, beats]``: what lies under one tap, zero outside the map."""
    p, link = line.parameters, line.link
    shape = (len(maps), p["OROWS"], p["OCOLS"], maps.shape[3])
    found = np.zeros(shape, maps.dtype)
    y = np.arange(p["OROWS"]) * link.stride[0] - link.padding[0] + row * link.dilation[0]
    x = np.arange(p["OCOLS"]) * link.stride[1] - link.padding[1] + column * link.dilation[1]
    ys, xs = (y >= 0) & (y < maps.shape[1]), (x >= 0) & (x < maps.shape[2])
    found[:, ys[:, None] & xs] = maps[:, y[ys][:, None], x[xs]].reshape(len(maps), -1, shape[3])
    return found


def _refill(line: Line) -> int:
    """Cycles between two samples: rows of the next that find no place before the last is done with."""
    p = line.parameters
    missing = int(line.row_table[0, 1] + line.row_table[-1, 0]) - p["NR"]
    if missing <= 0:
        return 0
    return ((missing - 1) * p["COLS"] + int(line.col_table[0, 0])) * p["BEATS"]
