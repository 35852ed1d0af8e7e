"""Products of two spike trains: the product of their decoded values.

Step by step, ``sum_t q_t a[t] b[t] / Q`` is another function than ``d(a) d(b)``: it keeps only the
digits both codes share. A layer here multiplies decoded values in every form.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .window import WindowModule

__all__ = ["SpikePackMatmul", "SpikePackProduct"]


class SpikePackMatmul(WindowModule):
    """Matrix product of two spike operands (attention), ``d(a) @ d(b)``.

    Packed: ``a @ b`` of decoded values. Serial multi-step: decodes both windows, multiplies, hands the
    same current to all T steps. Serial single-step: emits the product of window w - 1 during window w, so
    it adds one window of latency; both operands must arrive in the same window (``adapt`` delays the
    earlier one).

    Args:
        time_steps: T, digits of one code (1..16).
        tau: Base of the digits, dimensionless, 1 < tau <= 2.
        form: ``"packed"`` or ``"serial"``.
        step_mode: ``"s"`` or ``"m"``.

    Shape:
        ``a [.., N, *, n, k]``, ``b [.., N, *, k, m]`` -> ``[.., N, *, n, m]``.
    """

    operands = 2

    def compute(self, *values: Tensor) -> Tensor:
        return torch.matmul(values[0], values[1])


class SpikePackProduct(WindowModule):
    """Element-wise product of two spike operands, ``d(a) * d(b)``, with broadcasting.

    Forms as in :class:`SpikePackMatmul`. SEW's AND is ``product(a, b)``, its IAND
    ``product(a, 1 - b)``: ``1 - b`` is affine, so the charge passes through it.

    Args:
        time_steps: T, digits of one code (1..16).
        tau: Base of the digits, dimensionless, 1 < tau <= 2.
        form: ``"packed"`` or ``"serial"``.
        step_mode: ``"s"`` or ``"m"``.

    Shape:
        ``a`` and ``b`` ``[.., N, *]``, broadcast against each other -> ``[.., N, *]``.
    """

    operands = 2

    def compute(self, *values: Tensor) -> Tensor:
        return values[0] * values[1]
