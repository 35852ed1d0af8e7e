"""The coded network of the FX route: a canonical graph whose observers can stand in for their nodes."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, fx, nn

from .coded import CodedNetwork, Site
from .graph import module_of, node_input
from .moments import Moments
from .observer import Observer
from .signals import SYNAPSES, TRANSPOSED

__all__ = ["CodedGraph", "GraphSite", "adjust"]


class GraphSite(Site):
    """A future node in a graph.

    Args:
        model: Calibrated graph.
        node: Graph node of the observer.
        time_steps: T to start with.
        rounding: As in :class:`.SpikePackNode`.

    Attributes:
        stands_for: Path of the rectifier it replaces, or of the value it encodes.
    """

    def __init__(self, model: fx.GraphModule, node: fx.Node, time_steps: int, rounding: str) -> None:
        observer = module_of(model, node)
        assert isinstance(observer, Observer)
        self.node, source = node, node_input(node)
        self.stands_for = str(source.target) if source.op == "call_module" else source.name
        cap = 6.0 if isinstance(module_of(model, source), nn.ReLU6) else None
        super().__init__(observer, (str(node.target), self.stands_for), time_steps, rounding, cap)


class CodedGraph(CodedNetwork):
    """Source and coded graph.

    Args:
        model: Canonical graph with calibrated observers; improvers change its weights.
        sites: Its future nodes, in order.
        batches: Yields the calibration inputs, from the beginning at every call.
        normalized: Paths of the synapses a BatchNorm was folded into.
    """

    sites: list[GraphSite]

    def __init__(
        self,
        model: fx.GraphModule,
        sites: list[GraphSite],
        batches: Callable[[], Iterable[Tensor]],
        normalized: list[str],
    ) -> None:
        super().__init__(sites)
        self.model, self.normalized, self._batches = model, normalized, batches
        self.synapses = [
            str(node.target) for node in model.graph.nodes if isinstance(module_of(model, node), SYNAPSES)
        ]

    @functools.cached_property
    def _source(self) -> fx.GraphModule:
        """The graph without its observers, copied before an improver changes a weight."""
        shared: dict[int, Any] = {id(site.observer): nn.Identity() for site in self.sites}
        return copy.deepcopy(self.model, shared)

    def batches(self) -> Iterable[Tensor]:
        return self._batches()

    @torch.no_grad()
    def source(self, batch: Tensor) -> Any:
        return self._source(batch)

    @torch.no_grad()
    def coded(self, batch: Tensor) -> Any:
        """With coding on it computes what the finished network computes in packed form."""
        try:
            for site in self.sites:
                site.observer.coding = (site.theta, site.parameters)
            return self.model(batch)
        finally:
            for site in self.sites:
                site.observer.coding = None

    def moments(self, paths: list[str], coded: bool) -> dict[str, Moments]:
        model, run = (self.model, self.coded) if coded else (self._source, self.source)
        found = {path: Moments() for path in paths}
        hooks = [
            model.get_submodule(path).register_forward_hook(lambda _m, _x, y, to=to: to.add(y))
            for path, to in found.items()
        ]
        try:
            for batch in self.batches():
                run(batch)
        finally:
            for hook in hooks:
                hook.remove()
        return found

    def adjust(self, path: str, gain: Tensor, shift: Tensor) -> None:
        _ = self._source
        adjust(self.model.get_submodule(path), gain, shift)


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
