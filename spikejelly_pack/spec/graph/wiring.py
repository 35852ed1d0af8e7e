"""Operations without weights: sums, concatenation, reshaping, delay."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from ..errors import ShapeError
from .base import Op, Shape, Signal, integer, register

__all__ = ["MAX_DELAY", "Add", "Concat", "Delay", "Flatten"]


MAX_DELAY = 1 << 12  # windows; far deeper than any network, and small enough to allocate


@register("add")
@dataclass(frozen=True, eq=False)
class Add(Op):
    """Sum of currents: several synapses on one neuron."""

    accepts: ClassVar[Signal | None] = Signal.CURRENTS
    emits: ClassVar[Signal | None] = Signal.CURRENTS
    arity: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, *shapes: Shape) -> Shape:
        if len(set(shapes)) != 1:
            raise ShapeError(
                f"{self.label}: inputs must have one shape, got {', '.join(map(str, shapes))}; fit them."
            )
        (shape,) = set(shapes)
        return shape


@register("concat")
@dataclass(frozen=True, eq=False)
class Concat(Op):
    """Concatenation along the channels (the first axis of a sample), of spikes or of currents."""

    arity: ClassVar[tuple[int, int | None]] = (2, None)

    def output_shape(self, *shapes: Shape) -> Shape:
        if len({shape[1:] for shape in shapes}) != 1:
            raise ShapeError(
                f"{self.label}: inputs must agree in all axes but the channels, got "
                f"{', '.join(map(str, shapes))}; "
                "fit them."
            )
        return (sum(shape[0] for shape in shapes), *shapes[0][1:])


@register("flatten")
@dataclass(frozen=True, eq=False)
class Flatten(Op):
    """All axes of a sample into one, in C order."""

    def output_shape(self, *shapes: Shape) -> Shape:
        return (math.prod(shapes[0]),)


@register("delay")
@dataclass(frozen=True, eq=False)
class Delay(Op):
    """Spikes, ``windows`` windows (times T time steps) later; the identity in packed and multi-step form.

    A branch that skips k nodes arrives k windows early in the single-step form.
    """

    windows: int
    accepts: ClassVar[Signal | None] = Signal.SPIKES
    emits: ClassVar[Signal | None] = Signal.SPIKES

    def check(self) -> None:
        remedy = "delay by the nodes the other branch passes"
        windows = integer(self.label, "windows", self.windows, 1, MAX_DELAY, remedy)
        object.__setattr__(self, "windows", windows)

    def output_shape(self, *shapes: Shape) -> Shape:
        return shapes[0]
