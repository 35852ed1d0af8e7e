"""Cross-layer equalization: the channels between two synapses get ranges of one size."""

from __future__ import annotations

from typing import Any

import torch
from spikingjelly.activation_based import layer as sj
from torch import Tensor, fx, nn

from ..coded_graph import adjust
from ..graph import module_of
from ..scales import absorb
from ..signals import AVERAGE_POOLS, MAX_POOLS, SYNAPSES, TRANSPOSED

__all__ = ["equalize"]

_SWEEPS = 3
#: What a positive factor per channel passes through unchanged. A ReLU6 is not among it.
_PASSES = (nn.ReLU, sj.Flatten, *AVERAGE_POOLS, *MAX_POOLS)


def equalize(model: fx.GraphModule) -> None:
    """Scale the channels between every two synapses of a chain, in place.

    Channel i of the first is divided by ``s_i`` and the second's weights for it multiplied, with ``s_i`` the
    root of the ratio of their largest weights (Nagel et al., arXiv 1906.04721, section 4.1), rounded to a
    power of two: every product and sum is then the same float as before.
    """
    chains = [chain for node in model.graph.nodes if (chain := _chain(model, node)) is not None]
    for _ in range(_SWEEPS):
        for first, second, repeats in chains:
            factor = _factor(first, second, repeats)
            adjust(first, 1.0 / factor, torch.zeros_like(factor))
            absorb(second, factor.repeat_interleave(repeats))


def _chain(model: fx.GraphModule, node: fx.Node) -> tuple[Any, Any, int] | None:
    """Two synapses joined by nothing but what passes factors on; features per channel the second reads."""
    first = module_of(model, node)
    if not isinstance(first, SYNAPSES) or isinstance(first, TRANSPOSED):
        return None
    rectified = False
    while len(node.users) == 1:
        (node,) = node.users
        module = module_of(model, node)
        if isinstance(module, SYNAPSES):
            channels, inputs = len(first.weight), _inputs(module)
            return (first, module, inputs // channels) if rectified and not inputs % channels else None
        if not isinstance(module, _PASSES):
            return None
        rectified = rectified or isinstance(module, nn.ReLU)
    return None


def _inputs(module: Any) -> int:
    return int(module.in_features if isinstance(module, nn.Linear) else module.in_channels)


def _factor(first: Any, second: Any, repeats: int) -> Tensor:
    before = first.weight.detach().double().abs().flatten(1).amax(1)
    weight = second.weight.detach().double().abs()
    if isinstance(second, TRANSPOSED):  # [in, out / groups, *]
        columns = weight.flatten(1).amax(1)
    else:  # [out, in / groups, *]: the rows of one group read one slice of the channels
        groups = int(getattr(second, "groups", 1))
        columns = weight.view(groups, len(weight) // groups, weight.shape[1], -1).amax((1, 3)).flatten()
    after = columns.view(-1, repeats).amax(1)
    ratio = torch.where((before > 0) & (after > 0), before / after.clamp(min=1e-30), torch.ones_like(before))
    return ratio.sqrt().log2().round().clamp(-20, 20).exp2()
