"""Codes and membranes as beats of a stream, and back: what benches send and receive."""

from __future__ import annotations

import numpy as np

from spikejelly_pack.spec.graph.base import Array

from .design import Population, Stream
from .resolve import Grid

__all__ = [
    "beats_of_codes",
    "beats_of_membranes",
    "codes_of_beats",
    "membranes_of_beats",
    "positions_of",
    "words_of",
]


def words_of(bits: int) -> int:
    """32-bit words of a beat."""
    return -(-bits // 32)


def _by_position(values: Array, grid: Grid, padded: int) -> Array:
    """``[N, *sample]`` to ``[N * positions, padded]``, channels innermost, filled up with zeros."""
    channels = grid[0]
    moved = values.reshape(len(values), channels, -1).transpose(0, 2, 1).reshape(-1, channels)
    return np.pad(moved.astype(np.int64), ((0, 0), (0, padded - channels)))


def _packed(values: Array, bits: int) -> Array:
    """``[beats, fields]`` non-negative to ``[beats, words]`` uint32, first field in the low bits."""
    beats, fields = values.shape
    digits = ((values[..., None] >> np.arange(bits)) & 1).astype(np.uint8).reshape(beats, fields * bits)
    words = words_of(fields * bits)
    whole = np.pad(digits, ((0, 0), (0, words * 32 - fields * bits)))
    # codes of one bit keep the order of a transposed map, which no view as words accepts
    return np.ascontiguousarray(np.packbits(whole, axis=1, bitorder="little")).view("<u4")


def _unpacked(beats: Array, fields: int, bits: int) -> Array:
    """The inverse of :func:`_packed`."""
    digits = np.unpackbits(np.ascontiguousarray(beats, "<u4").view(np.uint8), axis=1, bitorder="little")
    digits = digits[:, : fields * bits].reshape(len(beats), fields, bits).astype(np.int64)
    return (digits << np.arange(bits)).sum(-1)


def _by_channel(values: Array, grid: Grid, padded: int, shape: tuple[int, ...]) -> Array:
    channels, rows, columns = grid
    samples = values.reshape(-1, rows * columns, padded)[:, :, :channels]
    return samples.transpose(0, 2, 1).reshape(len(samples), *shape)


def positions_of(stream: Stream, codes: Array) -> Array:
    """Codes ``[N, positions, beats, fire]`` (int64) in the order of the beats, zeros where none is."""
    padded = stream.beats_per_position * stream.fire
    values = _by_position(codes, stream.grid, padded)
    return values.reshape(len(codes), -1, stream.beats_per_position, stream.fire)


def beats_of_codes(stream: Stream, codes: Array) -> Array:
    """Beats ``[N * beats, words]`` (uint32) of codes ``[N, *shape]``: magnitude, sign bit on top."""
    values = positions_of(stream, codes).reshape(-1, stream.fire)
    raw = np.abs(values) | ((values < 0).astype(np.int64) << stream.time_steps)
    return _packed(raw, stream.code_bits)


def codes_of_beats(stream: Stream, beats: Array, shape: tuple[int, ...]) -> Array:
    """Codes ``[N, *shape]`` (int64) of beats: the inverse of :func:`beats_of_codes`."""
    raw = _unpacked(beats, stream.fire, stream.code_bits)
    magnitude, sign = raw & ((1 << stream.time_steps) - 1), raw >> stream.time_steps
    padded = stream.beats_per_position * stream.fire
    return _by_channel(np.where(sign > 0, -magnitude, magnitude), stream.grid, padded, shape)


def beats_of_membranes(population: Population, membranes: Array) -> Array:
    """Beats ``[N * beats, words]`` (uint32) of membranes ``[N, *shape]``: two's complement."""
    values = _by_position(membranes, population.grid, population.chunks * population.lanes)
    return _packed(
        values.reshape(-1, population.fire) & ((1 << population.state_bits) - 1), population.state_bits
    )


def membranes_of_beats(population: Population, beats: Array, shape: tuple[int, ...]) -> Array:
    """Membranes ``[N, *shape]`` (int64) of a readout's beats."""
    bits = population.state_bits
    raw = _unpacked(beats, population.fire, bits)
    values = np.where(raw >> (bits - 1) > 0, raw - (1 << bits), raw)
    return _by_channel(values, population.grid, population.chunks * population.lanes, shape)
