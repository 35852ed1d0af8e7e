"""One link -> one projection: addresses, tables and the content of its weight memory."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from spikejelly_pack.spec.graph.base import Array

from .design import Projection, Stream, bits_for, signed_bits
from .resolve import Grid, Link

__all__ = ["Layout", "project", "tap_table"]


def project(
    link: Link,
    stream: Stream,
    grid: Grid,
    lanes: int,
    chunks: int,
    *,
    name: str,
    memory: str,
    csd: bool,
    buffer: int,
) -> Projection:
    """Lay out one link.

    Args:
        link: Weights and geometry.
        stream: Its source.
        grid: Channels, rows and columns of the population.
        lanes: Neurons of a membrane word.
        chunks: Membrane words of a position.
        name: For files and signals.
        memory: Where the weights live.
        csd: Whether codes are recoded.
        buffer: Beats in front.
    """
    own_lane = link.depthwise and lanes % stream.fire == 0 and link.channel % stream.fire == 0
    if link.depthwise and not own_lane:
        link = _widened(link)
    weights, first, words = _own_lanes(link, lanes) if own_lane else _all_lanes(link, lanes)
    kernel_rows, kernel_columns = link.kernel.shape[-2:]
    loops = 1 if own_lane else words
    axes = [
        tap_table(stream.grid[1 + a], link.kernel.shape[a - 2], grid[1 + a],
                  link.stride[a], link.padding[a], link.dilation[a])
        for a in (0, 1)
    ]  # fmt: skip
    (tap_rows, row_step), (tap_columns, column_step) = axes
    row_table = tap_rows * [1, kernel_columns * loops, grid[2] * chunks] + [0, 0, first]
    col_table = tap_columns * [1, loops, chunks]
    taps = kernel_rows * kernel_columns
    parameters = {
        "LANE": int(own_lane), "SUBS": lanes // stream.fire if own_lane else 1,
        "SUB0": (link.channel % lanes) // stream.fire if own_lane else 0,
        "WSTEP": taps if own_lane else stream.fire * taps * loops, "VSTEP": int(own_lane),
        "WLANE": 0 if own_lane else taps * loops, "NK": loops,
        "RW": row_step[0] * kernel_columns * loops, "RV": row_step[1] * grid[2] * chunks,
        "CW": column_step[0] * loops, "CV": column_step[1] * chunks,
    }  # fmt: skip
    layout = Layout(link, own_lane, parameters, weights, row_table, col_table)
    return _projection(layout, stream, grid, chunks, name, memory, csd, buffer)


@dataclass(frozen=True, eq=False)
class Layout:
    """Addresses of one link, before names and widths."""

    link: Link
    own_lane: bool
    parameters: dict[str, int]
    weights: Array
    row_table: Array
    col_table: Array


def _projection(
    layout: Layout, stream: Stream, grid: Grid, chunks: int, name: str, memory: str, csd: bool, buffer: int
) -> Projection:
    weights = layout.weights
    table_bits = (
        bits_for(int(max(layout.row_table[:, 0].max(), layout.col_table[:, 0].max())) + 1),
        bits_for(len(weights)),
        bits_for(chunks * grid[1] * grid[2]),
    )
    parameters = {
        "F": stream.fire, "T": stream.time_steps, "SIGNED": int(stream.signed), "CSD": int(csd),
        "BEATS": stream.beats_per_position, "COLS": stream.grid[2], "ROWS": stream.grid[1],
        **layout.parameters,
        "N_W": table_bits[0], "WA_W": table_bits[1], "VA_W": table_bits[2],
        "L": weights.shape[1], "W_W": signed_bits(weights), "DEPTH": len(weights), "BUFFER": buffer,
    }  # fmt: skip
    return Projection(
        layout.link, name, parameters, weights, layout.row_table, layout.col_table, parameters["W_W"],
        table_bits, csd, memory, buffer,
    )  # fmt: skip


def _widened(link: Link) -> Link:
    """A depthwise link as one that reaches every channel: where beats and lanes do not line up."""
    channels = len(link.kernel)
    kernel = np.zeros((channels, channels, *link.kernel.shape[1:]), np.int64)
    kernel[np.arange(channels), np.arange(channels)] = link.kernel
    return replace(link, kernel=kernel, depthwise=False)


def _all_lanes(link: Link, lanes: int) -> tuple[Array, int, int]:
    """Weights ``[(c, i, j, word), lanes]``, the first word of a position that it reaches, and how many."""
    out, sources, rows, columns = link.kernel.shape
    first, words = _span(link.channel, out, lanes)
    padded = np.zeros((words * lanes, sources, rows, columns), np.int64)
    begin = link.channel - first * lanes
    padded[begin : begin + out] = link.kernel
    ordered = padded.reshape(words, lanes, sources, rows, columns).transpose(2, 3, 4, 0, 1)
    return np.ascontiguousarray(ordered).reshape(-1, lanes), first, words


def _own_lanes(link: Link, lanes: int) -> tuple[Array, int, int]:
    """Weights ``[(word, i, j), lanes]`` of a depthwise link; as :func:`_all_lanes`."""
    channels, rows, columns = link.kernel.shape
    first, words = _span(link.channel, channels, lanes)
    padded = np.zeros((words * lanes, rows, columns), np.int64)
    begin = link.channel - first * lanes
    padded[begin : begin + channels] = link.kernel
    ordered = padded.reshape(words, lanes, rows, columns).transpose(0, 2, 3, 1)
    return np.ascontiguousarray(ordered).reshape(-1, lanes), first, words


def _span(channel: int, count: int, lanes: int) -> tuple[int, int]:
    first = channel // lanes
    return first, -(-(channel + count) // lanes) - first


def tap_table(
    size: int, kernel: int, out: int, stride: int, padding: int, dilation: int
) -> tuple[Array, tuple[int, int]]:
    """Taps along one axis: ``[size, 3]`` of count, first tap, first output; steps of tap and output.

    Position p reaches output o by tap i where ``o * stride + i * dilation - padding = p``. Taps that reach
    an output are ``stride / gcd`` apart, their outputs ``dilation / gcd``, backwards.
    """
    common = math.gcd(stride, dilation)
    table = np.zeros((size, 3), np.int64)
    for p in range(size):
        offsets = [p + padding - i * dilation for i in range(kernel)]
        inside = [(i, x) for i, x in enumerate(offsets) if x % stride == 0 and 0 <= x < out * stride]
        if inside:
            table[p] = (len(inside), inside[0][0], inside[0][1] // stride)
    return table, (stride // common, -(dilation // common))
