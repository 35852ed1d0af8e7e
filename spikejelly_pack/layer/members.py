"""What the rest of this folder recognises: nodes, modules with a form, and the code they share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeGuard

from spikingjelly.activation_based import base
from torch import nn

from ..neuron import SpikePackNode
from ..spec.errors import UnsupportedError
from ..spec.parameters import NeuronParameters
from .window import FormModule

#: Stateless modules from here are single nodes of a traced graph.
LIBRARY_HOMES = ("torch.nn.", "spikingjelly.activation_based.layer.", "spikejelly_pack.layer.")

__all__ = [
    "LIBRARY_HOMES",
    "form_modules",
    "holds_state",
    "is_node",
    "nodes_of",
    "shared_code",
    "window_latency",
]


def is_node(module: object) -> TypeGuard[SpikePackNode]:
    """Whether ``module`` is a SpikePack neuron."""
    return isinstance(module, SpikePackNode)


def nodes_of(net: nn.Module) -> dict[str, SpikePackNode]:
    """SpikePack neurons of ``net`` by name."""
    return {name: module for name, module in net.named_modules() if is_node(module)}


def form_modules(net: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Modules that know their form: nodes and the layers of this folder."""
    for name, module in net.named_modules():
        if is_node(module) or isinstance(module, FormModule):
            yield name, module


def window_latency(module: object) -> int:
    """Windows a module adds in the pipelined single-step form: 1 for a node, 0 for an affine layer."""
    if is_node(module):
        return 1
    return module.window_latency if isinstance(module, FormModule) else 0


def shared_code(net: nn.Module, owner: str) -> NeuronParameters:
    """The code whose digits fill the window that all nodes share, with their common tau.

    Codes of fewer digits are right-aligned in it, so layers that look at whole windows treat all alike.

    Raises:
        UnsupportedError: No SpikePackNode, or nodes of different ``window`` or ``tau``.
    """
    nodes = nodes_of(net)
    if not nodes:
        raise UnsupportedError(
            f"{owner}: net must hold at least one SpikePackNode, got {type(net).__name__} without any; "
            "build it with spiking_neuron=SpikePackNode or convert it first."
        )
    codes = {(node.window, node.params.tau) for node in nodes.values()}
    if len(codes) > 1:
        raise UnsupportedError(
            f"{owner}: all nodes must share window and tau, got {sorted(codes)}; adapt(net) gives "
            "all the longest window, and build them with one tau."
        )
    window, tau = codes.pop()
    return NeuronParameters(time_steps=window, tau=tau)


def holds_state(module: nn.Module) -> bool:
    """Whether a module or one inside it keeps state between steps."""
    return any(isinstance(child, base.MemoryModule) for child in module.modules())
