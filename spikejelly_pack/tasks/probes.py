"""What every node of a converted network does on data: values, errors, saturation, dead channels."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx, nn

from ..layer.modes import evaluating
from ..recipes.tree import SpikePackNetwork
from ..spec.errors import ParameterError, UnsupportedError

__all__ = ["NodeProbe", "probe"]

_POINTS = 2000  # values kept per node and batch for a scatter plot


@dataclass
class NodeProbe:
    """One node, in the order of the network's depth.

    Attributes:
        name: Its place in the network.
        values: Activations, a sample.
        decoded: What the node made of them.
        theta: Largest threshold.
        saturated: Share of values beyond the threshold.
        dead: Share of channels whose output was zero throughout.
        drift: ``||x - x_source|| / ||x_source||``, x what reaches the node in the converted network; None
            where the two networks called it with other shapes.
        coding: ``||decoded - x|| / ||x||``, the node's own error.
    """

    name: str
    values: NDArray[np.float64]
    decoded: NDArray[np.float64]
    theta: float
    saturated: float
    dead: float
    drift: float | None
    coding: float


@dataclass
class _Sums:
    pairs: list[Tensor] = field(default_factory=list)
    values: int = 0
    beyond: int = 0
    alive: Tensor | None = None
    energy: float = 0.0
    error: float = 0.0
    source_energy: float = 0.0
    drift: float = 0.0
    comparable: bool = True


def probe(network: nn.Module, batches: Iterable[Any], limit: int = 4) -> list[NodeProbe]:
    """Run a few batches through the converted network and through its source, and watch the nodes.

    Args:
        network: Result of :func:`.convert`.
        batches: As for calibration: a batch, or a tuple that holds it first.
        limit: At most so many batches.

    Raises:
        UnsupportedError: The network is of another kind.
        ParameterError: There is no batch.
    """
    nodes = _nodes_of(network)
    found: dict[str, _Sums] = {}
    seen = 0
    for batch in batches:
        if seen == limit:
            break
        images = batch[0] if isinstance(batch, (tuple, list)) else batch
        source = _record(network, nodes, images, as_source=True)
        for name, calls in _record(network, nodes, images, as_source=False).items():
            _add(found.setdefault(name, _Sums()), nodes[name].node, calls, source.get(name, []))
        seen += 1
    if not seen:
        raise ParameterError("probe: the data must hold a batch, got none; pass some.")
    return [_finished(name, sums, nodes[name].node) for name, sums in found.items()]


@dataclass(frozen=True)
class _Watched:
    """One node.

    Attributes:
        node: It.
        folded: Its amplitude is in the weights behind it: it puts out shares of it.
        cap: Where the source cuts off too.
    """

    node: Any
    folded: bool = False
    cap: float | None = None

    def amplitude(self, x: Tensor) -> Tensor:
        """What one unit of its output stands for."""
        theta = _threshold(self.node, x).to(x.dtype)
        return (
            theta * self.node.params.window_gain
            if self.folded
            else torch.ones((), dtype=x.dtype).to(x.device)
        )

    def as_source(self, x: Tensor) -> Tensor:
        """What the source hands on where this node stands."""
        if not self.folded:
            return x
        return (x if self.node.params.signed else x.clamp(0, self.cap)) / self.amplitude(x)


def _nodes_of(network: nn.Module) -> dict[str, _Watched]:
    if isinstance(network, SpikePackNetwork):
        return {name: _Watched(node) for name, node in network.nodes.items()}
    report = getattr(network, "report", None)
    if not isinstance(network, fx.GraphModule) or report is None:
        raise UnsupportedError(
            f"probe: network must be a result of convert, got {type(network).__name__}; convert it."
        )
    return {e.path: _Watched(network.get_submodule(e.path), True, e.cap) for e in report.layers}


def _record(
    network: nn.Module, nodes: dict[str, _Watched], images: Any, as_source: bool
) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Input and output, in its units, of every node per call; as the source, nodes hand on what they get."""
    kept: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def hook(name: str, watched: _Watched) -> Any:
        def watch(_module: nn.Module, args: Any, output: Tensor) -> Tensor | None:
            x = args[0].detach()
            kept.setdefault(name, []).append((x.clone(), (output.detach() * watched.amplitude(x)).clone()))
            return watched.as_source(args[0]) if as_source else None

        return watch

    handles = [each.node.register_forward_hook(hook(name, each)) for name, each in nodes.items()]
    try:
        with evaluating(network), torch.no_grad():
            network(images)
    finally:
        for handle in handles:
            handle.remove()
    return kept


def _add(
    sums: _Sums, node: Any, calls: list[tuple[Tensor, Tensor]], source: list[tuple[Tensor, Tensor]]
) -> None:
    for index, (x, decoded) in enumerate(calls):
        axis = 1 if x.dim() > 3 else -1
        pair = torch.stack([x.flatten(), decoded.flatten()]).double().cpu()
        sums.pairs.append(pair[:, :: max(1, pair.shape[1] // _POINTS)])
        sums.values += x.numel()
        sums.beyond += int((x.abs() > _threshold(node, x)).sum())
        rows = decoded.movedim(axis, 0).flatten(1) if decoded.dim() > 1 else decoded[None]
        alive = (rows != 0).any(1).cpu()
        fits = sums.alive is not None and sums.alive.shape == alive.shape
        sums.alive = sums.alive | alive if fits and sums.alive is not None else alive
        sums.energy += float(pair[0].square().sum())
        sums.error += float((pair[1] - pair[0]).square().sum())
        if index >= len(source) or source[index][0].shape != x.shape:
            sums.comparable = False
            continue
        reference = source[index][0].double()
        sums.source_energy += float(reference.square().sum())
        sums.drift += float((x.double() - reference).square().sum())


def _threshold(node: Any, x: Tensor) -> Tensor:
    theta = node.theta.detach().to(x.device)
    if theta.numel() == 1:
        return theta.reshape(())
    shape = [1] * x.dim()
    axis = node.channel_dim
    shape[axis] = theta.numel()
    return theta.reshape(shape)


def _finished(name: str, sums: _Sums, node: Any) -> NodeProbe:
    pairs = torch.cat(sums.pairs, 1).numpy()
    drift = None
    if sums.comparable:
        drift = (sums.drift / sums.source_energy) ** 0.5 if sums.source_energy else 0.0
    return NodeProbe(
        name.replace("/", "."),
        pairs[0],
        pairs[1],
        float(node.theta.detach().max()),
        sums.beyond / max(1, sums.values),
        0.0 if sums.alive is None else 1.0 - float(sums.alive.double().mean()),
        drift,
        (sums.error / sums.energy) ** 0.5 if sums.energy else 0.0,
    )
