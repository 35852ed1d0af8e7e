"""Spikes counted while a network runs: digits that are one, or spikes of other neurons."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..analysis import is_neuron
from ..functional import unpack
from ..neuron import SpikePackNode
from ..spec.errors import UnsupportedError

__all__ = ["SpikeCount", "count_spikes", "neurons_of"]


@dataclass
class SpikeCount:
    """What neurons sent.

    Attributes:
        spikes: Spikes (integer neurons: spike events, a count of 3 being 3).
        sites: Places for a spike: neurons x time steps x samples.
    """

    spikes: float = 0.0
    sites: int = 0

    @property
    def rate(self) -> float:
        """Share of the places that hold a spike; above 1 is possible for integer neurons."""
        return self.spikes / self.sites if self.sites else 0.0


def neurons_of(net: nn.Module) -> dict[str, nn.Module]:
    """The spiking neurons of a network by name: SpikePack's and SpikingJelly's."""
    return {name: module for name, module in net.named_modules() if is_neuron(module)}


@contextmanager
def count_spikes(net: nn.Module) -> Generator[SpikeCount]:
    """Count the spikes of every neuron inside the block, in any form.

    A packed code counts as its digits: spikes are the digits that are one, places T per code. Sums are over
    all samples of all calls in the block.
    """
    count = SpikeCount()

    def add(node: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        spikes, sites = _spikes(node, inputs[0], output.detach())
        count.spikes += float(spikes)
        count.sites += sites

    handles = [node.register_forward_hook(add) for node in neurons_of(net).values()]
    try:
        yield count
    finally:
        for handle in handles:
            handle.remove()


def _spikes(node: nn.Module, x: Tensor, output: Tensor) -> tuple[Tensor, int]:
    if not isinstance(node, SpikePackNode) or node.form == "serial":
        return output.abs().sum(dtype=torch.float64), output.numel()
    digits = unpack(_codes(node, x, output), node.time_steps)
    return digits.abs().sum(dtype=torch.float64), output.numel() * node.time_steps


def _codes(node: SpikePackNode, x: Tensor, output: Tensor) -> Tensor:
    """Codes behind a packed output: from the membranes where nothing is carried, else from the values."""
    if node.params.leak == 0.0 and not node.per_channel:
        return node.encode(x.detach())
    if node.params.tau != 2.0 or node.scale_output:
        raise UnsupportedError(
            "count_spikes: digits can be counted of packed nodes with tau=2 and unit amplitude, got "
            f"tau={node.params.tau}, scale_output={node.scale_output}; count the serial form."
        )
    return (output.double() * node.params.weight_sum).round().to(torch.int32)
