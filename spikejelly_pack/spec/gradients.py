"""Straight-through gradients of SpikePack, once, with operators only (docs/equations.md, row *backward*).

``inside`` marks ``v_0`` within ``[0, theta]`` (signed: ``[-theta, theta]``), ends included; there is no
backpropagation through the T digits. Straight-through estimator: Bengio et al., arXiv 1308.3432; the gradient
of the threshold follows learned step sizes (LSQ), arXiv 1902.08153.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

__all__ = [
    "carry_slope",
    "carry_theta_slope",
    "digit_gradient",
    "inside_number",
    "inside_window",
    "saturated_sign",
    "scaled_theta_slope",
    "start_gradient",
    "unit_theta_slope",
]


def inside_window(start: Any, theta: Any, signed: bool) -> Any:
    """Where the straight-through estimate passes, as a boolean array."""
    low = -theta if signed else theta * 0
    return (start >= low) & (start <= theta)


def inside_number(start: Any, theta: Any, signed: bool, sign: Callable[[Any], Any]) -> Any:
    """:func:`inside_window` as the numbers 0 and 1 without a comparison; NaN where the membrane is NaN.

    For compilers: one that splits forward from backward keeps a mask of booleans in memory, at several
    times the cost of the whole operation, where it would recompute numbers.
    """
    outside = sign(start - start.clip(-theta if signed else theta * 0, theta))
    return 1 - outside * outside


def saturated_sign(start: Any, theta: Any, signed: bool) -> Any:
    """Saturated decoded value outside the window: 1 above, 0 below (signed: -1 below); 0 inside."""
    above = (start > theta) * 1
    return above - (start < -theta) * 1 if signed else above


def start_gradient(gradient: Any, inside: Any, theta: Any, scaled: bool) -> Any:
    """``d L / d v_0`` from ``d L / d out``: times ``1 / theta`` inside (scaled output: 1), 0 outside."""
    passed = gradient * inside
    if not scaled:
        passed /= theta
    return passed


def unit_theta_slope(start: Any, theta: Any, inside: Any) -> Any:
    """``d out / d theta`` of the unit output: ``-v_0 / theta^2`` inside, 0 outside."""
    # The clip changes nothing inside; outside it keeps an infinite membrane from giving inf * 0.
    return -(start.clip(-theta, theta) / theta) * inside / theta


def scaled_theta_slope(start: Any, theta: Any, decoded: Any, inside: Any, above: Any) -> Any:
    """``d out / d theta`` of the scaled output ``theta * d``.

    ``d - v_0 / theta`` inside; outside it is the saturated output itself, ``above``
    (:func:`saturated_sign`).
    """
    return (decoded - start.clip(-theta, theta) / theta) * inside + above


def carry_slope(unclamped: Any, theta: Any, inside: Any, membrane: bool) -> Any:
    """``d r / d v_0``: membrane 1; residual 0 inside, 1 outside; 0 where ``r`` was clamped."""
    free = (unclamped >= -theta) & (unclamped <= theta)
    return free if membrane else free & ~inside


def carry_theta_slope(
    start: Any, unclamped: Any, theta: Any, decoded: Any, inside: Any, above: Any, membrane: bool
) -> Any:
    """``d r / d theta``: the sign of the clamp where it holds, else that of ``-theta * d`` (membrane: 0)."""
    high, low = unclamped > theta, unclamped < -theta
    clamped = high * 1 - low * 1
    if membrane:
        return clamped
    return clamped - scaled_theta_slope(start, theta, decoded, inside, above) * ~(high | low)


def digit_gradient(gradients: Sequence[Any], weights: Sequence[float], weight_sum: float) -> Any:
    """``d L / d d(s) = Q * sum_t q_t g[t] / sum_t q_t^2`` from the gradients of the T digits.

    Equal to the packed gradient whenever the consumer is affine in the decoded value.
    """
    total: Any = None
    for gradient, weight in zip(gradients, weights, strict=True):
        total = gradient * weight if total is None else total + gradient * weight
    return total * (weight_sum / sum(weight * weight for weight in weights))
