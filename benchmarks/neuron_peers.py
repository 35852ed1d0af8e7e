"""The neurons that the packed node is measured beside, each with the formula of its own authors.

``PEERS`` holds what makes one, by name; those of other libraries (``pip install --group bench``: snnTorch and
Norse) appear where they are installed. :func:`wrong` tells which does not compute its formula.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import torch
from spikingjelly.activation_based import neuron as sj
from torch import Tensor, nn

__all__ = ["LIBRARIES", "PEERS", "Peer", "peers", "versions", "wrong"]

#: Import name of each library and of the package it comes in.
LIBRARIES = {"spikingjelly": "spikingjelly", "snntorch": "snntorch", "norse": "norse"}


@dataclass(frozen=True)
class Peer:
    """A neuron of some library.

    Attributes:
        title: In the table.
        library: Key of :data:`LIBRARIES`.
        make: The node, from T; it takes and returns ``[T, N]``.
        formula: Output ``[T, N]`` from the node and an input, in plain operations.
    """

    title: str
    library: str
    make: Callable[[int], nn.Module]
    formula: Callable[[Any, Tensor], Tensor]


def _leaky(charge: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Any, Tensor], Tensor]:
    """Spikes of a neuron with threshold 1 that is set to 0 by them."""

    def formula(node: Any, x_seq: Tensor) -> Tensor:
        v, spikes = torch.zeros_like(x_seq[0]), []
        for x in x_seq:
            v = charge(v, x)
            spikes.append((v >= 1).to(x.dtype))
            v = v * (1 - spikes[-1])
        return torch.stack(spikes)

    return formula


def _psn(node: Any, x_seq: Tensor) -> Tensor:
    return (node.weight @ x_seq + node.bias >= 0).to(x_seq.dtype)


def _ilif(node: Any, x_seq: Tensor) -> Tensor:
    v, counts = torch.zeros_like(x_seq[0]), []
    for x in x_seq:
        v = v - v / node.tau + x
        counts.append(v.clamp(0, 4).round())
        v = v - counts[-1]
    return torch.stack(counts)


def _few_spikes(steps: int) -> nn.Module:
    """The table of SpikePack's digits."""
    table = [2.0 ** (steps - 1 - k) / (2.0**steps - 1) for k in range(steps)]
    return sj.FewSpikeNode(sj.FewSpikeTable(table, table, table), step_mode="m")


def _few_spikes_formula(node: Any, x_seq: Tensor) -> Tensor:
    v, spikes = x_seq.sum(0), []
    for theta in node.theta.to(x_seq.dtype):
        spikes.append((v >= theta) * theta)
        v = v - spikes[-1]
    return torch.stack(spikes)


class _Stepped(nn.Module):
    """A node of snnTorch, which takes a step and its membrane, over the T steps of an input."""

    def __init__(self, node: Any) -> None:
        super().__init__()
        self.node = node

    def forward(self, x_seq: Tensor) -> Tensor:
        membrane, spikes = self.node.reset_mem(), []
        for x in x_seq:
            spike, membrane = self.node(x, membrane)
            spikes.append(spike)
        return torch.stack(spikes)


class _WithoutState(nn.Module):
    """A node that returns its last state too."""

    def __init__(self, node: nn.Module) -> None:
        super().__init__()
        self.node = node

    def forward(self, x_seq: Tensor) -> Tensor:
        return self.node(x_seq)[0]


def _snntorch(_steps: int) -> nn.Module:
    import snntorch

    return _Stepped(snntorch.Leaky(beta=0.5))


def _snntorch_formula(_node: Any, x_seq: Tensor) -> Tensor:
    """``U <- beta U + x``, less the threshold if the last step's membrane passed it."""
    v, spikes = torch.zeros_like(x_seq[0]), []
    for x in x_seq:
        v = 0.5 * v + x - (v > 1).to(x.dtype)
        spikes.append((v > 1).to(x.dtype))
    return torch.stack(spikes)


def _norse(_steps: int) -> nn.Module:
    from norse.torch import LIF

    return _WithoutState(LIF())


def _norse_formula(_node: Any, x_seq: Tensor) -> Tensor:
    """Current with a time constant of 5 ms, membrane of 10 ms, steps of 1 ms."""
    v, current, spikes = torch.zeros_like(x_seq[0]), torch.zeros_like(x_seq[0]), []
    for x in x_seq:
        current = current + x
        v = v + 0.1 * (current - v)
        current = current - 0.2 * current
        spikes.append((v > 1).to(x.dtype))
        v = v * (1 - spikes[-1])
    return torch.stack(spikes)


PEERS: dict[str, Peer] = {
    "if": Peer("IFNode", "spikingjelly", lambda _: sj.IFNode(step_mode="m"), _leaky(lambda v, x: v + x)),
    "lif": Peer(
        "LIFNode", "spikingjelly", lambda _: sj.LIFNode(step_mode="m"), _leaky(lambda v, x: v + (x - v) / 2)
    ),
    "plif": Peer(
        "ParametricLIFNode",
        "spikingjelly",
        lambda _: sj.ParametricLIFNode(step_mode="m"),
        _leaky(lambda v, x: v + (x - v) / 2),
    ),
    "psn": Peer("PSN", "spikingjelly", lambda steps: sj.PSN(steps), _psn),
    "ilif": Peer("ILIFNode", "spikingjelly", lambda _: sj.ILIFNode(step_mode="m"), _ilif),
    "few_spikes": Peer("FewSpikeNode", "spikingjelly", _few_spikes, _few_spikes_formula),
    "snntorch": Peer("Leaky (snnTorch)", "snntorch", _snntorch, _snntorch_formula),
    "norse": Peer("LIF (Norse)", "norse", _norse, _norse_formula),
}


def peers() -> dict[str, Peer]:
    """Those whose library is installed."""
    return {name: peer for name, peer in PEERS.items() if find_spec(peer.library) is not None}


def versions() -> dict[str, str]:
    """Version of each library, or that it is not installed."""
    found = {name: find_spec(name) is not None for name in LIBRARIES}
    return {name: version(LIBRARIES[name]) if there else "not installed" for name, there in found.items()}


def wrong(names: Iterable[str], time_steps: int) -> list[str]:
    """Names of the peers whose output is not that of their formula.

    In float64, where rounding does not reach a threshold; inputs up to three thresholds, of both signs.
    """
    generator = torch.Generator().manual_seed(0)
    x_seq = 1.5 * torch.randn(time_steps, 4096, generator=generator, dtype=torch.float64)
    found = []
    for name in names:
        node = PEERS[name].make(time_steps).double()
        with torch.no_grad():
            out, expected = node(x_seq), PEERS[name].formula(node, x_seq)
        if not torch.allclose(out.double(), expected, rtol=0, atol=1e-6) or not bool(expected.any()):
            found.append(name)
    return found
