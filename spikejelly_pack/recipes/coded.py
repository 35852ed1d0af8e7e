"""A calibrated network before its nodes are final: it runs as the source or with every node coding.

Searches over thresholds and time steps, and improvers, ask it what a choice would cost. There is one
kind per route, see :class:`.CodedGraph` and :class:`.CodedTree`; what they share is here.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from ..spec.errors import UnsupportedError
from ..spec.parameters import NeuronParameters
from .moments import Moments
from .observer import Observer

__all__ = ["CodedNetwork", "Site", "float_outputs"]


class Site:
    """One future node: its observer and the choices made for it so far.

    Args:
        observer: What it saw.
        names: Names a user may call it by, the most exact first.
        time_steps: T to start with.
        rounding: As in :class:`.SpikePackNode`.
        cap: Largest threshold, or None.

    Attributes:
        scale: Factor on the calibrator's threshold, dimensionless.
    """

    def __init__(
        self,
        observer: Observer,
        names: tuple[str, ...],
        time_steps: int,
        rounding: str,
        cap: float | None = None,
    ) -> None:
        self.observer, self.names, self.cap = observer, names, cap
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
        return theta if self.cap is None else theta.clamp(max=self.cap)


class CodedNetwork(ABC):
    """Source and coded network side by side.

    Args:
        sites: The future nodes, in the order in which they run.

    Attributes:
        synapses: Paths of the synaptic operations of constant weights, in the order in which they run.
        normalized: Paths whose outputs a BatchNorm put to a mean and a variance, likewise.
    """

    synapses: list[str]
    normalized: list[str]

    def __init__(self, sites: Sequence[Site]) -> None:
        self.sites = list(sites)

    @abstractmethod
    def batches(self) -> Iterable[Any]:
        """The calibration inputs, from the beginning at every call."""

    @abstractmethod
    def source(self, batch: Any) -> Any:
        """Output of the source network."""

    @abstractmethod
    def coded(self, batch: Any) -> Any:
        """Output of the network with every site coding."""

    @abstractmethod
    def moments(self, paths: list[str], coded: bool) -> dict[str, Moments]:
        """Moments of the outputs of ``paths`` over the data, in the coded network or in the source."""

    @abstractmethod
    def adjust(self, path: str, gain: Tensor, shift: Tensor) -> None:
        """Let an operation of the coded network put out ``gain * y + shift`` per channel."""

    @torch.no_grad()
    def pairs(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Source and coded value of every floating point output of every batch.

        Raises:
            UnsupportedError: The two networks put out different numbers of values.
        """
        for batch in self.batches():
            source, coded = float_outputs(self.source(batch)), float_outputs(self.coded(batch))
            shapes = [[tuple(tensor.shape) for tensor in found] for found in (source, coded)]
            if shapes[0] != shapes[1]:
                raise UnsupportedError(
                    "conversion: outputs of the source and of the coded network must have the same shapes to "
                    f"be compared, got {shapes[0][:3]} and {shapes[1][:3]}; name the modules whose outputs "
                    "count by compare=, such as compare=('head',) for a detector."
                )
            yield from zip(source, coded, strict=True)

    def error(self) -> float:
        """``||y_coded - y|| / ||y||`` of the outputs over all batches, dimensionless."""
        wrong = total = 0.0
        for source, coded in self.pairs():
            wrong += float((coded.double() - source.double()).square().sum())
            total += float(source.double().square().sum())
        if not total:
            raise UnsupportedError(
                "conversion: the network's output must differ from zero on the calibration data for a "
                "search by relative error, got zeros; pass data that activates it."
            )
        return float((wrong / total) ** 0.5)


def float_outputs(output: Any) -> list[Tensor]:
    """The floating point tensors of a network's output, however nested."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() else []
    parts = output.values() if isinstance(output, dict) else output
    nested = isinstance(parts, Iterable) and not isinstance(parts, str)
    return [tensor for part in parts for tensor in float_outputs(part)] if nested else []
