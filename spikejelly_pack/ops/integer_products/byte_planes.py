"""Signed codes as two planes of unsigned bytes: ``P = max(P, 0) - max(-P, 0)``.

Signed codes of eight digits need nine bits, which no byte holds. Their positive and their negative part do:
beside each other on the input axis, with the weights ``[w, -w]``, they give the same sums, and the bound of a
partial sum, the largest code times the sum of the weights' magnitudes, is the same too.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .base import Kernel, Product, layout

__all__ = ["in_planes", "planes", "through_planes"]

_LARGEST = 255


def in_planes(product: Product) -> Product | None:
    """The product of the planes, codes ``0..255``; None where they or the negated weights exceed bytes.

    Channels of groups would have to be interleaved; such products are left out.
    """
    groups = 1 if product.window is None else product.window.groups
    if product.low >= 0 or product.most > _LARGEST or groups != 1 or int(product.weight.min()) <= -128:
        return None
    return Product(torch.cat([product.weight, -product.weight], 1), 0, product.most, product.window)


def planes(codes: Tensor) -> Tensor:
    """``[N, C, *]`` signed codes to ``[N, 2 C, *]`` bytes, images channels last."""
    # The layout last: writing each plane among the bytes of the other is slower.
    short = codes.to(torch.int16)
    positive = short.clamp(min=0).to(torch.uint8)
    return layout(torch.cat([positive, short.clamp(max=0).neg_().to(torch.uint8)], 1))


def through_planes(kernel: Kernel) -> Kernel:
    """A kernel of signed codes from one of their planes."""
    return lambda codes: kernel(planes(codes))
