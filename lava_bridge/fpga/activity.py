"""How busy each population is: operations and beats per sample, from the codes that flow."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from spikejelly_pack.spec.execute import as_inputs, packed_step
from spikejelly_pack.spec.graph import Input, Network
from spikejelly_pack.spec.graph.base import Array

from .design import Design, Projection

__all__ = ["DENSITY", "assumed", "busy", "digits", "flowing", "slowest", "synaptic_operations"]

DENSITY = 0.3  # of digits that are not zero, where no samples say


def digits(codes: Array, csd: bool) -> Array:
    """Nonzero digits of each code: set bits, or those of the canonical signed form, which has the fewest."""
    magnitude = np.abs(codes.astype(np.int64))
    bits = magnitude ^ (3 * magnitude) if csd else magnitude
    counted = np.zeros(bits.shape, np.int64)
    for place in range(20):  # codes have at most 16 digits, three times a code two more
        counted += bits >> place & 1
    return counted


def assumed(network: Network) -> dict[str, Array]:
    """Codes ``[N, *shape]`` to plan with where there are none: digits set at random with :data:`DENSITY`."""
    chance = np.random.default_rng(0)
    codes: dict[str, Array] = {}
    for op in network.inputs:
        bits = chance.random((4, op.time_steps, *op.shape)) < DENSITY
        places = 1 << np.arange(op.time_steps)
        codes[op.name] = np.einsum("nt...,t->n...", bits.astype(np.int64), places)
    return flowing(network, codes)


def flowing(network: Network, codes: Mapping[str, Array]) -> dict[str, Array]:
    """Codes and sums ``[N, *]`` of every operation by name, for input codes."""
    values = as_inputs(network, codes)
    for op in network.ops.values():
        if not isinstance(op, Input):
            values[op.name] = packed_step(op, [values[name] for name in op.inputs])
    return values


def _per_position(values: Array, grid: tuple[int, int, int]) -> Array:
    """Sums over channels ``[N, rows, columns]`` of values ``[N, *shape]``."""
    return values.reshape(len(values), *grid).sum(1)


def _reach(projection: Projection) -> Array:
    """Taps of an event at each position ``[rows, columns]``."""
    return np.outer(projection.row_table[:, 0], projection.col_table[:, 0])


def synaptic_operations(design: Design, codes: Mapping[str, Array]) -> float:
    """Weights added per sample, one per spike and synapse, whatever the number system of the digits."""
    total = 0.0
    for population in design.populations.values():
        for projection in population.projections:
            link = projection.link
            spikes = digits(codes[link.source], csd=False)
            fan_out = 1 if link.depthwise else link.kernel.shape[0]
            at = _per_position(spikes, design.streams[link.source].grid)
            total += fan_out * float((at * _reach(projection)).sum((1, 2)).mean())
    return total


def _operations(design: Design, projection: Projection, codes: Array) -> float:
    """Cycles per sample in which the projection adds, or has an empty beat to pass."""
    stream = design.streams[projection.link.source]
    counted = digits(codes, projection.csd).reshape(len(codes), *stream.grid)
    if projection.parameters["LANE"]:
        # An event is one digit position of a beat: at most as many as there are positions, at least the most
        # digits of any of its codes.
        padded = -stream.grid[0] % stream.fire
        beats = np.pad(counted, ((0, 0), (0, padded), (0, 0), (0, 0)))
        beats = beats.reshape(len(codes), -1, stream.fire, *stream.grid[1:]).max(2)
        at = beats.sum(1)
    else:
        at = counted.sum(1)
    adds = (at * _reach(projection)).sum((1, 2)) * projection.parameters["NK"]
    return float(np.maximum(adds, stream.beats).mean())


def busy(design: Design, codes: Mapping[str, Array]) -> dict[str, dict[str, float]]:
    """Cycles per sample of each population: ``add`` operations, ``fire`` beats of its output.

    An estimate to choose parallelism by; simulation says the cycles.
    """
    return {
        population.name: {
            "add": sum(_operations(design, p, codes[p.link.source]) for p in population.projections),
            "fire": float(population.beats),
        }
        for population in design.populations.values()
    }


def slowest(design: Design, codes: Mapping[str, Array]) -> tuple[str, str, float]:
    """Population and part (``add`` or ``fire``) that hold the network up, and its cycles per sample."""
    parts = [
        (cycles, name, part) for name, entry in busy(design, codes).items() for part, cycles in entry.items()
    ]
    cycles, name, part = max(parts, key=lambda one: one[0])
    return name, part, cycles
