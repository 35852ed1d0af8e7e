"""Wide weights as a sum of 8-bit ones, each with a power of two: what hardware with 8-bit synapses needs."""

from __future__ import annotations

import numpy as np

from spikejelly_pack.spec.graph.base import Array

__all__ = ["split_weights"]


def split_weights(weight: Array) -> list[tuple[Array, int]]:
    """Write integer weights as ``sum_i part_i * 2^exponent_i`` with every part in [-128, 127].

    Args:
        weight: Integers of any width.

    Returns:
        Pairs of an int32 array and its exponent, least significant first; one pair where 8 bits suffice.
    """
    rest = np.asarray(weight).astype(np.int64)
    pairs: list[tuple[Array, int]] = []
    exponent = 0
    while True:
        low = (rest + 128) % 256 - 128 if rest.size and (rest.min() < -128 or rest.max() > 127) else rest
        pairs.append((low.astype(np.int32), exponent))
        rest = (rest - low) >> 8
        exponent += 8
        if not rest.any():
            return pairs
