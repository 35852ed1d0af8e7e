"""Fire integer sums by a kernel: one pass where plain torch takes five."""

from __future__ import annotations

import torch
from torch import Tensor

from . import kernels
from .formulas import canonical
from .library import code_dtype
from .providers import uses_kernels
from .registration import operator

__all__ = ["integer_fire", "uses_integer_kernel"]

_SUMS = (torch.int32, torch.float32, torch.float64)


def uses_integer_kernel(provider: str, sums: Tensor, obstacle: str | None) -> bool:
    """Whether the kernel fires ``sums``, which hold integers in any dtype that a product returns."""
    return uses_kernels(provider, "integer_fire", sums, obstacle=obstacle, accepted=_SUMS)


@operator("integer_fire")
def integer_fire(
    sums: Tensor, bias: Tensor, theta: Tensor, time_steps: int, signed: bool, half: bool
) -> Tensor:
    """Codes ``clamp(floor((V + b + floor(theta / 2)) / theta), 0, 2^T - 1)`` of sums ``[N, C, *]``.

    Args:
        sums: ``V``, integers below 2^31 in magnitude, in any dtype.
        bias: Integers ``[C]`` (or ``[1]``).
        theta: Positive integers like ``bias``.
        time_steps: T.
        signed: Fire on the absolute value.
        half: ``round_half_up``, else floor.
    """
    sums = canonical(sums)
    given = sums.to(torch.int32)
    codes = torch.empty_like(sums, dtype=code_dtype(time_steps, signed))
    constants = (bias.to(torch.int32), theta.to(torch.int32))
    kernels.integer_fire(given, *constants, codes, time_steps, signed, half)
    return codes


@integer_fire.register_fake
def _(sums: Tensor, _bias: Tensor, _theta: Tensor, time_steps: int, signed: bool, _half: bool) -> Tensor:
    return torch.empty_like(canonical(sums), dtype=code_dtype(time_steps, signed))
