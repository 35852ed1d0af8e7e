"""SpikePack neurons on integer arrays: what all three forms share."""

from __future__ import annotations

import numpy as np

from .bits import code_dtype
from .equations import integer_code, right_aligned
from .graph import Neuron
from .graph.base import Array
from .graph.scale import per_channel

__all__ = ["add_bias", "load_register", "packed_code", "thresholds"]


def _channel(values: Array, like: Array) -> Array:
    return per_channel(values.astype(np.int64), like.ndim - 1)


def add_bias(bias: Array, accumulator: Array) -> Array:
    """Membrane at the end of a window: the bias ``[C]`` enters once."""
    return accumulator + _channel(bias, accumulator)


def packed_code(op: Neuron, membrane: Array) -> Array:
    """Codes ``[N, *]`` of membranes ``[N, *]`` by the closed form."""
    magnitude = np.abs(membrane) if op.signed else membrane
    code = integer_code(magnitude, _channel(op.threshold, membrane), op.max_code, op.half)
    return (code * np.sign(membrane) if op.signed else code).astype(code_dtype(op.time_steps, op.signed))


def load_register(op: Neuron, accumulator: Array) -> tuple[Array, Array]:
    """Firing register and sign (all ones where unsigned) at the end of a window, rounding offset included."""
    membrane = add_bias(op.bias, accumulator)
    sign = np.sign(membrane) if op.signed else np.ones_like(membrane)
    offset = _channel(op.threshold, membrane) // 2 if op.half else 0
    return membrane * sign + offset, sign


def thresholds(op: Neuron, window: int, like: Array) -> list[Array | None]:
    """Threshold ``theta * 2^(T-t)`` of each time step of a window; None where a shorter code has no digit."""
    theta = _channel(op.threshold, like)
    return right_aligned([theta << shift for shift in range(op.time_steps - 1, -1, -1)], window, None)
