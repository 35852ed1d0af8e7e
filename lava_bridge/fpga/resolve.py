"""The network as hardware sees it: sources of spikes, and links that add their weights to populations.

Concatenations, flattenings, sums and delays dissolve: codes of a source travel position by position with
the channels innermost, sums do not care about order, and every synapse becomes a kernel on one source.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from spikejelly_pack.spec.errors import UnsupportedError
from spikejelly_pack.spec.graph import (
    Add,
    AvgPool2d,
    Concat,
    Conv2d,
    Delay,
    Dense,
    Flatten,
    Input,
    MaxPool2d,
    Network,
    Neuron,
    Op,
    Readout,
    Scale,
    Synapse,
    Upsample2d,
)  # fmt: skip
from spikejelly_pack.spec.graph.base import Array

__all__ = ["Grid", "Link", "Links", "grid_of", "is_source", "pool_names", "resolve", "sources_of"]

Grid = tuple[int, int, int]
_MOST_EXPANDED = 1 << 22
_ONE = (1, 1)


@dataclass(frozen=True, eq=False)
class Link:
    """Weights from one source to one population.

    Attributes:
        synapse: Name of the operation the weights come from.
        source: Name of the input, neuron or pool that emits the codes.
        kernel: ``[O, C, KH, KW]``; of a depthwise link ``[C, KH, KW]``.
        depthwise: Whether channel c reaches channel ``channel + c`` only.
        channel: First channel of the population that it reaches.
        stride, padding, dilation: Of the kernel over the source's positions.
    """

    synapse: str
    source: str
    kernel: Array
    depthwise: bool
    channel: int
    stride: tuple[int, int] = _ONE
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = _ONE


@dataclass(frozen=True)
class Links:
    """What a population integrates.

    Attributes:
        grid: Channels, rows and columns of its positions.
        links: In order of the network.
        per_channel: Whether bias and threshold belong to channels of the grid (else to single neurons).
    """

    grid: Grid
    links: tuple[Link, ...]
    per_channel: bool


def grid_of(shape: tuple[int, ...]) -> Grid:
    """Channels, rows, columns of a sample shape."""
    if len(shape) == 3:
        return shape[0], shape[1], shape[2]
    return shape[0], math.prod(shape[1:]), 1


# Operations on single channels of spikes, each its own piece of hardware between source and reader.
POOLS = (MaxPool2d, Upsample2d)


def pool_names(op: Op, count: int) -> list[str]:
    """Names of the streams of a pool, one for each of the ``count`` sources it reads."""
    return [op.name] if count == 1 else [f"{op.name}/{index}" for index in range(count)]


def is_source(op: Op) -> bool:
    """Whether the operation emits a stream of codes of its own."""
    return isinstance(op, (Input, Neuron))


def sources_of(network: Network, name: str) -> list[str]:
    """Sources whose C-order values, one after the other, are the C-order values of ``name``."""
    op = network.ops[name]
    if is_source(op):
        return [name]
    if isinstance(op, POOLS):
        return pool_names(op, len(sources_of(network, op.inputs[0])))
    if isinstance(op, (Concat, Flatten, Delay)):
        return [source for part in op.inputs for source in sources_of(network, part)]
    raise UnsupportedError(f"{op.label}: has no hardware; remove it or run the network in another executor.")


def _synapses(network: Network, name: str, first: int) -> list[tuple[Synapse, int]]:
    """Synapses whose currents make up ``name``, with the C-order index where each begins."""
    op = network.ops[name]
    if isinstance(op, Synapse):
        return [(op, first)]
    if isinstance(op, (Add, Flatten)):
        return [item for part in op.inputs for item in _synapses(network, part, first)]
    if isinstance(op, Concat):
        found: list[tuple[Synapse, int]] = []
        for part in op.inputs:
            found += _synapses(network, part, first)
            first += math.prod(network.shapes[part])
        return found
    raise UnsupportedError(f"{op.label}: has no hardware for currents; put a neuron in front of it.")


def resolve(network: Network, op: Neuron | Readout, grids: dict[str, Grid]) -> Links:
    """Grid and links of one population.

    Args:
        network: Integer network.
        op: The population.
        grids: Grids of the sources before it.

    Raises:
        UnsupportedError: An operation before it has no hardware.
    """
    shape = network.shapes[op.name]
    synapses = _synapses(network, op.inputs[0], 0)
    heights = {grid_of(network.shapes[synapse.name])[1:] for synapse, _ in synapses}
    if len(heights) == 1:
        rows, columns = heights.pop()
        grid = (math.prod(shape) // (rows * columns), rows, columns)
        links = _natural(network, synapses, grid, grids)
        if links is not None:
            return Links(grid, links, per_channel=grid[0] == shape[0])
    grid = (math.prod(shape), 1, 1)
    expanded = tuple(
        link for synapse, first in synapses for link in _expanded(network, synapse, first, grids)
    )
    return Links(grid, expanded, per_channel=len(shape) == 1)


def _natural(
    network: Network, synapses: list[tuple[Synapse, int]], grid: Grid, grids: dict[str, Grid]
) -> tuple[Link, ...] | None:
    """Links on a grid, or None where a synapse and the grid do not go together."""
    positions = grid[1] * grid[2]
    links: list[Link] = []
    for synapse, first in synapses:
        made = (
            None
            if first % positions or type(synapse) not in _RULES
            else _RULES[type(synapse)](network, synapse, first // positions, grids)
        )
        if made is None:
            return None
        links += made
    return tuple(links)


def _dense(network: Network, op: Synapse, channel: int, grids: dict[str, Grid]) -> list[Link] | None:
    assert isinstance(op, Dense)
    links: list[Link] = []
    first = 0
    for source in sources_of(network, op.inputs[0]):
        grid = grids[source]
        size = math.prod(grid)
        kernel = op.weight[:, first : first + size].reshape(-1, *grid)
        links.append(Link(op.name, source, kernel, False, channel))
        first += size
    return links


def _on_channels(
    network: Network, op: Synapse, grids: dict[str, Grid], make: Callable[[str, int, int], Link]
) -> list[Link] | None:
    """``make(source, first channel, channels)`` for every source, None where a source has other positions."""
    rows, columns = grid_of(network.shapes[op.inputs[0]])[1:]
    links: list[Link] = []
    first = 0
    for source in sources_of(network, op.inputs[0]):
        grid = grids[source]
        if grid[1:] != (rows, columns):
            return None
        links.append(make(source, first, grid[0]))
        first += grid[0]
    return links


def _conv2d(network: Network, op: Synapse, channel: int, grids: dict[str, Grid]) -> list[Link] | None:
    assert isinstance(op, Conv2d)
    out, depth = op.weight.shape[:2]
    geometry = {"stride": op.stride, "padding": op.padding, "dilation": op.dilation}
    if op.groups == out and depth == 1:
        return _on_channels(
            network, op, grids,
            lambda source, first, n: Link(
                op.name, source, op.weight[first : first + n, 0], True, channel + first, **geometry
            ),
        )  # fmt: skip
    whole = np.zeros((out, op.groups * depth, *op.weight.shape[2:]), np.int32)
    for o in range(out):
        group = o * op.groups // out
        whole[o, group * depth : (group + 1) * depth] = op.weight[o]
    return _on_channels(
        network, op, grids,
        lambda source, first, n: Link(
            op.name, source, whole[:, first : first + n], False, channel, **geometry
        ),
    )  # fmt: skip


def _avg_pool2d(network: Network, op: Synapse, channel: int, grids: dict[str, Grid]) -> list[Link] | None:
    assert isinstance(op, AvgPool2d)
    kernel = np.broadcast_to(op.multiplier[:, None, None], (len(op.multiplier), *op.kernel))
    return _on_channels(
        network, op, grids,
        lambda source, first, n: Link(
            op.name, source, kernel[first : first + n], True, channel + first, op.stride, op.padding
        ),
    )  # fmt: skip


def _scale(network: Network, op: Synapse, channel: int, grids: dict[str, Grid]) -> list[Link] | None:
    assert isinstance(op, Scale)
    kernel = op.multiplier[:, None, None]
    return _on_channels(
        network, op, grids,
        lambda source, first, n: Link(op.name, source, kernel[first : first + n], True, channel + first),
    )  # fmt: skip


# To add a synapse: one rule. It returns None where its positions do not go with the sources'. A synapse
# without one (a transposed convolution) becomes a dense matrix.
_RULES: dict[type, Callable[[Network, Synapse, int, dict[str, Grid]], list[Link] | None]] = {
    Dense: _dense, Conv2d: _conv2d, AvgPool2d: _avg_pool2d, Scale: _scale,
}  # fmt: skip


def _expanded(network: Network, op: Synapse, first: int, grids: dict[str, Grid]) -> list[Link]:
    """The synapse as a dense matrix: always right, and large."""
    shape = network.shapes[op.inputs[0]]
    size, out = math.prod(shape), math.prod(network.shapes[op.name])
    if size * out > _MOST_EXPANDED:
        raise UnsupportedError(
            f"{op.label}: its currents are joined with currents of other positions, which takes {size} x "
            f"{out} weights, more than {_MOST_EXPANDED}; flatten after a neuron instead."
        )
    matrix = op.apply(np.eye(size, dtype=np.int64).reshape(size, *shape)).reshape(size, out).T
    links: list[Link] = []
    begin = 0
    for source in sources_of(network, op.inputs[0]):
        grid = grids[source]
        kernel = matrix[:, begin : begin + math.prod(grid)].reshape(out, *grid)
        links.append(Link(op.name, source, kernel, False, first))
        begin += math.prod(grid)
    return links
