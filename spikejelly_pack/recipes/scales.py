"""Fold the nodes' amplitudes theta into the weights behind them, so that spikes stay 0 and 1.

A node with unit output stands for ``theta * d(s)``. The amplitude travels through what commutes with
it (pooling, flattening, concatenation, upsampling) and is absorbed by the next synapse's weights; in
front of a sum or the output it becomes an identity synapse of its own.
"""

from __future__ import annotations

import math

import torch
from spikingjelly.activation_based import layer as sj
from torch import Tensor, fx, nn

from ..layer.synaptic_scale import ChannelConcat, SynapticScale
from .canonical import module_of, place_after
from .signals import SYNAPSES

__all__ = ["absorb", "expand_channels", "fold_amplitudes"]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def fold_amplitudes(
    model: fx.GraphModule, amplitudes: dict[fx.Node, Tensor], shapes: dict[fx.Node, torch.Size]
) -> None:
    """Fold in place.

    Args:
        model: Canonical graph whose nodes emit unit amplitudes.
        amplitudes: What one unit of each firing node stands for, ``[]`` or ``[C]``; grows as it travels.
        shapes: Output shape ``[N, *]`` of every graph node in packed form.
    """
    for node in list(model.graph.nodes):
        scaled = [source for source in node.all_input_nodes if source in amplitudes]
        if node in amplitudes or not scaled:
            if node in amplitudes:  # the membrane of a node behind spikes is in real units
                _materialize(model, node, scaled, amplitudes)
            continue
        module = module_of(model, node)
        if isinstance(module, SYNAPSES):
            absorb(module, amplitudes[scaled[0]])
        elif isinstance(module, ChannelConcat) and len(scaled) == len(node.all_input_nodes):
            parts = [_per_channel(amplitudes[source], shapes[source][1]) for source in node.args]  # type: ignore[index]
            amplitudes[node] = torch.cat(parts)
        elif module is not None and len(node.all_input_nodes) == 1:
            amplitudes[node] = expand_channels(module, amplitudes[scaled[0]], shapes[scaled[0]])
        else:
            _materialize(model, node, scaled, amplitudes)
    model.graph.lint()
    model.recompile()


def expand_channels(module: nn.Module, amplitude: Tensor, shape: torch.Size) -> Tensor:
    """Amplitude behind ``module``, which reads ``shape``: flattening repeats each channel's value."""
    if isinstance(module, sj.Flatten) and amplitude.dim():
        return amplitude.repeat_interleave(math.prod(shape[2:]))
    return amplitude


def _per_channel(amplitude: Tensor, channels: int) -> Tensor:
    return amplitude if amplitude.dim() else amplitude.expand(channels)


def _materialize(
    model: fx.GraphModule, node: fx.Node, sources: list[fx.Node], amplitudes: dict[fx.Node, Tensor]
) -> None:
    for source in sources:
        name = f"{source.name}_scale"
        existing = [user for user in source.users if isinstance(module_of(model, user), SynapticScale)]
        scale = (
            existing[0] if existing else place_after(model, source, name, SynapticScale(amplitudes[source]))
        )
        node.replace_input_with(source, scale)


def absorb(module: nn.Module, amplitude: Tensor) -> None:
    """Multiply a synapse's weight by the amplitude of what it reads, in place."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    scale = amplitude.to(weight)
    if scale.dim():
        if isinstance(module, _TRANSPOSED):  # [in, out / groups, *]
            scale = scale.view(-1, *[1] * (weight.dim() - 1))
        else:  # [out, in / groups, *]: rows of one group read one slice of the channels
            groups = getattr(module, "groups", 1)
            rows = scale.view(groups, 1, -1).expand(-1, weight.shape[0] // groups, -1)
            scale = rows.reshape(weight.shape[0], -1, *[1] * (weight.dim() - 2))
    with torch.no_grad():
        weight.mul_(scale)
