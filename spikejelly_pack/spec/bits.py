"""Digits and codes: T spikes, most significant first, and the word that holds them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from .errors import DtypeError, ShapeError
from .parameters import check_time_steps

__all__ = ["code_dtype", "pack", "unpack"]

IntArray = npt.NDArray[np.integer]


def code_dtype(time_steps: int, signed: bool = False) -> np.dtype[np.integer]:
    """Smallest dtype of a code: uint8 / uint16, signed int8 / int16 / int32 (one more bit for the sign)."""
    bits = check_time_steps(time_steps, "code_dtype") + int(signed)
    if signed:
        return np.dtype(np.int8 if bits <= 8 else np.int16 if bits <= 16 else np.int32)
    return np.dtype(np.uint8 if bits <= 8 else np.uint16)


def pack(digits: npt.ArrayLike, signed: bool = False) -> IntArray:
    """Pack digits into codes.

    Args:
        digits: ``[T, *]`` of 0 and 1 (signed: -1, 0, 1 with one sign per code), most significant first.
        signed: Whether digits may be negative.

    Returns:
        Codes ``[*]`` in :func:`code_dtype`.

    Raises:
        ShapeError: The first axis is not 1..16 long.
        DtypeError: A value is no digit.
    """
    array = np.asarray(digits)
    if array.ndim == 0 or not 1 <= array.shape[0] <= 16:
        raise ShapeError(
            f"pack: digits must have 1..16 time steps on the first axis, got shape {array.shape}."
        )
    low = -1 if signed else 0
    if not np.isin(array, np.arange(low, 2)).all():
        raise DtypeError(f"pack: digits must be {'-1, 0 or 1' if signed else '0 or 1'}, got other values.")
    code = np.zeros(array.shape[1:], np.int64)
    for digit in array.astype(np.int64):
        code = 2 * code + digit
    return code.astype(code_dtype(array.shape[0], signed))


def unpack(codes: npt.ArrayLike, time_steps: int) -> npt.NDArray[np.int8]:
    """Unpack codes ``[*]`` into digits ``[T, *]`` (int8), most significant first; a sign goes to every digit.

    Raises:
        DtypeError: ``codes`` are no integers or leave ``[-(2^T - 1), 2^T - 1]``.
    """
    steps = check_time_steps(time_steps, "unpack")
    array = np.asarray(codes)
    if array.dtype.kind not in "iu":
        raise DtypeError(f"unpack: codes must be integers, got dtype {array.dtype}; convert floats first.")
    # Python's integers: int64 holds neither the magnitude of its smallest value nor large values of uint64.
    largest = max(-int(array.min()), int(array.max())) if array.size else 0
    if largest >= 1 << steps:
        raise DtypeError(f"unpack: codes must fit {steps} digits, got magnitude {largest}; raise time_steps.")
    wide = array.astype(np.int64)
    magnitude = np.abs(wide)
    shifts = np.arange(steps - 1, -1, -1).reshape((steps,) + (1,) * array.ndim)
    return (((magnitude >> shifts) & 1) * np.sign(wide)).astype(np.int8)
