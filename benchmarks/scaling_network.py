"""The residual network that ``spikepack bench scaling`` measures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, set_form

__all__ = ["network"]


class Block(nn.Module):
    """Two convolutions and a skip connection."""

    def __init__(self, width: int, node: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1, self.conv2 = (layer.Conv2d(width, width, 3, padding=1) for _ in range(2))
        self.node1, self.node2 = node(), node()

    def forward(self, x: Tensor) -> Tensor:
        return self.node2(self.conv2(self.node1(self.conv1(x))) + x)


def network(kind: str, steps: int, width: int, depth: int, seed: int = 0) -> nn.Module:
    """The network with one of :data:`.scaling.TITLES` for neurons, in multi-step mode."""
    torch.manual_seed(seed)

    def node() -> nn.Module:
        if kind in ("packed", "serial"):
            return SpikePackNode(steps)
        return neuron.LIFNode(detach_reset=True) if kind == "lif" else nn.ReLU()

    stem = [layer.Conv2d(3, width, 3, padding=1), node()]
    head = [layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(width, 10)]
    net = nn.Sequential(*stem, *(Block(width, node) for _ in range(depth)), *head)
    functional.set_step_mode(net, "m")
    return set_form(net, kind) if kind in ("packed", "serial") else net
