"""What can be chosen in a network: groups of nodes that share one T, and layers with weight bits.

The counter says which codes reach every synaptic operation. Nodes whose codes meet in one operation (a
concatenation, the two factors of attention) share one T, so that each operation has one word length.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import base
from spikingjelly.activation_based.op_counter import DispatchCounterMode
from torch import nn

from ...neuron import SpikePackNode
from ...recipes.signals import SYNAPSES
from ...spec.budget import SynapticCost
from ...spec.errors import UnsupportedError
from ..counter import BitBudgetCounter

__all__ = ["ByTime", "Group", "LayerPlace", "Structure", "reset", "structure_of"]


#: One operation as it is at every T.
ByTime = dict[int, SynapticCost]


@dataclass(frozen=True)
class Group:
    """Nodes with one T.

    Attributes:
        nodes: Their paths.
        signed: Whether one of them is signed.
        values: Values they emit per sample and window.
    """

    nodes: tuple[str, ...]
    signed: bool
    values: int


@dataclass(frozen=True)
class LayerPlace:
    """A layer with weights.

    Attributes:
        path: Where it stands.
        shape: Of its weight.
        group: Index of the group it reads, None if no spikes reach it.
        operations: What it runs per sample, each by T with the events counted there.
    """

    path: str
    shape: tuple[int, ...]
    group: int | None
    operations: tuple[ByTime, ...]

    @property
    def macs(self) -> int:
        """Multiply-accumulates per sample, all windows."""
        firsts = [next(iter(by_time.values())) for by_time in self.operations]
        return sum(operation.macs * operation.windows for operation in firsts)


@dataclass(frozen=True)
class Structure:
    """Everything that can be chosen, and the operations where nothing can but T."""

    groups: tuple[Group, ...]
    layers: tuple[LayerPlace, ...]
    others: tuple[tuple[int | None, ByTime], ...]


def reset(net: nn.Module) -> None:
    """Forget what windows carried."""
    for module in net.modules():
        if isinstance(module, base.MemoryModule):
            module.reset()


def structure_of(bank: Mapping[int, nn.Module], run: Any, batch: Any, samples: int) -> Structure:
    """Read the structure off one pass of every network.

    Args:
        bank: The same network of SpikePack nodes by T, in packed form.
        run: ``run(net, batch)``.
        batch: One batch.
        samples: Samples in it.

    Raises:
        UnsupportedError: It has no nodes, or none of its codes reaches a layer.
    """
    net = bank[max(bank)]
    nodes = {path: module for path, module in net.named_modules() if isinstance(module, SpikePackNode)}
    counted = {t: _counted(bank[t], run, batch, samples) for t in bank}
    operations, values = counted[max(bank)]
    groups = _groups(nodes, operations, values)
    if not groups:
        raise UnsupportedError(
            "budget plan: the network must hold SpikePack nodes that synapses read, got "
            f"{type(net).__name__} without; plan a network with convolutions or linear layers."
        )
    index = {path: number for number, group in enumerate(groups) for path in group.nodes}
    modules = dict(net.named_modules())
    layers: dict[str, list[ByTime]] = {}
    groups_of: dict[str, int | None] = {}
    others = []
    for number, operation in enumerate(operations):
        by_time = {t: found[number] for t, (found, _) in counted.items()}
        module = modules.get(operation.path)
        weighted = isinstance(module, SYNAPSES) and operation.weight_bits is not None
        if weighted:
            layers.setdefault(operation.path, []).append(by_time)
            groups_of.setdefault(operation.path, _group_of(operation, index))
        elif not operation.plumbing:
            others.append((_group_of(operation, index), by_time))
    places = []
    for path, found in layers.items():
        layer: Any = modules[path]
        places.append(LayerPlace(path, tuple(layer.weight.shape), groups_of[path], tuple(found)))
    return Structure(tuple(groups), tuple(places), tuple(others))


def _counted(net: nn.Module, run: Any, batch: Any, samples: int) -> tuple[list[SynapticCost], dict[str, int]]:
    nodes = {path: module for path, module in net.named_modules() if isinstance(module, SpikePackNode)}
    values: dict[str, int] = {}

    def keep(path: str) -> Any:
        def hook(_node: nn.Module, _inputs: Any, output: torch.Tensor) -> None:
            values[path] = values.get(path, 0) + output.numel() // samples

        return hook

    handles = [node.register_forward_hook(keep(path)) for path, node in nodes.items()]
    counter = BitBudgetCounter()
    try:
        with torch.no_grad(), DispatchCounterMode([counter]):
            run(net, batch)
    finally:
        for handle in handles:
            handle.remove()
        reset(net)
    return [row.per_sample(samples) for row in counter.rows], values


def _groups(
    nodes: dict[str, SpikePackNode], operations: list[SynapticCost], values: dict[str, int]
) -> list[Group]:
    """Nodes joined where their codes meet, in the network's order; those no synapse reads are left out."""
    owner = {path: path for path in nodes}

    def root(path: str) -> str:
        while owner[path] != path:
            path = owner[path]
        return path

    read: dict[str, None] = {}
    for operation in operations:
        met = [p for operand in operation.operands for p in operand.sources if p in owner]
        read.update(dict.fromkeys(met))
        for other in met[1:]:
            owner[root(other)] = root(met[0])
    members: dict[str, list[str]] = {}
    for path in nodes:
        if path in read:
            members.setdefault(root(path), []).append(path)
    return [
        Group(tuple(paths), any(nodes[p].params.signed for p in paths), sum(values.get(p, 0) for p in paths))
        for paths in members.values()
    ]


def _group_of(operation: SynapticCost, index: dict[str, int]) -> int | None:
    found = [index[p] for operand in operation.operands for p in operand.sources if p in index]
    return found[0] if found else None
