"""What flows along each edge of a canonical graph: spikes, pooled spikes, or real values.

The one place that knows which operations keep spikes spikes; node placement, scale folding and export
all ask it.
"""

from __future__ import annotations

import enum

from spikingjelly.activation_based import layer as sj
from torch import fx, nn

from ..layer.synaptic_scale import ChannelConcat
from .canonical import module_of

__all__ = ["AVERAGE_POOLS", "SYNAPSES", "Kind", "kind_of", "leading_synapses"]

SYNAPSES = (
    nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
AVERAGE_POOLS = (
    nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
)  # fmt: skip
_MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)


class Kind(enum.Enum):
    """Nature of a value in the spiking network."""

    SPIKES = "spikes"
    POOLED = "pooled"  # averages of spikes: one synapse together with a linear layer behind them
    VALUE = "value"


def kind_of(
    model: fx.GraphModule, node: fx.Node, kinds: dict[fx.Node, Kind], firing: tuple[type, ...]
) -> Kind:
    """Nature of ``node``'s output, given that of its inputs; modules of type ``firing`` emit spikes."""
    module = module_of(model, node)
    inputs = [kinds[source] for source in node.all_input_nodes]
    if isinstance(module, firing):
        return Kind.SPIKES
    if isinstance(module, (*_MAX_POOLS, sj.Flatten, ChannelConcat)) or _nearest(module):
        return inputs[0] if len(set(inputs)) == 1 else Kind.VALUE
    if isinstance(module, AVERAGE_POOLS) and inputs[0] is Kind.SPIKES:
        return Kind.POOLED
    return Kind.VALUE


def _nearest(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Upsample) and module.mode == "nearest"


def leading_synapses(model: fx.GraphModule) -> list[fx.Node]:
    """Nodes of the graph that are synaptic operations, in order."""
    return [node for node in model.graph.nodes if isinstance(module_of(model, node), SYNAPSES)]
