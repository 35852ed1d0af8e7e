"""SpikePack neurons (arXiv 2501.14484) on integer arrays: what all three forms share."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .bits import code_dtype
from .equations import clamp_symmetric, integer_code, residual, right_aligned, shifted_start
from .graph import Neuron
from .graph.base import Array
from .graph.scale import per_channel

__all__ = [
    "add_bias",
    "carry_of",
    "fire_stream",
    "load_register",
    "packed_code",
    "packed_fire",
    "start_of",
    "starts_of",
    "thresholds",
    "unloaded",
]


def _channel(values: Array, like: Array) -> Array:
    return per_channel(values.astype(np.int64), like.ndim - 1)


def add_bias(bias: Array, accumulator: Array) -> Array:
    """Membrane at the end of a window: the bias ``[C]`` enters once."""
    return accumulator + _channel(bias, accumulator)


def start_of(op: Neuron, accumulator: Array, carry: Array | None = None) -> Array:
    """Membrane ``v_0`` at the start of firing; ``carry`` is what the window before left, if anything."""
    membrane = add_bias(op.bias, accumulator)
    if carry is None or op.leak_shift is None:
        return membrane
    return np.asarray(shifted_start(membrane, carry, op.leak_shift))


def packed_code(op: Neuron, start: Array) -> Array:
    """Codes ``[N, *]`` of membranes ``v_0`` ``[N, *]`` by the closed form."""
    magnitude = np.abs(start) if op.signed else start
    code = integer_code(magnitude, _channel(op.threshold, start), op.max_code, op.half)
    return (code * np.sign(start) if op.signed else code).astype(code_dtype(op.time_steps, op.signed))


def _offset(op: Neuron, like: Array) -> Array | int:
    return _channel(op.threshold, like) // 2 if op.half else 0


def load_register(op: Neuron, start: Array) -> tuple[Array, Array]:
    """Firing register of ``v_0``, rounding offset included, and sign (all ones where unsigned)."""
    sign = np.sign(start) if op.signed else np.ones_like(start)
    return start * sign + _offset(op, start), sign


def unloaded(op: Neuron, register: Array, sign: Array) -> Array:
    """What the soft resets left of ``v_0`` in the firing register; the rounding offset is no part of it."""
    return (register - _offset(op, register)) * sign


def carry_of(op: Neuron, start: Array, left: Array) -> Array:
    """Carry ``r`` for the next window, clamped to ``[-theta Q, theta Q]``; firing left ``left``."""
    carried = start if op.carry == "membrane" else left
    return np.asarray(clamp_symmetric(carried, _channel(op.threshold, start) * op.max_code))


def fire_stream(
    op: Neuron, accumulators: Array, windows: int, fire: Callable[[Array], tuple[Array, Array]]
) -> Array:
    """Fire a stream ``[N * W, *]``, each sample's windows in order.

    Args:
        op: The population.
        accumulators: What it charged in every window.
        windows: W, windows of one sample.
        fire: From ``v_0`` ``[N, *]`` to what is wanted of a window, ``[N, *]``, and what is left of ``v_0``.

    Returns:
        What ``fire`` gives, for the whole stream.
    """
    if not op.carries or windows == 1:
        return fire(start_of(op, accumulators))[0]
    ordered = accumulators.reshape(-1, windows, *accumulators.shape[1:])
    found: list[Array] = []
    carry: Array | None = None
    for window in range(windows):
        start = start_of(op, ordered[:, window], carry)
        result, left = fire(start)
        carry = carry_of(op, start, left)
        found.append(result)
    stream = np.stack(found, axis=1)
    return stream.reshape(-1, *stream.shape[2:])


def packed_fire(op: Neuron, start: Array) -> tuple[Array, Array]:
    """Codes of one window, and what is left of ``v_0``."""
    code = packed_code(op, start)
    return code, np.asarray(residual(start, _channel(op.threshold, start), code.astype(np.int64)))


def starts_of(op: Neuron, accumulators: Array, windows: int) -> Array:
    """Membranes ``v_0`` of a stream ``[N * W, *]``."""
    return fire_stream(op, accumulators, windows, lambda start: (start, packed_fire(op, start)[1]))


def thresholds(op: Neuron, window: int, like: Array) -> list[Array | None]:
    """Threshold ``theta * 2^(T-t)`` of each time step of a window; None where a shorter code has no digit."""
    theta = _channel(op.threshold, like)
    return right_aligned([theta << shift for shift in range(op.time_steps - 1, -1, -1)], window, None)
