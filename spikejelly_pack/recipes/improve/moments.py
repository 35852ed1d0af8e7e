"""Mean and variance of what synapses put out, per channel, streamed over the calibration data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..calibration.base import by_channel
from ..coded import CodedNetwork
from ..graph import module_of
from ..signals import SYNAPSES, TRANSPOSED

__all__ = ["Moments", "adjust", "moments_of", "synapses_of"]


class Moments:
    """Running sums of one layer's output channels, in float64."""

    def __init__(self) -> None:
        self.count, self.first, self.second = 0, torch.zeros(()), torch.zeros(())

    def add(self, output: Tensor) -> None:
        """Take in ``[N, C, *]``."""
        rows = by_channel(output.detach(), True).double()
        self.count += rows.shape[1]
        self.first = self.first.to(rows) + rows.sum(1)
        self.second = self.second.to(rows) + rows.square().sum(1)

    @property
    def mean(self) -> Tensor:
        """``[C]``."""
        return self.first / self.count

    @property
    def variance(self) -> Tensor:
        """``[C]``, of the data itself (no correction for the sample's size)."""
        return (self.second / self.count - self.mean.square()).clamp(min=0)


def synapses_of(model: fx.GraphModule) -> list[str]:
    """Paths of the synaptic layers in the order in which they run."""
    return [str(node.target) for node in model.graph.nodes if isinstance(module_of(model, node), SYNAPSES)]


@torch.no_grad()
def moments_of(
    model: nn.Module, run: Callable[[Tensor], Any], network: CodedNetwork, paths: list[str]
) -> dict[str, Moments]:
    """Moments of the outputs of ``paths`` while ``run`` goes through the calibration data."""
    found = {path: Moments() for path in paths}
    hooks = [
        model.get_submodule(path).register_forward_hook(lambda _m, _x, y, to=to: to.add(y))
        for path, to in found.items()
    ]
    try:
        for x in network.batches():
            run(x)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def adjust(module: nn.Module, gain: Tensor, shift: Tensor) -> None:
    """Let a synapse put out ``gain * y + shift`` per channel; its parameters become its own (untied)."""
    weight: Any = module.weight
    rows = gain.to(weight)
    if isinstance(module, TRANSPOSED):  # [in, out / groups, *]: inputs of group g lead to outputs of group g
        groups: Any = module.groups
        rows = rows.view(groups, -1).repeat_interleave(len(weight) // groups, dim=0)
        rows = rows.view(*rows.shape, *[1] * (weight.dim() - 2))
    else:
        rows = rows.view(-1, *[1] * (weight.dim() - 1))
    bias: Any = module.bias
    moved = shift if bias is None else bias.detach().double() * gain + shift
    module.weight = nn.Parameter(weight.detach() * rows, weight.requires_grad)
    module.bias = nn.Parameter(moved.to(weight), weight.requires_grad)
