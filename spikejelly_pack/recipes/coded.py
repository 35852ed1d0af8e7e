"""A calibrated network before its nodes are built: it runs as the source or with every future node coding.

Searches over thresholds and time steps, and improvers, ask it what a choice would cost; nothing is built
until they are done. With coding on it computes what the finished network computes in packed form.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, fx, nn

from ..spec.errors import UnsupportedError
from ..spec.parameters import NeuronParameters
from .graph import module_of, node_input
from .observer import Observer

__all__ = ["CodedNetwork", "Site", "float_outputs"]

Batches = Callable[[], Iterator[Tensor]]


class Site:
    """One future node: its observer and the choices made for it so far.

    Args:
        model: Calibrated graph.
        node: Graph node of the observer.
        time_steps: T to start with.
        rounding: As in :class:`.SpikePackNode`.

    Attributes:
        scale: Factor on the calibrator's threshold, dimensionless.
        stands_for: Path of the rectifier it replaces, or of the value it encodes.
    """

    def __init__(self, model: fx.GraphModule, node: fx.Node, time_steps: int, rounding: str) -> None:
        observer = module_of(model, node)
        assert isinstance(observer, Observer)
        self.node, self.observer = node, observer
        source = node_input(node)
        self.stands_for = str(source.target) if source.op == "call_module" else source.name
        self._cap = 6.0 if isinstance(module_of(model, source), nn.ReLU6) else None
        self._calibrated: dict[int, Tensor] = {}
        self.scale = 1.0
        self.parameters = NeuronParameters(time_steps, signed=observer.negative, rounding=rounding)

    @property
    def time_steps(self) -> int:
        """T of the future node."""
        return self.parameters.time_steps

    @time_steps.setter
    def time_steps(self, value: int) -> None:
        self.parameters = dataclasses.replace(self.parameters, time_steps=value)

    @property
    def theta(self) -> Tensor:
        """Threshold ``[C]`` or ``[]``, in units of the activation."""
        if self.time_steps not in self._calibrated:
            self._calibrated[self.time_steps] = self.observer.threshold(self.parameters)
        theta = self._calibrated[self.time_steps] * self.scale
        return theta if self._cap is None else theta.clamp(max=self._cap)


class CodedNetwork:
    """Source and coded network side by side.

    Args:
        model: Canonical graph with calibrated observers.
        sites: Its future nodes, in order.
        batches: Yields the calibration inputs, from the beginning at every call.
    """

    def __init__(self, model: fx.GraphModule, sites: list[Site], batches: Batches) -> None:
        self.model, self.sites, self.batches = model, sites, batches
        shared: dict[int, Any] = {id(site.observer): nn.Identity() for site in sites}
        self.source = copy.deepcopy(model, shared)  # improvers change the weights of ``model`` only

    @torch.no_grad()
    def coded(self, x: Tensor) -> Any:
        """Output of the network with every site coding."""
        try:
            for site in self.sites:
                site.observer.coding = (site.theta, site.parameters)
            return self.model(x)
        finally:
            for site in self.sites:
                site.observer.coding = None

    @torch.no_grad()
    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Source and coded value of every floating point output of every batch."""
        for x in self.batches():
            yield from zip(float_outputs(self.source(x)), float_outputs(self.coded(x)), strict=True)

    def error(self) -> float:
        """``||y_coded - y|| / ||y||`` of the outputs over all batches, dimensionless."""
        wrong = total = 0.0
        for source, coded in self.pairs():
            wrong += float((coded.double() - source.double()).square().sum())
            total += float(source.double().square().sum())
        if not total:
            raise UnsupportedError(
                "SpikePackRecipe: the network's output must differ from zero on the calibration data for a "
                "search by relative error, got zeros; pass data that activates it."
            )
        return float((wrong / total) ** 0.5)


def float_outputs(output: Any) -> list[Tensor]:
    """The floating point tensors of a network's output, however nested."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    parts = output.values() if isinstance(output, dict) else output
    return [tensor for part in parts for tensor in float_outputs(part)]
