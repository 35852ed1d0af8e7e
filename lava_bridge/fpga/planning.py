"""From a network and the user's choices to a design."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np

from spikejelly_pack.spec.bounds import accumulator_widths, check_bounds
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.spec.graph import Input, Network, Neuron, Readout, Signal
from spikejelly_pack.spec.graph.base import Array
from spikejelly_pack.spec.windows import refuse_windows

from .design import Design, Pool, Population, Stream
from .forms import form_of
from .line import held, line_of
from .options import Options
from .pooling import check_map, pool_of
from .projection import project
from .resolve import POOLS, Links, grid_of, pool_names, resolve, sources_of

__all__ = ["plan"]


def plan(network: Network, options: Options | None = None, top: str = "spikepack_net") -> Design:
    """Choose widths, memories and parallelism of every population.

    Args:
        network: Integer network.
        options: Choices; default :class:`Options`.
        top: Name of the top module.

    Raises:
        BoundError: A register would overflow its declared width.
        UnsupportedError: An operation has no hardware.
        ParameterError: An option names no population.
    """
    options = options or Options()
    refuse_windows(network, "Generated hardware")
    network = network.balanced()
    check_bounds(network)
    _check_names(network, options)
    widths = accumulator_widths(network)
    names = _Names(top)
    streams: dict[str, Stream] = {}
    populations: dict[str, Population] = {}
    pools: dict[str, Pool] = {}
    stage: dict[str, int] = {}
    for op in network.ops.values():
        if isinstance(op, Input):
            streams[op.name] = _input_stream(op, options, names)
            stage[op.name] = 0
        elif isinstance(op, POOLS) and network.signals[op.name] is Signal.SPIKES:
            sources = sources_of(network, op.inputs[0])
            for name, source in zip(pool_names(op, len(sources)), sources, strict=True):
                check_map(op, streams[source], network.shapes[op.inputs[0]])
                ident = names(name, "_in")
                pools[name] = pool_of(op, streams[source], network.shapes[op.name], name, ident, 2)
                streams[name] = pools[name].stream
                stage[name] = stage[source] + 1
        elif isinstance(op, (Neuron, Readout)):
            grids = {name: stream.grid for name, stream in streams.items()}
            links = resolve(network, op, grids)
            stage[op.name] = 1 + max(stage[link.source] for link in links.links)
            form = form_of(network, op.name, links, streams, options)
            population = _population(op, links, streams, widths[op.name], options, names, stage, form)
            populations[op.name] = population
            if isinstance(op, Neuron):
                streams[op.name] = _stream_of(population)
    return Design(network, options, top, streams, populations, pools)


class _Names:
    """Identifiers for files and signals, unique."""

    def __init__(self, top: str) -> None:
        self.taken = {top}

    def __call__(self, name: str, end: str = "") -> str:
        plain = "u_" + re.sub(r"\W+", "_", name).strip("_").lower()
        ident, number = plain, 1
        while {ident, ident + end} & self.taken:
            number += 1
            ident = f"{plain}_{number}"
        self.taken |= {ident, ident + end}
        return ident


def _check_names(network: Network, options: Options) -> None:
    known = [op.name for op in network.ops.values() if isinstance(op, (Input, Neuron, Readout))]
    for name in options.per:
        if name not in known:
            raise ParameterError(
                f"Options: per must name inputs, neurons or readouts of {known}, got {name!r}."
            )


def _power_of_two(most: int, count: int) -> int:
    """The largest power of two that is neither above ``most`` nor above ``count``."""
    return 1 << (min(most, count).bit_length() - 1)


def _input_stream(op: Input, options: Options, names: _Names) -> Stream:
    grid = grid_of(op.shape)
    fire = _power_of_two(options.of(op.name, "fire"), grid[0])
    return Stream(op.name, names(op.name), grid, fire, -(-grid[0] // fire), op.time_steps, op.signed)


def _stream_of(population: Population) -> Stream:
    per_position = population.chunks * population.lanes // population.fire
    return Stream(
        population.name, population.ident, population.grid, population.fire, per_position,
        population.time_steps, population.signed,
    )  # fmt: skip


def _population(
    op: Neuron | Readout,
    links: Links,
    streams: dict[str, Stream],
    width: int,
    options: Options,
    names: _Names,
    stage: dict[str, int],
    form: str,
) -> Population:
    channels = links.grid[0]
    fire = 1 if isinstance(op, Readout) else options.of(op.name, "fire")
    if own := getattr(options.per.get(op.name), "fire", None):
        fire = own
    fire = _power_of_two(fire, channels)
    # A depthwise link moves a whole beat of its source into lanes, so a word holds whole beats.
    granule = max([fire, *(streams[link.source].fire for link in links.links if link.depthwise)])
    chunks = -(-channels // min(options.of(op.name, "lanes"), channels))
    lanes = -(-channels // (chunks * granule)) * granule
    chunks = -(-channels // lanes)
    theta = op.threshold.astype(np.int64) if isinstance(op, Neuron) else np.zeros(len(op.bias), np.int64)
    steps = op.time_steps if isinstance(op, Neuron) else 0
    largest = int(theta.max())
    state = max(width, largest.bit_length() + steps) if steps else width
    population = Population(
        name=op.name, ident=names(op.name), grid=links.grid, lanes=lanes, fire=fire, chunks=chunks,
        acc_bits=width, data_bits=width, state_bits=state, threshold_bits=largest.bit_length(),
        time_steps=steps, signed=isinstance(op, Neuron) and op.signed,
        table=_table(op, theta, links, lanes * chunks, fire), projections=(), form=form,
    )  # fmt: skip
    if form == "line":
        return _with_line(population, links, streams, options, names)
    return _with_projections(population, links, streams, options, names, stage)


def _with_line(
    population: Population, links: Links, streams: dict[str, Stream], options: Options, names: _Names
) -> Population:
    (link,) = links.links
    line = line_of(
        link, streams[link.source], population.grid, population.lanes, population.chunks,
        name="p" + names(f"{population.name}_{link.source}")[1:],
        memory=options.of(population.name, "weight_memory"),
    )  # fmt: skip
    data_bits = min(population.acc_bits, line.parameters["S_W"] + streams[link.source].code_bits - 1)
    line = replace(line, parameters={**line.parameters, "DW": data_bits, "HOLD": held(line, population)})
    return replace(population, data_bits=data_bits, line=line)


def _with_projections(
    population: Population,
    links: Links,
    streams: dict[str, Stream],
    options: Options,
    names: _Names,
    stage: dict[str, int],
) -> Population:
    # The first projection that has something adds. The branch that is furthest ahead comes first, so that its
    # source goes on with the next window while this one is completed.
    ahead = sorted(links.links, key=lambda link: stage[link.source])
    projections = tuple(
        project(
            link, streams[link.source], links.grid, population.lanes, population.chunks,
            name="p" + names(f"{population.name}_{link.source}")[1:],
            memory=options.of(population.name, "weight_memory"),
            csd=options.of(population.name, "digits") == "csd",
            buffer=_buffer(streams[link.source], stage[population.name] - 1 - stage[link.source], options),
        )
        for link in ahead
    )  # fmt: skip
    widest = max(p.weight_bits + p.parameters["T"] + int(p.csd) - 1 for p in projections)
    data_bits = min(population.acc_bits, widest)
    laid = tuple(replace(p, parameters={**p.parameters, "DW": data_bits}) for p in projections)
    return replace(population, data_bits=data_bits, projections=laid)


def _buffer(stream: Stream, waits: int, options: Options) -> int:
    """Beats in front of a projection: the windows that its branch is ahead."""
    return max(2, waits * stream.beats) if options.buffers else 2


def _table(op: Neuron | Readout, theta: Array, links: Links, padded: int, fire: int) -> Array:
    """Bias, offset, threshold ``[rows, fire, 3]`` in the order of the beats; one row where all are alike."""
    offset = theta // 2 if isinstance(op, Neuron) and op.half else np.zeros_like(theta)
    values = np.stack([op.bias.astype(np.int64), offset, theta], axis=-1)
    channels, rows, columns = links.grid
    if links.per_channel:
        filled = _filled(values, padded)
    else:  # single neurons in the C order of the network's shape: rows, columns and channels of a position
        every = np.repeat(values, channels * rows * columns // len(values), axis=0)
        every = every.reshape(channels, rows * columns, 3).transpose(1, 0, 2)
        filled = np.stack([_filled(part, padded) for part in every]).reshape(-1, 3)
    beats = filled.reshape(-1, fire, 3)
    return beats[:1] if (beats == beats[:1]).all() else beats


def _filled(values: Array, padded: int) -> Array:
    # Lanes beyond the last channel never charge: no bias and a threshold of one, so they never fire.
    rest: Any = np.zeros((padded - len(values), 3), np.int64)
    rest[:, 2] = 1
    return np.concatenate([values, rest])
