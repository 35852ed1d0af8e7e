"""What a window leaves for the next one of its sample."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Carry"]


@dataclass(frozen=True)
class Carry:
    """What a window leaves for the next one of the same sample.

    Attributes:
        shift: k of the leak ``2^-k``.
        membrane: Carry the membrane before firing, else what the soft reset left.
        windows: Windows of a sample; its first one starts from nothing.
        first: Window of the run in which the first sample arrives at this population.
    """

    shift: int
    membrane: bool
    windows: int
    first: int
