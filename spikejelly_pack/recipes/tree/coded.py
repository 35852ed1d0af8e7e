"""The coded network of the module tree: the network itself, whose nodes are exchanged while a search runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor

from ...spec.errors import ParameterError
from ..coded import CodedNetwork, Site, float_outputs
from ..moments import Moments
from .calibrating import Calibrating, ValueObserver
from .network import SpikePackNetwork
from .places import node_name
from .session import NORMALIZATION

__all__ = ["CodedTree", "TreeSite"]


class TreeSite(Site):
    """A future node at one operand of one place.

    Args:
        place: Where.
        operand: Which input.
        observer: What it saw.
        time_steps: T to start with.
        rounding: As in :class:`.SpikePackNode`.
    """

    observer: ValueObserver

    def __init__(
        self, place: str, operand: str, observer: ValueObserver, time_steps: int, rounding: str
    ) -> None:
        self.place, self.operand = place, operand
        self.path, self.stands_for = f"nodes.{node_name(place, operand)}", f"{place}:{operand}"
        names = (self.path, self.stands_for, place, place.rpartition(":")[0])
        super().__init__(observer, names, time_steps, rounding)


class CodedTree(CodedNetwork):
    """Source and coded network in one: with its nodes and corrections, and without.

    Args:
        network: The network; searches exchange its nodes, improvers correct its outputs.
        sites: Its nodes, in the order in which they first ran.
        session: What calibration saw.
        batches: Yields the calibration batches, from the beginning at every call.
        run: ``run(network, batch)``.
        compare: Modules whose outputs are compared; empty: the network's.

    Raises:
        ParameterError: ``compare`` names no module.
    """

    def __init__(
        self,
        network: SpikePackNetwork,
        sites: Sequence[TreeSite],
        session: Calibrating,
        batches: Callable[[], Iterable[Any]],
        run: Callable[[SpikePackNetwork, Any], Any],
        compare: Sequence[str] = (),
    ) -> None:
        super().__init__(sites)
        self.tree_sites = list(sites)
        self.network, self._batches, self._run, self.compare = network, batches, run, list(compare)
        kinds = {place: place.rpartition(":")[2].startswith(NORMALIZATION) for place in session.outputs}
        self.synapses = [place for place, norm in kinds.items() if not norm]
        self.normalized = [place for place, norm in kinds.items() if norm]
        self._built: dict[str, tuple[int, float]] = {}
        known = dict(network.model.named_modules())
        if unknown := [name for name in self.compare if name not in known]:
            raise ParameterError(
                f"convert: compare must name modules of the network, got {unknown}; "
                "named_modules() lists them."
            )

    def batches(self) -> Iterable[Any]:
        return self._batches()

    @torch.no_grad()
    def source(self, batch: Any) -> Any:
        self.network.transparent = True
        try:
            return self._outputs(batch)
        finally:
            self.network.transparent = False

    @torch.no_grad()
    def coded(self, batch: Any) -> Any:
        self.build()
        return self._outputs(batch)

    def build(self) -> None:
        """Exchange the nodes whose T or threshold changed."""
        for site in self.tree_sites:
            state = (site.time_steps, site.scale)
            if self._built.get(site.path) != state:
                self.network.set_node(site.place, site.operand, site.time_steps, site.theta)
                self._built[site.path] = state

    def moments(self, paths: list[str], coded: bool) -> dict[str, Moments]:
        found = {path: Moments() for path in paths}
        self.network.watched = found
        try:
            for batch in self.batches():
                (self.coded if coded else self.source)(batch)
        finally:
            self.network.watched = {}
        return found

    def adjust(self, path: str, gain: Tensor, shift: Tensor) -> None:
        self.network.correct(path, gain, shift)

    def _outputs(self, batch: Any) -> Any:
        found: list[Tensor] = []
        hooks = [
            self.network.model.get_submodule(name).register_forward_hook(
                lambda _module, _x, y: found.extend(float_outputs(y))
            )
            for name in self.compare
        ]
        try:
            output = self._run(self.network, batch)
        finally:
            for hook in hooks:
                hook.remove()
        return found if self.compare else output
