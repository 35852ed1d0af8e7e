"""Straight-through gradients of SpikePack, once, with operators only (design section 2, row *backward*).

``inside`` marks ``v_0`` within ``[0, theta]`` (signed: ``[-theta, theta]``), ends included; there is no
backpropagation through the T digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = [
    "carry_slope",
    "digit_gradient",
    "inside_window",
    "scaled_theta_slope",
    "unit_slope",
    "unit_theta_slope",
]


def inside_window(start: Any, theta: Any, signed: bool) -> Any:
    """Where the straight-through estimate passes, as a boolean array."""
    low = -theta if signed else theta * 0
    return (start >= low) & (start <= theta)


def unit_slope(inside: Any, theta: Any) -> Any:
    """``d out / d v_0`` of the unit output: ``1 / theta`` inside, 0 outside."""
    return inside / theta


def unit_theta_slope(start: Any, theta: Any, inside: Any) -> Any:
    """``d out / d theta`` of the unit output: ``-v_0 / theta^2`` inside, 0 outside."""
    return -(start / theta) * inside / theta


def scaled_theta_slope(start: Any, theta: Any, decoded: Any, inside: Any, above: Any) -> Any:
    """``d out / d theta`` of the scaled output ``theta * d``.

    ``d - v_0 / theta`` inside; outside it is the saturated output itself: ``above`` is 1 above,
    0 below (signed: ``sign(v_0)``).
    """
    return (decoded - start / theta) * inside + above * (1 - inside * 1)


def carry_slope(unclamped: Any, theta: Any, inside: Any, membrane: bool) -> Any:
    """``d r / d v_0``: membrane 1; residual 0 inside, 1 outside; 0 where ``r`` was clamped."""
    free = (unclamped >= -theta) & (unclamped <= theta)
    return free if membrane else free & ~inside


def digit_gradient(gradients: Sequence[Any], weights: Sequence[float], weight_sum: float) -> Any:
    """``d L / d d(s) = Q * sum_t q_t g[t] / sum_t q_t^2`` from the gradients of the T digits.

    Equal to the packed gradient whenever the consumer is affine in the decoded value.
    """
    total: Any = None
    for gradient, weight in zip(gradients, weights, strict=True):
        total = gradient * weight if total is None else total + gradient * weight
    return total * (weight_sum / sum(weight * weight for weight in weights))
