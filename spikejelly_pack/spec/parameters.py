"""The parameters of a SpikePack neuron, checked once for every room."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

from .errors import ParameterError

__all__ = ["CARRIES", "MAX_TIME_STEPS", "ROUNDINGS", "NeuronParameters", "check_choice", "check_time_steps"]

MAX_TIME_STEPS = 16
ROUNDINGS = ("round_half_up", "floor")
CARRIES = ("residual", "membrane")


def _whole(value: Any) -> int:
    """``value`` as an ``int``; 0, which is no number of steps, where it is no whole number."""
    if isinstance(value, bool):
        return 0
    try:
        return operator.index(value)
    except TypeError:
        return int(value) if isinstance(value, float) and value.is_integer() else 0


def check_time_steps(value: Any, owner: str = "SpikePackNode") -> int:
    """Return ``value`` as an ``int`` in 1..16 or raise :class:`ParameterError` naming ``owner``."""
    steps = _whole(value)
    if not 1 <= steps <= MAX_TIME_STEPS:
        raise ParameterError(
            f"{owner}: time_steps must be an integer in 1..{MAX_TIME_STEPS}, got {value!r}; "
            "the digits of one code must fit 16 bits."
        )
    return steps


def _check_window(owner: str, value: Any, time_steps: int) -> int:
    """Length of the window; its own T where none is given."""
    if value is None:
        return time_steps
    steps = _whole(value)
    if not time_steps <= steps <= MAX_TIME_STEPS:
        raise ParameterError(
            f"{owner}: window must be an integer in {time_steps}..{MAX_TIME_STEPS}, got {value!r}; it holds "
            "all digits of the code: pass the largest time_steps of the network, or None."
        )
    return steps


def _check_real(owner: str, name: str, value: Any, requirement: str) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not math.isfinite(number):
        raise ParameterError(f"{owner}: {name} must be {requirement}, got {value!r}; pass a finite number.")
    return number


def check_choice(owner: str, name: str, value: object, choices: tuple[str, ...]) -> str:
    """Return ``value`` if it is one of ``choices``, else raise :class:`ParameterError`."""
    if value not in choices:
        listed = " or ".join(repr(choice) for choice in choices)
        raise ParameterError(f"{owner}: {name} must be {listed}, got {value!r}; choose one of these.")
    return str(value)


class _Derived:
    """What follows from the constants: no fields, since compilers build the object anew from all its fields.

    Plain attributes, not lazy ones: compilers that trace the neuron may not see an object change.
    """

    weights: tuple[float, ...]
    weight_sum: float
    window_steps: int
    _window_code: NeuronParameters | None


@dataclass(frozen=True)
class NeuronParameters(_Derived):
    """Constants of one SpikePack neuron (arXiv 2501.14484); the threshold itself is data, not a constant.

    Attributes:
        time_steps: T, digits of one code (1..16).
        tau: Base of the digits, dimensionless, 1 < tau <= 2.
        leak: Share of the carry that the next window starts from, 0..1, dimensionless.
        carry: What is carried: ``"residual"`` (left by the soft reset) or ``"membrane"`` (before it).
        signed: Fire on the absolute value, spikes in {-1, 0, 1}.
        rounding: ``"round_half_up"`` or ``"floor"``.
        window: L, time steps of a window in serial form, T..16; None means T. A code of fewer digits is
            right-aligned: the leading ``L - T`` digits are zero.
        window_steps: L (derived).
        weights: Digit weights q_t = tau^(T-t), most significant first (derived).
        weight_sum: Q, the sum of the digit weights; 2^T - 1 for tau = 2 (derived).

    Raises:
        ParameterError: A constant is outside its range.
    """

    time_steps: int = 4
    tau: float = 2.0
    leak: float = 0.0
    carry: str = "residual"
    signed: bool = False
    rounding: str = "round_half_up"
    window: int | None = None

    def __post_init__(self) -> None:
        owner = "SpikePackNode"
        object.__setattr__(self, "time_steps", check_time_steps(self.time_steps, owner))
        tau = _check_real(owner, "tau", self.tau, "in (1, 2]")
        if not 1.0 < tau <= 2.0:
            raise ParameterError(
                f"{owner}: tau must be in (1, 2], got {self.tau!r}; tau = 2 gives binary digits."
            )
        object.__setattr__(self, "tau", tau)
        leak = _check_real(owner, "leak", self.leak, "in [0, 1]")
        if not 0.0 <= leak <= 1.0:
            raise ParameterError(
                f"{owner}: leak must be in [0, 1], got {self.leak!r}; 0 keeps the windows independent."
            )
        object.__setattr__(self, "leak", leak)
        check_choice(owner, "carry", self.carry, CARRIES)
        check_choice(owner, "rounding", self.rounding, ROUNDINGS)
        object.__setattr__(self, "signed", bool(self.signed))
        weights = tuple(tau ** (self.time_steps - t) for t in range(1, self.time_steps + 1))
        object.__setattr__(self, "weights", weights)
        object.__setattr__(self, "weight_sum", math.fsum(weights))
        steps = _check_window(owner, self.window, self.time_steps)
        object.__setattr__(self, "window_steps", steps)
        longer = NeuronParameters(steps, tau) if steps > self.time_steps else None
        object.__setattr__(self, "_window_code", longer)

    @property
    def window_code(self) -> NeuronParameters:
        """The code whose digits fill the window: what the charge sums over. Its own where T = L."""
        return self if self._window_code is None else self._window_code

    @property
    def silent_steps(self) -> int:
        """Leading time steps of the window without a digit, L - T."""
        return self.window_steps - self.time_steps

    @property
    def window_gain(self) -> float:
        """``Q_L / Q_T``, which the consumers of a right-aligned code absorb; 1 where T = L."""
        return self.window_code.weight_sum / self.weight_sum

    @property
    def max_code(self) -> int:
        """Largest magnitude of a code, 2^T - 1: a code is T digits in one word whatever tau is."""
        return (1 << self.time_steps) - 1

    @property
    def half(self) -> float:
        """Offset before flooring, in units of the LSB: 1/2 for ``round_half_up``, 0 for ``floor``."""
        return 0.5 if self.rounding == "round_half_up" else 0.0
