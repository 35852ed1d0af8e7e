"""Which number formats hold codes, products and sums exactly: rules, with their derivations.

A float with ``p`` significand bits (the hidden one included) holds every integer up to ``2^p``: bfloat16 8,
float16 11, TF32 11, float32 24, float64 53. A product of two exact operands is exact in float32 when their
significands together have at most 24 bits. A sum of integers is exact in any order while the sum of their
magnitudes stays within ``2^p``: every partial sum is then an integer the format holds.
"""

from __future__ import annotations

import torch

from ..spec.errors import ParameterError

__all__ = [
    "SIGNIFICAND_BITS",
    "exact_integers",
    "holds_codes",
    "int8_pairs_saturate",
    "output_dtype",
    "product_dtype",
]

SIGNIFICAND_BITS: dict[torch.dtype, int] = {
    torch.bfloat16: 8,
    torch.float16: 11,
    torch.float32: 24,
    torch.float64: 53,
}


def exact_integers(dtype: torch.dtype) -> int:
    """Largest n such that ``dtype`` holds every integer of magnitude up to n."""
    return 1 << SIGNIFICAND_BITS[dtype]


def holds_codes(dtype: torch.dtype, time_steps: int) -> bool:
    """Whether every code of T digits is exact in ``dtype``: bfloat16 up to T = 8, float16 up to T = 11."""
    return (1 << time_steps) - 1 <= exact_integers(dtype)


def product_dtype(requested: torch.dtype, time_steps: int, owner: str) -> torch.dtype:
    """``requested`` if it holds the codes.

    Raises:
        ParameterError: It is no float format, or one too short for T digits.
    """
    if requested not in SIGNIFICAND_BITS or not holds_codes(requested, time_steps):
        longest = SIGNIFICAND_BITS.get(requested, 0)
        raise ParameterError(
            f"{owner}: product must be a float dtype that holds {time_steps} digits, got {requested} "
            f"(exact up to T = {longest}); use torch.float32, or fewer time steps."
        )
    return requested


def output_dtype(product: torch.dtype, time_steps: int) -> torch.dtype:
    """Dtype of a product's result: float32 where a membrane in half precision would flip codes.

    A membrane stored in bfloat16 has 8 bits; beyond T = 5 its rounding moves more than a few codes in a
    thousand.
    float16 codes are not normalised, so that sums pass 65504 soon: always float32.
    """
    half = product is torch.float16 or (product is torch.bfloat16 and time_steps > 5)
    return torch.float32 if half else product


def int8_pairs_saturate(max_code: int, max_weight: int) -> bool:
    """Whether AVX2's ``vpmaddubsw``, which adds two u8 x s8 products in int16, can saturate."""
    return 2 * max_code * max_weight > 32767
