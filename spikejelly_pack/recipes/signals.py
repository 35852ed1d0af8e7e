"""What flows along each edge of a canonical graph: spikes, pooled spikes, the analog input, or real values.

The one place that knows which operations keep spikes spikes; node placement, scale folding and the report
all ask it.
"""

from __future__ import annotations

import enum

from spikingjelly.activation_based import layer as sj
from torch import fx, nn

from ..layer.max_pool import SpikePackMaxPool2d
from ..layer.synaptic_scale import ChannelConcat
from .graph import module_of

__all__ = ["AVERAGE_POOLS", "MAX_POOLS", "SYNAPSES", "TRANSPOSED", "Kind", "kind_of", "kinds_of"]

TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
SYNAPSES = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)
AVERAGE_POOLS = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
    nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
)  # fmt: skip
MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


class Kind(enum.Enum):
    """Nature of a value in the spiking network."""

    SPIKES = "spikes"
    POOLED = "pooled"  # averages of spikes: one synapse together with a linear layer behind them
    INPUT = "input"  # the network's analog input, or a rearrangement or pooling of it
    VALUE = "value"


def kind_of(
    model: fx.GraphModule, node: fx.Node, kinds: dict[fx.Node, Kind], firing: tuple[type, ...]
) -> Kind:
    """Nature of ``node``'s output, given that of its inputs; modules of type ``firing`` emit spikes."""
    module = module_of(model, node)
    if node.op == "placeholder":
        return Kind.INPUT
    if isinstance(module, firing):
        return Kind.SPIKES
    inputs = {kinds[source] for source in node.all_input_nodes}
    kind = inputs.pop() if len(inputs) == 1 else Kind.VALUE
    if isinstance(module, (*MAX_POOLS, SpikePackMaxPool2d, sj.Flatten, ChannelConcat)) or _nearest(module):
        return kind
    if isinstance(module, AVERAGE_POOLS):
        return {Kind.SPIKES: Kind.POOLED, Kind.INPUT: Kind.INPUT}.get(kind, Kind.VALUE)
    return Kind.VALUE


def kinds_of(model: fx.GraphModule, firing: tuple[type, ...]) -> dict[fx.Node, Kind]:
    """Nature of every value of the graph."""
    kinds: dict[fx.Node, Kind] = {}
    for node in model.graph.nodes:
        kinds[node] = kind_of(model, node, kinds, firing)
    return kinds


def _nearest(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Upsample) and module.mode == "nearest"
