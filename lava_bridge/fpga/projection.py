"""One link -> one projection: addresses, tables and the content of its weight memory."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from spikejelly_pack.spec.graph.base import Array

from .design import Projection, Stream, bits_for, signed_bits
from .resolve import Grid, Link

__all__ = ["project"]


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
    tap_rows, row_step = _axis(stream.grid[1], kernel_rows, grid[1], link, 0)
    tap_columns, column_step = _axis(stream.grid[2], kernel_columns, grid[2], link, 1)
    row_table = tap_rows * [1, kernel_columns * loops, grid[2] * chunks] + [0, 0, first]
    col_table = tap_columns * [1, loops, chunks]
    taps = kernel_rows * kernel_columns
    subs = lanes // stream.fire if own_lane else 1
    table_bits = (
        bits_for(int(max(row_table[:, 0].max(), col_table[:, 0].max())) + 1),
        bits_for(len(weights)),
        bits_for(chunks * grid[1] * grid[2]),
    )
    parameters = {
        "F": stream.fire, "T": stream.time_steps, "SIGNED": int(stream.signed), "CSD": int(csd),
        "LANE": int(own_lane), "BEATS": stream.beats_per_position,
        "COLS": stream.grid[2], "ROWS": stream.grid[1],
        "SUBS": subs, "SUB0": (link.channel % lanes) // stream.fire if own_lane else 0,
        "WSTEP": taps if own_lane else stream.fire * taps * loops, "VSTEP": int(own_lane),
        "WLANE": 0 if own_lane else taps * loops, "NK": loops,
        "RW": row_step[0] * kernel_columns * loops, "RV": row_step[1] * grid[2] * chunks,
        "CW": column_step[0] * loops, "CV": column_step[1] * chunks,
        "N_W": table_bits[0], "WA_W": table_bits[1], "VA_W": table_bits[2],
        "L": lanes, "W_W": signed_bits(weights), "DEPTH": len(weights), "BUFFER": buffer,
    }  # fmt: skip
    return Projection(
        link,
        name,
        parameters,
        weights,
        row_table,
        col_table,
        parameters["W_W"],
        table_bits,
        csd,
        memory,
        buffer,
    )


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


def _axis(size: int, kernel: int, out: int, link: Link, axis: int) -> tuple[Array, tuple[int, int]]:
    """Taps along one axis: ``[size, 3]`` of count, first tap, first output; steps of tap and output.

    Position p reaches output o by tap i where ``o * stride + i * dilation - padding = p``. Taps that reach
    an output are ``stride / gcd`` apart, their outputs ``dilation / gcd``, backwards.
    """
    stride, padding, dilation = link.stride[axis], link.padding[axis], link.dilation[axis]
    common = math.gcd(stride, dilation)
    table = np.zeros((size, 3), np.int64)
    for p in range(size):
        reached = [
            (i, (p + padding - i * dilation) // stride)
            for i in range(kernel)
            if (p + padding - i * dilation) % stride == 0 and 0 <= p + padding - i * dilation < out * stride
        ]
        if reached:
            table[p] = (len(reached), *reached[0])
    return table, (stride // common, -(dilation // common))
