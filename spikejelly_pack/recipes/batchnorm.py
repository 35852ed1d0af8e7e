"""Fold evaluation-mode BatchNorm into the synapse in front of it."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, fx, nn

from ..spec.errors import UnsupportedError
from .graph import module_of, node_input
from .signals import SYNAPSES, TRANSPOSED

__all__ = ["fold_batchnorm", "normalized_synapses"]

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def normalized_synapses(model: fx.GraphModule) -> list[str]:
    """Paths of what the BatchNorms of a canonical graph read: the synapses they will be folded into."""
    norms = [node for node in model.graph.nodes if isinstance(module_of(model, node), _NORMS)]
    return [str(node_input(node).target) for node in norms]


def fold_batchnorm(model: fx.GraphModule) -> list[str]:
    """Fold every BatchNorm of a canonical graph in place; returns the paths that were folded.

    Raises:
        UnsupportedError: A BatchNorm does not directly follow a synapse that serves it alone.
    """
    folded = []
    for node in list(model.graph.nodes):
        norm = module_of(model, node)
        if not isinstance(norm, _NORMS):
            continue
        source = node_input(node)
        synapse = module_of(model, source)
        if not isinstance(synapse, SYNAPSES) or len(source.users) > 1:
            raise UnsupportedError(
                f"layer {node.target!r}: BatchNorm must directly follow a convolution or linear layer that "
                "nothing else reads; move it there or fold it by hand."
            )
        model.add_submodule(str(source.target), _fused(str(node.target), synapse, norm))
        node.replace_all_uses_with(source)
        model.graph.erase_node(node)
        folded.append(str(node.target))
    model.delete_all_unused_submodules()
    model.recompile()
    return folded


def _fused(path: str, synapse: Any, norm: Any) -> nn.Module:
    if norm.running_mean is None:
        raise UnsupportedError(
            f"layer {path!r}: BatchNorm must have running statistics, got track_running_stats=False; "
            "train with statistics."
        )
    weight = synapse.weight
    outputs = weight.shape[1] * synapse.groups if isinstance(synapse, TRANSPOSED) else weight.shape[0]
    if norm.num_features != outputs:
        raise UnsupportedError(
            f"layer {path!r}: BatchNorm must normalise the {outputs} outputs of the layer before it, got "
            f"{norm.num_features} features; it normalises another axis, fold it by hand."
        )
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    gain = gain if norm.weight is None else gain * norm.weight.double()
    bias = -norm.running_mean.double() if synapse.bias is None else synapse.bias.double() - norm.running_mean
    bias = bias * gain if norm.bias is None else bias * gain + norm.bias
    fused = copy.deepcopy(synapse)
    fused.weight = nn.Parameter(_scaled_rows(synapse, gain).to(weight), weight.requires_grad)
    fused.bias = nn.Parameter(bias.to(weight), weight.requires_grad)
    return fused


def _scaled_rows(synapse: Any, gain: Tensor) -> Tensor:
    """The weight with every output channel times its gain."""
    weight = synapse.weight.double()
    if not isinstance(synapse, TRANSPOSED):  # [out, in / groups, *]
        return weight * gain.view(-1, *[1] * (weight.dim() - 1))
    # [in, out / groups, *]: the inputs of group g lead to the outputs of group g
    rows = gain.view(synapse.groups, -1).repeat_interleave(len(weight) // synapse.groups, dim=0)
    return weight * rows.view(*rows.shape, *[1] * (weight.dim() - 2))
