"""Operations without weights on integer arrays: what they do to codes, digits and currents alike.

One rule per kind. The maximum is the exception: of codes it is a plain maximum, of digits it needs the
digits before (:class:`DigitPool`).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .equations import digit_maximum
from .errors import UnsupportedError
from .graph import Add, Concat, Delay, Flatten, MaxPool2d, Op, Upsample2d
from .graph.base import Array

__all__ = ["DigitPool", "wire"]

Rule = Callable[[Any, list[Array], int], Array]
_RULES: dict[type[Op], Rule] = {}


def _rule(cls: type[Op]) -> Callable[[Rule], Rule]:
    def enter(function: Rule) -> Rule:
        _RULES[cls] = function
        return function

    return enter


def wire(op: Op, parts: list[Array], batch_axes: int = 1) -> Array:
    """An operation without weights on what it reads; ``batch_axes`` lead the sample's axes.

    Currents, codes and digits all go through here, except that a maximum takes codes only.

    Raises:
        UnsupportedError: The kind has no rule.
    """
    rule = _RULES.get(type(op))
    if rule is None:
        raise UnsupportedError(f"Network: the integer reference has no rule for {op.label}.")
    return rule(op, parts, batch_axes)


@_rule(Add)
def _add(_op: Add, parts: list[Array], _batch_axes: int) -> Array:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


@_rule(Concat)
def _concat(_op: Concat, parts: list[Array], batch_axes: int) -> Array:
    widest = np.result_type(*parts)
    return np.concatenate([part.astype(widest) for part in parts], axis=batch_axes)


@_rule(Flatten)
def _flatten(_op: Flatten, parts: list[Array], batch_axes: int) -> Array:
    lead, sample = parts[0].shape[:batch_axes], parts[0].shape[batch_axes:]
    return parts[0].reshape(*lead, math.prod(sample))


@_rule(Delay)
def _delay(_op: Delay, parts: list[Array], _batch_axes: int) -> Array:
    return parts[0]  # in packed and multi-step form; a pipeline keeps a line of its own


@_rule(Upsample2d)
def _upsample2d(op: Upsample2d, parts: list[Array], _batch_axes: int) -> Array:
    return parts[0].repeat(op.factor[0], axis=-2).repeat(op.factor[1], axis=-1)


@_rule(MaxPool2d)
def _max_pool2d(op: MaxPool2d, parts: list[Array], _batch_axes: int) -> Array:
    return op.largest(parts[0])


class DigitPool:
    """The maximum of digits ``[*, C, H, W]``, one time step after the other: no latency, no look ahead."""

    def __init__(self, op: MaxPool2d) -> None:
        self.op = op
        self.tied: Array | None = None

    def step(self, phase: int, digits: Array) -> Array:
        """Digits of the maxima at step ``phase`` of a window, in the dtype of ``digits``."""
        if phase == 0 or self.tied is None:
            inside = np.ones((1, 1, *digits.shape[-2:]), np.int8)
            self.tied = self.op.candidates(inside, 0) == 1
        candidates = self.op.candidates(digits, 0)
        winner, self.tied = digit_maximum(candidates, self.tied, _largest)
        return np.asarray(winner[..., 0, 0].astype(digits.dtype))


def _largest(candidates: Array) -> Array:
    return np.asarray(candidates.max((-2, -1), keepdims=True))
