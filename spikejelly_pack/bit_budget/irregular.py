"""Synaptic operations that are neither a matrix product nor a convolution on a grid: bilinear, deformed."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from .product import Product, arguments, ones_of, sum_of

__all__ = ["bilinear", "deformed_convolution", "trilinear"]


def bilinear(args: Any, kwargs: Any, out: Any) -> list[Product]:
    """``y_o = sum_ij x1_i W_oij x2_j``: first ``h_oj = sum_i W_oij x1_i``, then ``y_o = sum_j h_oj x2_j``.

    ``n o i j`` products of weights and the first input, ``n o j`` of the analog h and the second one.
    """
    first, second, weight = arguments(args, kwargs, "input1", "input2", "weight")
    return _contractions(first, weight, second, out)


def trilinear(args: Any, kwargs: Any, out: Any) -> list[Product]:
    """What :func:`torch.nn.functional.bilinear` is in ATen: factors in the order x1, W, x2."""
    first, weight, second = arguments(args, kwargs, "i1", "i2", "i3")
    return _contractions(first, weight, second, out)


def _contractions(first: Tensor, weight: Tensor, second: Tensor, out: Tensor) -> list[Product]:
    outputs, inputs, others = weight.shape
    samples = out.numel() // outputs

    def weighted(a: Tensor | None, b: Tensor | None) -> float:
        events = ones_of(a, first).reshape(-1, inputs).sum(0, dtype=torch.float64)
        return sum_of(events * ones_of(b, weight).sum((0, 2), dtype=torch.float64))

    def gated(_a: Tensor | None, b: Tensor | None) -> float:
        return sum_of(ones_of(b, second)) * outputs

    between = torch.empty(samples, outputs, others, device="meta")  # h is analog and never formed by ATen
    rows = first.shape[0] if first.dim() > 1 else 1
    return [
        Product(first, weight, samples * weight.numel(), weighted, rows),
        Product(between, second, samples * outputs * others, gated, rows),
    ]


def deformed_convolution(args: Any, kwargs: Any, out: Any) -> list[Product]:
    """``torchvision.ops.deform_conv2d``: a convolution that reads between the places of its input.

    Interpolation and modulation are no synapses: what is read keeps the word of its input, as an average over
    space does, and its ones are interpolated like the values.
    """
    names = ("input", "weight", "offset", "mask", "bias", "stride_h", "stride_w", "pad_h", "pad_w")
    names += ("dilation_h", "dilation_w", "groups", "offset_groups")
    x, weight, offset, _, _, *window, groups, offset_groups = arguments(args, kwargs, *names)
    fanin = math.prod(weight.shape[1:])

    def joint(a: Tensor | None, b: Tensor | None) -> float:
        kernel = ones_of(b, weight).double()
        none = (kernel.new_zeros(len(x), 1), kernel.new_zeros(len(kernel)))  # no modulation, no bias
        read = (ones_of(a, x).double(), kernel, offset.double(), *none, *window, groups, offset_groups, False)
        return sum_of(torch.ops.torchvision.deform_conv2d(*read))

    return [Product(x, weight, out.numel() * fanin, joint, x.shape[0])]
