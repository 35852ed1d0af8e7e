"""SpikePack neurons on integers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ..errors import BoundError, ShapeError
from ..parameters import CARRIES, ROUNDINGS, check_choice, check_time_steps
from .base import Array, Op, Shape, Signal, boolean, integer, register, tensor_field

__all__ = ["MAX_SHIFT", "Neuron", "check_state_bits"]

MAX_SHIFT = 31  # registers have at most 32 bits


def check_state_bits(owner: str, bits: int) -> int:
    """Membrane registers are 8 to 32 bits wide, sign included."""
    return integer(owner, "state_bits", bits, 8, 32, "use the width of the target's registers", BoundError)


@register("neuron")
@dataclass(frozen=True, eq=False)
class Neuron(Op):
    """A population of SpikePack neurons (tau = 2).

    Attributes:
        threshold: int32 ``[C]``, theta_int: one LSB of the code.
        bias: int32 ``[C]``, added once per window.
        time_steps: Digits of its code; fewer than the network's T right-align the code.
        signed: Fire on the absolute value.
        rounding: ``"round_half_up"`` adds ``theta_int // 2`` before firing; ``"floor"`` adds nothing.
        state_bits: Declared width of the membrane register, sign included.
        leak_shift: k of the leak ``2^-k`` between the windows of a sample, 0..31; None: windows independent.
        carry: With a leak, what is carried: ``"residual"`` (left by the soft reset) or ``"membrane"``
            (before it).
    """

    threshold: Array = tensor_field(np.int32)
    bias: Array = tensor_field(np.int32)
    time_steps: int = 4
    signed: bool = False
    rounding: str = "round_half_up"
    state_bits: int = 24
    leak_shift: int | None = field(default=None, metadata={"since": 2})
    carry: str = field(default="residual", metadata={"since": 2})
    accepts: ClassVar[Signal | None] = Signal.CURRENTS
    emits: ClassVar[Signal | None] = Signal.SPIKES

    def check(self) -> None:
        object.__setattr__(self, "time_steps", check_time_steps(self.time_steps, self.label))
        object.__setattr__(self, "signed", boolean(self.label, "signed", self.signed))
        check_choice(self.label, "rounding", self.rounding, ROUNDINGS)
        object.__setattr__(self, "state_bits", check_state_bits(self.label, self.state_bits))
        if self.leak_shift is not None:
            remedy = "use k for a leak of 2^-k, or None"
            shift = integer(self.label, "leak_shift", self.leak_shift, 0, MAX_SHIFT, remedy)
            object.__setattr__(self, "leak_shift", shift)
        check_choice(self.label, "carry", self.carry, CARRIES if self.carries else CARRIES[:1])
        if self.threshold.ndim != 1 or not self.threshold.size or self.threshold.shape != self.bias.shape:
            raise ShapeError(
                f"{self.label}: threshold and bias must be [C], got {self.threshold.shape} and "
                f"{self.bias.shape}; give one value per channel."
            )
        limit = (1 << (self.state_bits - 1)) >> self.time_steps
        low, high = int(self.threshold.min()), int(self.threshold.max())
        if low < 1 or high > limit:
            raise BoundError(
                f"{self.label}: threshold must be in 1..{limit} so that theta * 2^(T-1) fits "
                f"{self.state_bits} bits, "
                f"got {low}..{high}; use a coarser weight scale, fewer time steps or a wider state."
            )

    @property
    def version(self) -> int:
        """Oldest version of the exchange file that holds the operation."""
        return 2 if self.carries else super().version

    @property
    def carries(self) -> bool:
        """Whether a window leaves something for the next one."""
        return self.leak_shift is not None

    @property
    def half(self) -> bool:
        """Whether firing rounds to the nearest code."""
        return self.rounding == "round_half_up"

    @property
    def max_code(self) -> int:
        """Largest magnitude of its codes."""
        return (1 << self.time_steps) - 1

    def output_shape(self, *shapes: Shape) -> Shape:
        (shape,) = shapes
        if not shape or shape[0] != self.threshold.shape[0]:
            raise ShapeError(
                f"{self.label}: input must have {self.threshold.shape[0]} channels, got shape {shape}; fit "
                "its threshold."
            )
        return shape
