"""The equations of SpikePack, once, with operators only.

numpy arrays, torch tensors and Python or numpy numbers go through the same lines; a function that is
not an operator in all of them (floor, sign) is handed in by the caller. Notation as in
``docs/equations.md``: T digits per window, digit t = 1..T (most significant first) has weight
``q_t = tau^(T-t)``, ``Q = sum_t q_t``, LSB ``theta_T = theta / Q``.

Source: SpikePack, arXiv 2501.14484. The comparison is ``>=``: a strict one misses every exact integer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

__all__ = [
    "carry_start",
    "charge",
    "charge_step",
    "clamp_symmetric",
    "code_prefixes",
    "decode_digits",
    "digit_maximum",
    "digits_of_prefixes",
    "fire_digit",
    "fire_digits",
    "integer_code",
    "least_significant",
    "nearest_code",
    "residual",
    "right_aligned",
    "scaled_weights",
    "shifted_start",
    "window_value",
]


def least_significant(theta: Any, weight_sum: Any) -> Any:
    """LSB ``theta_T = theta / Q``: one IEEE division, in this order in every provider."""
    return theta / weight_sum


def scaled_weights(weights: Sequence[float], lsb: Any) -> list[Any]:
    """Thresholds of the digits ``theta_t = theta_T * q_t``, most significant first."""
    return [lsb * weight for weight in weights]


def charge_step(accumulator: Any, current: Any, tau: Any) -> Any:
    """Leaky integration over one time step (exact in integers for tau = 2): ``a <- tau * a + x[t]``."""
    return tau * accumulator + current


def charge(currents: Iterable[Any], tau: Any) -> Any:
    """Integrate the T currents of one window by Horner's rule; divided by Q it is the membrane ``U``."""
    accumulator: Any = None
    for current in currents:
        accumulator = current if accumulator is None else charge_step(accumulator, current, tau)
    return accumulator


def carry_start(potential: Any, leak: Any, carry: Any) -> Any:
    """Membrane at the start of firing, ``v_0 = U + leak * r``."""
    return potential + leak * carry


def shifted_start(potential: Any, carry: Any, shift: int) -> Any:
    """Membrane at the start of firing on integers, ``v_0 = V + (r >> k)``: a leak of ``2^-k``.

    The shift is arithmetic and rounds down, towards minus infinity (-1 >> k is -1), as a right shift of a
    two's complement register does.
    """
    return potential + (carry >> shift)


def clamp_symmetric(value: Any, theta: Any) -> Any:
    """``r`` clamped to ``[-theta, theta]``: an unclamped carry winds up without bound."""
    return value.clip(-theta, theta)


def _clip(value: Any, low: Any, high: Any) -> Any:
    return value.clip(low, high)


def nearest_code(
    magnitude: Any,
    lsb: Any,
    max_code: int,
    half: float,
    floor: Callable[[Any], Any],
    clip: Callable[[Any, Any, Any], Any] = _clip,
) -> Any:
    """Closed form of the greedy expansion for tau = 2, as a float: ``clamp(floor(v / theta_T + half))``.

    Clamping comes first so that infinities saturate; the bounds are integers, so the order does not
    matter to finite values. ``floor`` and ``clip`` may work in place: they are given a new array.
    """
    code = magnitude / lsb
    code += half
    return floor(clip(code, 0, max_code))


def integer_code(membrane: Any, theta: Any, max_code: int, half: bool) -> Any:
    """Closed form on integers: ``clamp(floor((V + floor(theta / 2)) / theta), 0, max_code)``."""
    offset = theta // 2 if half else theta * 0
    return ((membrane + offset) // theta).clip(0, max_code)


def fire_digit(membrane: Any, threshold: Any) -> tuple[Any, Any]:
    """Fire one digit with soft reset: ``s = v >= theta_t``, ``v <- v - theta_t * s``."""
    spike = membrane >= threshold
    return spike, membrane - threshold * spike


def fire_digits(membrane: Any, thresholds: Iterable[Any]) -> tuple[list[Any], Any]:
    """Greedy expansion, most significant digit first; returns the digits and what is left.

    The result is the lexicographically largest code whose sum does not exceed ``membrane``.
    """
    spikes: list[Any] = []
    for threshold in thresholds:
        spike, membrane = fire_digit(membrane, threshold)
        spikes.append(spike)
    return spikes, membrane


def digit_maximum(digits: Any, tied: Any, largest: Callable[[Any], Any]) -> tuple[Any, Any]:
    """One digit of the maximum of several codes, most significant digit first.

    Codes whose digits so far equal the maximum's are still tied; among them the largest digit (-1 < 0 < 1)
    is the maximum's next one, and those that have it stay tied. Exact for signed codes too, because the order
    of the digit sequences is the order of the codes.

    Args:
        digits: This step's digits of the codes.
        tied: Which are still tied; at the first step those that are there at all (padding is not).
        largest: The maximum over the codes, keeping the axes.

    Returns:
        The digit of the maximum, and which codes are still tied.
    """
    # Those out of the race stand below every digit.
    candidates = digits * tied - 2 * (tied == 0)
    winner = largest(candidates)
    return winner, candidates == winner


def decode_digits(digits: Iterable[Any], weights: Sequence[float], weight_sum: Any) -> Any:
    """Decoded value ``d(s) = sum_t q_t s[t] / Q``, in [0, 1] (signed: [-1, 1])."""
    total: Any = None
    for digit, weight in zip(digits, weights, strict=True):
        total = digit * weight if total is None else total + digit * weight
    return total / weight_sum


def code_prefixes(magnitude: Any, time_steps: int, floor: Callable[[Any], Any]) -> list[Any]:
    """Leading digits of a code ``P >= 0`` held as a float: ``floor(P / 2^(T-t))`` for t = 1..T.

    Floats, so that NaN stays NaN; the powers of two make every value exact.
    """
    return [floor(magnitude * 2.0 ** (t - time_steps)) for t in range(1, time_steps + 1)]


def digits_of_prefixes(prefixes: Sequence[Any]) -> list[Any]:
    """Digits ``s[t]`` of a code from its :func:`code_prefixes`, most significant first."""
    return [prefixes[0]] + [now - 2 * before for before, now in pairwise(prefixes)]


def right_aligned(digits: Sequence[Any], window_steps: int, silence: Any) -> list[Any]:
    """A code of T digits in a window of L >= T time steps: the leading ``L - T`` steps are ``silence``."""
    return [silence] * (window_steps - len(digits)) + list(digits)


def window_value(decoded: Any, weight_sum: Any, window_sum: Any) -> Any:
    """Decoded value of a right-aligned code over its window, ``d(s) Q_T / Q_L``: leading zeros code nothing.

    In this order the result is ``P / Q_L`` to the last bit at tau = 2: ``(P / Q_T) Q_T`` is P again in
    float32 and float64 for every code.
    """
    return decoded * weight_sum / window_sum


def residual(start: Any, theta: Any, decoded: Any) -> Any:
    """What the soft reset leaves of ``v_0``, ``v_0 - theta * d(s)``; the rounding offset is no part of it."""
    return start - theta * decoded
