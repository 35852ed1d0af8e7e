"""Where nodes stand: at the input, in place of rectifiers, and where spikes must be read but are not."""

from __future__ import annotations

from collections.abc import Callable

from torch import fx, nn

from .graph import call_after, follow, module_of, node_input
from .observer import Observer
from .signals import MAX_POOLS, SYNAPSES, Kind, kind_of

__all__ = ["RECTIFIERS", "insert_observers"]

RECTIFIERS = (nn.ReLU, nn.ReLU6)
MakeObserver = Callable[[str, bool], Observer]


def insert_observers(model: fx.GraphModule, make: MakeObserver, encode_input: bool) -> list[fx.Node]:
    """Put an observer wherever a node will stand; returns the graph nodes of the observers.

    A rectifier's observer sits behind it and takes its place on replacement. Synapses and max-pooling
    read spikes: an observer stands in front of them where they would not, and they share it where they read
    the same value. Average pooling in front of a linear layer needs none: both are one synapse.

    Args:
        model: Canonical graph.
        make: ``make(path, unsigned)`` builds an observer.
        encode_input: Put one right behind the network's input.
    """
    kinds: dict[fx.Node, Kind] = {}
    placed: dict[fx.Node, fx.Node] = {}

    def observe(anchor: fx.Node, name: str, unsigned: bool) -> fx.Node:
        observer = make(name, unsigned)
        node = call_after(model, anchor, name, observer)
        observer.path = str(node.target)
        placed[anchor], kinds[node] = node, Kind.SPIKES
        return node

    for node in list(model.graph.nodes):
        module = module_of(model, node)
        if isinstance(module, (*SYNAPSES, *MAX_POOLS)):
            source = node_input(node)
            if _needs_node(module, kinds[source]):
                reads = placed.get(source) or observe(source, f"{source.name}_node", False)
                node.replace_input_with(source, reads)
        kinds[node] = kind_of(model, node, kinds, (Observer,))
        if isinstance(module, RECTIFIERS):
            follow(node, observe(node, f"{node.target}_node", True))
        elif node.op == "placeholder" and encode_input and node.users:
            follow(node, observe(node, f"encoder_{node.name}", False))
    model.graph.lint()
    model.recompile()
    return list(placed.values())


def _needs_node(module: nn.Module, kind: Kind) -> bool:
    if kind in (Kind.SPIKES, Kind.INPUT):  # an input without encoder was asked for
        return False
    return not (kind is Kind.POOLED and isinstance(module, nn.Linear))
