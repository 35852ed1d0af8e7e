"""A network whose layers take any T and weight width at once, for measuring what a choice would do.

What depends on the T of a group is taken from the network of that T: its nodes, the weights of the layers
that read them (thresholds are folded into these), and the identity synapses of skip connections. So a choice
gives the very network that :func:`.convert` and :func:`.quantize_weights` would make of it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import fx, nn

from ...layer.synaptic_scale import SynapticScale
from ...neuron import SpikePackNode
from ...recipes.graph import module_of
from ...recipes.signals import TRANSPOSED
from ..quantize.quantizers import WeightQuantizer, quantizer_class
from .bank import Bank
from .losses import Loss
from .structure import Structure, reset

__all__ = ["Choice", "Measured", "Trial", "measured"]

#: Index of T per group, index of the width per layer.
Choice = tuple[tuple[int, ...], tuple[int, ...]]
Run = Callable[[nn.Module, Any], Any]


class Measured:
    """Batches with the source's answers to them.

    Args:
        source: The network to be like.
        batches: Calibration batches.
        run: ``run(network, batch)``.
        loss: Distance of answers.
    """

    def __init__(self, source: nn.Module, batches: Sequence[Any], run: Run, loss: Loss) -> None:
        self.batches, self.run, self.loss = list(batches), run, loss
        self.answers = [self._answer(source, batch) for batch in self.batches]

    @torch.no_grad()
    def _answer(self, net: nn.Module, batch: Any) -> Any:
        reset(net)
        return self.run(net, batch)

    def __call__(self, net: nn.Module) -> float:
        """Mean loss of a network over the batches."""
        pairs = zip(self.batches, self.answers, strict=True)
        losses = [float(self.loss(self._answer(net, batch), answer)) for batch, answer in pairs]
        return sum(losses) / len(losses)

    def sum(self, net: nn.Module, count: Callable[[Any, Any], tuple[int, int]]) -> tuple[int, int]:
        """Sums of a pair of counts over the batches."""
        pairs = zip(self.batches, self.answers, strict=True)
        found = [count(self._answer(net, batch), answer) for batch, answer in pairs]
        return sum(first for first, _ in found), sum(second for _, second in found)


class Trial:
    """The network, and how to make it that of a choice.

    Args:
        bank: Networks by T.
        structure: What can be chosen.
        steps: Values of T, the bank's.
        bits: Weight widths.
    """

    def __init__(self, bank: Bank, structure: Structure, steps: Sequence[int], bits: Sequence[int]) -> None:
        self.structure, self.steps, self.bits = structure, tuple(steps), tuple(bits)
        self.bank = bank
        self.net = copy.deepcopy(bank[max(steps)]).eval()
        self._scales = _skips(self.net, structure)
        self._quantizers: dict[tuple[str, int, int], WeightQuantizer] = {}
        self._owners: dict[tuple[str, int], int] = {}
        self._steps: list[int | None] = [None] * len(structure.groups)
        self._layers: list[Any] = [None] * len(structure.layers)

    def set(self, choice: Choice) -> nn.Module:
        """Make the network that of a choice; returns it."""
        for group, index in enumerate(choice[0]):
            if self._steps[group] != index:
                self._steps[group] = index
                skips = [path for path, owner in self._scales.items() if owner == group]
                for path in (*self.structure.groups[group].nodes, *skips):
                    source = self.bank[self.steps[index]].get_submodule(path)
                    _replace(self.net, path, copy.deepcopy(source))
        for number, place in enumerate(self.structure.layers):
            index = len(self.steps) - 1 if place.group is None else choice[0][place.group]
            wanted = self.steps[index], self.bits[choice[1][number]]
            if self._layers[number] != wanted:
                self._layers[number] = wanted
                self._set_layer(place.path, *wanted)
        return self.net

    def _alike(self, path: str, steps: int) -> int:
        """The least T whose network has the same weight there: finding its best scale is much of the work."""
        if (path, steps) not in self._owners:
            weight: Any = self.bank[steps].get_submodule(path).weight
            others = (self.bank[t].get_submodule(path).weight for t in self.steps)
            same = (torch.equal(weight, other) for other in others)  # type: ignore[arg-type]
            self._owners[path, steps] = next(t for t, equal in zip(self.steps, same, strict=True) if equal)
        return self._owners[path, steps]

    @torch.no_grad()
    def _set_layer(self, path: str, steps: int, bits: int) -> None:
        own: Any = self.net.get_submodule(path)
        source: Any = self.bank[steps].get_submodule(path)
        key = path, self._alike(path, steps), bits
        if key not in self._quantizers:
            axis = int(isinstance(source, TRANSPOSED))
            self._quantizers[key] = quantizer_class(bits)(bits, source.weight, axis=axis)
        own.weight.copy_(self._quantizers[key](source.weight))
        if own.bias is not None:
            own.bias.copy_(source.bias)


def measured(trial: Trial, data: Measured, choice: Choice) -> float:
    """Loss of a choice."""
    return data(trial.set(choice))


def _skips(net: nn.Module, structure: Structure) -> dict[str, int]:
    """Identity synapses of skip connections, each with the group that it reads."""
    if not isinstance(net, fx.GraphModule):
        return {}
    index = {path: number for number, group in enumerate(structure.groups) for path in group.nodes}
    found: dict[str, int] = {}
    for node in net.graph.nodes:
        if isinstance(module_of(net, node), SynapticScale):
            groups = {index[path] for path in _emitters(net, node) if path in index}
            if groups:
                found[str(node.target)] = groups.pop()
    return found


def _emitters(net: fx.GraphModule, node: fx.Node) -> set[str]:
    """Nodes whose spikes reach a value."""
    found: set[str] = set()
    for source in node.all_input_nodes:
        fires = isinstance(module_of(net, source), SpikePackNode)
        found |= {str(source.target)} if fires else _emitters(net, source)
    return found


def _replace(net: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    setattr(net.get_submodule(parent), leaf, module)
