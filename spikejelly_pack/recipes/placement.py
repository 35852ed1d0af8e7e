"""Where nodes stand: in place of every rectifier, and at each synaptic input that is not spikes yet."""

from __future__ import annotations

from collections.abc import Callable

from torch import fx, nn

from .canonical import module_of, place_after
from .observer import Observer
from .signals import SYNAPSES, Kind, kind_of

__all__ = ["RECTIFIERS", "insert_observers"]

RECTIFIERS = (nn.ReLU, nn.ReLU6)
MakeObserver = Callable[[str, bool], Observer]


def insert_observers(model: fx.GraphModule, make: MakeObserver, encode_input: bool) -> list[fx.Node]:
    """Put an observer wherever a node will stand; returns the graph nodes of the observers.

    ``make(path, unsigned)`` builds one. A rectifier's observer sits behind it and takes its place on
    replacement. Average pooling in front of a linear layer needs no node: both are one synapse.
    """
    kinds: dict[fx.Node, Kind] = {}
    placed: dict[fx.Node, fx.Node] = {}

    def observe(anchor: fx.Node, name: str, unsigned: bool) -> fx.Node:
        node = place_after(model, anchor, name, make(name, unsigned))
        placed[anchor], kinds[node] = node, Kind.SPIKES
        return node

    for node in list(model.graph.nodes):
        module = module_of(model, node)
        if isinstance(module, SYNAPSES):
            _spiking_input(node, module, kinds, placed, observe, encode_input)
        kinds[node] = kind_of(model, node, kinds, (Observer,)) if node.op != "output" else Kind.VALUE
        if isinstance(module, RECTIFIERS):
            observer = observe(node, f"{node.target}_node", True)
            node.replace_all_uses_with(observer, delete_user_cb=lambda user, new=observer: user is not new)
    model.graph.lint()
    model.recompile()
    return list(placed.values())


def _spiking_input(
    node: fx.Node,
    module: nn.Module,
    kinds: dict[fx.Node, Kind],
    placed: dict[fx.Node, fx.Node],
    observe: Callable[[fx.Node, str, bool], fx.Node],
    encode_input: bool,
) -> None:
    """Make sure that one synapse reads spikes; synapses that read the same value share its node."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    kind = kinds[source]
    if kind is Kind.SPIKES or (kind is Kind.POOLED and isinstance(module, nn.Linear)):
        return
    if source.op == "placeholder" and not encode_input:
        return
    if source not in placed:
        name = "encoder" if source.op == "placeholder" else f"{source.name}_node"
        observe(source, f"{name}_{source.name}" if source.op == "placeholder" else name, False)
    node.replace_input_with(source, placed[source])
