"""Independent random streams from a seed and a place, on any machine."""

from __future__ import annotations

import numpy as np

__all__ = ["derived_seed"]


def derived_seed(*entropy: int) -> int:
    """A 63-bit seed that depends on all numbers (numpy's SeedSequence), none negative."""
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
