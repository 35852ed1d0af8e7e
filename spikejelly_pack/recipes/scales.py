"""Fold the nodes' amplitudes theta into the weights behind them, so that spikes stay 0 and 1.

A node with unit output stands for ``theta * d(s)``. The amplitude travels through what commutes with
it (pooling, flattening, concatenation, upsampling) and is absorbed by the next synapse's weights; in
front of a sum, another node or the output it becomes an identity synapse of its own.

A right-aligned code stands for less than its full amplitude (:mod:`.windows`), so the factor is
``theta Q_L / Q_T``, whatever the form.
"""

from __future__ import annotations

import math

import torch
from spikingjelly.activation_based import layer as sj
from torch import Tensor, fx, nn

from ..layer.join_windows import scaled_weight, weight_of
from ..layer.synaptic_scale import ChannelConcat, SynapticScale
from ..neuron import SpikePackNode
from .graph import call_after, module_of
from .signals import SYNAPSES
from .windows import share_window

__all__ = ["absorb", "fold_amplitudes"]


def fold_amplitudes(
    model: fx.GraphModule, firing: dict[fx.Node, Tensor], shapes: dict[fx.Node, torch.Size]
) -> None:
    """Fold in place; the nodes' common window becomes that of the longest code.

    Args:
        model: Canonical graph whose nodes emit unit amplitudes.
        firing: What the full code of each firing node stands for, ``[]`` or ``[C]``.
        shapes: Output shape ``[N, *]`` of every graph node in packed form.
    """
    firing = _units(model, firing)
    amplitudes: dict[fx.Node, Tensor] = {}
    scales: dict[fx.Node, fx.Node] = {}
    for node in list(model.graph.nodes):
        scaled = [source for source in node.all_input_nodes if source in amplitudes]
        module = module_of(model, node)
        if scaled and isinstance(module, SYNAPSES):
            absorb(module, amplitudes[scaled[0]])
        elif scaled and isinstance(module, ChannelConcat) and len(scaled) == len(node.all_input_nodes):
            sources = [source for source in node.args if isinstance(source, fx.Node)]
            parts = [_per_channel(amplitudes[source], shapes[source][1]) for source in sources]
            amplitudes[node] = torch.cat(parts)
        elif scaled and module is not None and node not in firing and not isinstance(module, ChannelConcat):
            amplitudes[node] = _behind(module, amplitudes[scaled[0]], shapes[scaled[0]])
        else:
            _materialize(model, node, scaled, amplitudes, scales)
        if node in firing:
            amplitudes[node] = firing[node]
    model.graph.lint()
    model.recompile()


def _units(model: fx.GraphModule, firing: dict[fx.Node, Tensor]) -> dict[fx.Node, Tensor]:
    """What one unit of each firing node stands for, once all share a window."""
    share_window(model)
    units = {}
    for node, theta in firing.items():
        module = module_of(model, node)
        gain = module.window_gain if isinstance(module, SpikePackNode) else 1.0
        # float64: the gain is no float32 number, and weights may be float64 ones
        units[node] = theta if gain == 1.0 else theta.double() * gain
    return units


def _behind(module: nn.Module, amplitude: Tensor, shape: torch.Size) -> Tensor:
    """Amplitude behind ``module``, which reads ``shape``: flattening repeats each channel's value."""
    if isinstance(module, sj.Flatten) and amplitude.dim():
        return amplitude.repeat_interleave(math.prod(shape[2:]))
    return amplitude


def _per_channel(amplitude: Tensor, channels: int) -> Tensor:
    return amplitude if amplitude.dim() else amplitude.expand(channels)


def _materialize(
    model: fx.GraphModule,
    node: fx.Node,
    sources: list[fx.Node],
    amplitudes: dict[fx.Node, Tensor],
    scales: dict[fx.Node, fx.Node],
) -> None:
    """Let ``node`` read its sources in real units; the readers of one source share its identity synapse."""
    for source in sources:
        if source not in scales:
            scales[source] = call_after(
                model, source, f"{source.name}_scale", SynapticScale(amplitudes[source])
            )
        node.replace_input_with(source, scales[source])


def absorb(module: nn.Module, amplitude: Tensor) -> None:
    """Multiply a synapse's weight by the amplitude of what it reads.

    The weight becomes a parameter of its own: a layer tied to this one keeps its weight.
    """
    requires_grad = weight_of(module).requires_grad
    module.weight = nn.Parameter(scaled_weight(module, amplitude), requires_grad)
