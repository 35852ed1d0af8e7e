"""Spike trains for the layers of ``spikepack bench fpga``, and the codes they stand for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["Array", "bit_trains", "decoded", "rate_trains"]

Array = np.ndarray[Any, Any]


def bit_trains(rng: np.random.Generator, samples: int, bits: int, n_in: int, density: float) -> Array:
    """Independent spikes ``[samples, bits, n_in]``; the first two samples are all 0 and all 1."""
    trains = (rng.random((samples, bits, n_in)) < density).astype(np.int64)
    trains[0], trains[1] = 0, 1
    return trains


def rate_trains(codes: Array, steps: int) -> Array:
    """The same values rate coded: ``code`` spikes in ``steps`` time steps, evenly spaced."""
    t = np.arange(1, steps + 1)[:, None]
    c = codes[:, None, :].astype(np.int64)
    return (c * t) // steps - (c * (t - 1)) // steps


def decoded(trains: Array) -> Array:
    """Codes ``[samples, n_in]`` of trains, most significant digit first."""
    places: Sequence[int] = [1 << place for place in reversed(range(trains.shape[1]))]
    return np.einsum("t,sti->si", np.array(places), trains)
