"""Where values enter and leave the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import ParameterError, ShapeError
from ..parameters import ROUNDINGS, check_choice, check_time_steps
from .base import Array, Op, Shape, Signal, register, tensor_field
from .neuron import check_state_bits

__all__ = ["Input", "Readout"]


@register("input")
@dataclass(frozen=True, eq=False)
class Input(Op):
    """The encoder: real input values become codes outside the integer network.

    Attributes:
        threshold: float32 ``[1]`` or ``[C]``, the value of the full code.
        shape: Shape of one sample.
        time_steps, signed, rounding: As in :class:`.neuron.Neuron`.
    """

    threshold: Array = tensor_field(np.float32)
    shape: Shape = ()
    time_steps: int = 4
    signed: bool = False
    rounding: str = "round_half_up"
    emits: ClassVar[Signal | None] = Signal.SPIKES
    arity: ClassVar[tuple[int, int | None]] = (0, 0)

    def check(self) -> None:
        check_time_steps(self.time_steps, self.label)
        check_choice(self.label, "rounding", self.rounding, ROUNDINGS)
        object.__setattr__(self, "shape", tuple(int(n) for n in self.shape))
        if not self.shape or min(self.shape) < 1:
            raise ShapeError(f"{self.label}: shape must be positive integers, got {self.shape}.")
        if self.threshold.shape not in {(1,), (self.shape[0],)}:
            raise ShapeError(
                f"{self.label}: threshold must be [1] or [{self.shape[0]}], got shape {self.threshold.shape}."
            )
        if not (np.isfinite(self.threshold).all() and (self.threshold > 0).all()):
            raise ParameterError(f"{self.label}: threshold must be finite and positive.")

    @property
    def half(self) -> bool:
        """Whether encoding rounds to the nearest code."""
        return self.rounding == "round_half_up"

    @property
    def max_code(self) -> int:
        """Largest magnitude of its codes."""
        return (1 << self.time_steps) - 1

    def output_shape(self, *shapes: Shape) -> Shape:
        return self.shape


@register("readout")
@dataclass(frozen=True, eq=False)
class Readout(Op):
    """Neurons that integrate a window and never fire: the membrane is the result.

    Attributes:
        scale: float64 ``[C]``; ``membrane * scale`` is the real output.
        bias: int32 ``[C]``, added once per window.
        state_bits: Declared width of the membrane register, sign included.
    """

    scale: Array = tensor_field(np.float64)
    bias: Array = tensor_field(np.int32)
    state_bits: int = 24
    accepts: ClassVar[Signal | None] = Signal.CURRENTS

    def check(self) -> None:
        check_state_bits(self.label, self.state_bits)
        if self.scale.ndim != 1 or self.scale.shape != self.bias.shape:
            raise ShapeError(
                f"{self.label}: scale and bias must be [C], got {self.scale.shape} and {self.bias.shape}."
            )
        if not (np.isfinite(self.scale).all() and (self.scale > 0).all()):
            raise ParameterError(f"{self.label}: scale must be finite and positive.")

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or shape[0] != self.scale.shape[0]:
            raise ShapeError(f"{self.label}: input must have {self.scale.shape[0]} channels, got shape {shape}.")
        return shape
