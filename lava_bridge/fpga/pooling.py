"""Maximum pooling and upsampling of one source: tables and parameters of ``sp_pool``."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spikejelly_pack.spec.errors import UnsupportedError
from spikejelly_pack.spec.graph import MaxPool2d, Op, Upsample2d
from spikejelly_pack.spec.graph.base import Array

from .design import Pool, Stream, bits_for
from .projection import tap_table

__all__ = ["pool_of"]


def _axis(op: Op, axis: int, size: int, out: int) -> tuple[Array, int]:
    """Outputs that each position reaches ``[size, 2]`` of count and first, and the step between them."""
    if isinstance(op, Upsample2d):
        factor = op.factor[axis]
        return np.stack([np.full(size, factor), np.arange(size) * factor], axis=1), 1
    assert isinstance(op, MaxPool2d)
    geometry = op.kernel[axis], out, op.stride[axis], op.padding[axis], op.dilation[axis]
    table, (_, step) = tap_table(size, *geometry)
    return table[:, [0, 2]], step


def check_map(op: Op, source: Stream, shape: tuple[int, ...]) -> None:
    """Raise where the neurons that are pooled are no map ``(C, H, W)`` in hardware any more.

    Raises:
        UnsupportedError: Their synapses were stored as one dense matrix.
    """
    if source.grid[1:] != shape[1:]:
        raise UnsupportedError(
            f"{op.label}: must read neurons laid out as a map, but those of {source.name!r} are "
            "stored as one dense matrix; use convolutions instead of a transposed one in front of it."
        )


def pool_of(op: Op, source: Stream, shape: tuple[int, ...], name: str, ident: str, buffer: int) -> Pool:
    """The hardware of one pool.

    Args:
        op: :class:`MaxPool2d` or :class:`Upsample2d`.
        source: What it reads.
        shape: Its output, ``(C, H, W)``; its channels may belong to other sources too.
        name: Of its stream.
        ident: Of its stream in the generated files.
        buffer: Beats in front.
    """
    rows, columns = shape[1:]
    stream = replace(source, name=name, ident=ident, grid=(source.grid[0], rows, columns))
    (row_taps, row_step), (col_taps, col_step) = (
        _axis(op, axis, source.grid[1 + axis], shape[1 + axis]) for axis in (0, 1)
    )
    beats = stream.beats_per_position
    row_table = np.insert(row_taps * [1, columns * beats], 1, 0, axis=1)  # no weight address
    col_table = np.insert(col_taps * [1, beats], 1, 0, axis=1)
    most = int(max(row_table[:, 0].max(), col_table[:, 0].max()))
    table_bits = (bits_for(most + 1), 1, bits_for(stream.beats))
    parameters = {
        "F": stream.fire, "T": stream.time_steps, "SIGNED": int(stream.signed), "BEATS": beats,
        "COLS": source.grid[2], "ROWS": source.grid[1], "RV": row_step * columns * beats,
        "CV": col_step * beats, "N_W": table_bits[0], "VA_W": table_bits[2], "DEPTH": stream.beats,
        "BUFFER": buffer,
    }  # fmt: skip
    return Pool(op.name, stream, source.name, parameters, row_table, col_table, table_bits)
