"""What a register of finite width holds of a value: two's complement, wrap-around or saturation."""

from __future__ import annotations

from typing import Any

from .parameters import check_choice

__all__ = ["OVERFLOWS", "held", "register_range"]

OVERFLOWS = ("wrap", "saturate")


def register_range(bits: int) -> tuple[int, int]:
    """Smallest and largest value of a two's complement register."""
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def held(value: Any, bits: int, overflow: str) -> Any:
    """``value`` (integer or integer array) as a register of ``bits`` bits holds it.

    Args:
        value: What an adder computed, exact.
        bits: Width, sign included.
        overflow: ``"wrap"`` drops the high bits, ``"saturate"`` keeps the nearest end of the range.
    """
    check_choice("register", "overflow", overflow, OVERFLOWS)
    low, high = register_range(bits)
    if overflow == "wrap":
        return (value - low) % (1 << bits) + low
    return value.clip(low, high) if hasattr(value, "clip") else min(max(value, low), high)
