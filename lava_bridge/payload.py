"""The payload of a graded spike has a declared width; stock Lava lets anything through."""

from __future__ import annotations

from typing import Any

from spikejelly_pack.spec.errors import BoundError

__all__ = ["check_payload"]


def check_payload(label: str, spikes: Any, bits: int) -> Any:
    """Return graded spikes, or raise :class:`BoundError` where one does not fit.

    Args:
        label: Who sends them.
        spikes: Integers of any shape.
        bits: Magnitude bits of the payload; a sign is one more.
    """
    low, high = int(spikes.min()), int(spikes.max())
    if max(high, -low) >= 1 << bits:
        raise BoundError(
            f"{label!r}: a graded spike must have a magnitude of at most {bits} bits, got {low}..{high}; "
            "use fewer time steps or serial spikes."
        )
    return spikes
