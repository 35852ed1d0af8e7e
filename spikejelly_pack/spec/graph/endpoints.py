"""Where values enter and leave the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ..errors import ParameterError, ShapeError
from ..parameters import ROUNDINGS, check_choice, check_time_steps
from .base import MAX_SIZE, Array, Op, Shape, Signal, boolean, integer, register, tensor_field
from .neuron import check_state_bits

__all__ = ["Input", "Readout"]


def _check_positive(owner: str, name: str, values: Array, least: float) -> None:
    # ``least`` keeps value and LSB out of the subnormal floats, which some hardware flushes to zero.
    good = np.isfinite(values) & (values >= least)
    if not good.all():
        raise ParameterError(
            f"{owner}: {name} must be finite and at least {least:.3g}, got {values[~good][0]}; calibrate "
            "it again."
        )


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
        remedy = "give the shape of one sample"
        object.__setattr__(self, "time_steps", check_time_steps(self.time_steps, self.label))
        object.__setattr__(self, "signed", boolean(self.label, "signed", self.signed))
        check_choice(self.label, "rounding", self.rounding, ROUNDINGS)
        if not isinstance(self.shape, (list, tuple)) or not 1 <= len(self.shape) <= 8:
            raise ShapeError(f"{self.label}: shape must be 1..8 integers, got {self.shape!r}; {remedy}.")
        sizes = (integer(self.label, "shape", n, 1, MAX_SIZE, remedy, ShapeError) for n in self.shape)
        object.__setattr__(self, "shape", tuple(sizes))
        if self.threshold.shape not in {(1,), (self.shape[0],)}:
            raise ShapeError(
                f"{self.label}: threshold must be [1] or [{self.shape[0]}], got shape "
                f"{self.threshold.shape}; "
                "give one value or one per channel."
            )
        _check_positive(
            self.label, "threshold", self.threshold, float(np.finfo(np.float32).tiny) * self.max_code
        )

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
        object.__setattr__(self, "state_bits", check_state_bits(self.label, self.state_bits))
        if self.scale.ndim != 1 or not self.scale.size or self.scale.shape != self.bias.shape:
            raise ShapeError(
                f"{self.label}: scale and bias must be [C], got {self.scale.shape} and {self.bias.shape}; "
                "give one value per channel."
            )
        _check_positive(self.label, "scale", self.scale, float(np.finfo(np.float64).tiny))

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or shape[0] != self.scale.shape[0]:
            raise ShapeError(
                f"{self.label}: input must have {self.scale.shape[0]} channels, got shape {shape}; fit its "
                "scale."
            )
        return shape
