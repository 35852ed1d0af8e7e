"""Synaptic operations: which operations multiply and accumulate, their two factors and how often.

One rule per operation, by its bare name; torch's functions and ATen's operators of one name share it.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..recipes.tree.rules import einsum_macs
from .irregular import bilinear, deformed_convolution, trilinear
from .product import Product, Rule, arguments, ones_of, sum_of

__all__ = ["ELEMENTWISE", "PRODUCTS"]


def _matrix(a: Tensor, b: Tensor) -> Product:
    """``[*, n, k] @ [*, k, m]`` with broadcasting, vectors as in ``torch.matmul``."""
    left = a.unsqueeze(0) if a.dim() == 1 else a
    right = b.unsqueeze(1) if b.dim() == 1 else b
    batch = torch.broadcast_shapes(left.shape[:-2], right.shape[:-2])
    n, k, m = left.shape[-2], left.shape[-1], right.shape[-1]
    every = math.prod(batch)

    def joint(x: Tensor | None, y: Tensor | None) -> float:
        columns = ones_of(x, left).sum(-2, dtype=torch.float64).expand(*batch, k)
        rows = ones_of(y, right).sum(-1, dtype=torch.float64).expand(*batch, k)
        return sum_of(columns * rows)

    return Product(a, b, every * n * k * m, joint, left.shape[0] if a.dim() > 1 else 1)


def _linear(args: Any, kwargs: Any, _out: Any) -> list[Product]:
    x, weight = arguments(args, kwargs, "input", "weight")
    return [_matrix(x if x.dim() > 1 else x.unsqueeze(0), weight.t() if weight.dim() > 1 else weight)]


def _two(first: int, *names: str) -> Rule:
    def rule(args: Any, kwargs: Any, _out: Any) -> list[Product]:
        bound = arguments(args, kwargs, *names)
        return [_matrix(bound[first], bound[first + 1])]

    return rule


def _tuple(value: Any, axes: int, default: int) -> tuple[int, ...]:
    if value is None:
        return (default,) * axes
    if isinstance(value, int):
        return (value,) * axes
    return tuple(int(v) for v in value) * (axes if len(value) == 1 else 1)


def _convolution(
    x: Tensor,
    weight: Tensor,
    out: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    transposed: bool,
    groups: int,
) -> list[Product]:
    axes = weight.dim() - 2
    stride, dilation = _tuple(stride, axes, 1), _tuple(dilation, axes, 1)
    kernel = tuple(weight.shape[2:])
    if isinstance(padding, str):
        padding = [
            0 if padding == "valid" else d * (k - 1) // 2 for k, d in zip(kernel, dilation, strict=True)
        ]
    padding = _tuple(padding, axes, 0)
    fan = x if transposed else out
    macs = fan.numel() * math.prod(weight.shape[1:])
    reach = _reach(x.shape[-axes:], out.shape[-axes:], kernel, stride, padding, dilation, transposed)
    fanout = weight.shape[1] if transposed else weight.shape[0] // groups

    def joint(a: Tensor | None, b: Tensor | None) -> float:
        if b is not None:  # a kernel of spikes: what it meets decides
            return _counted(a, b, x, weight, (stride, padding, dilation, transposed, out, groups))
        ones = ones_of(a, x)
        return sum_of(ones * reach.to(ones.device)) * fanout

    return [Product(x, weight, macs, joint, x.shape[0] if x.dim() == weight.dim() else 1)]


def _reach(
    size: Any, out: Any, kernel: Any, stride: Any, padding: Any, dilation: Any, transposed: bool
) -> Tensor:
    """Number of outputs (of one channel) that each place of the input reaches: ``[*size]``."""
    total = torch.ones(())
    for n, m, k, s, p, d in zip(size, out, kernel, stride, padding, dilation, strict=True):
        if transposed:  # place i reaches i s - p + j d inside 0..m-1
            place = torch.arange(n).unsqueeze(1) * s - p + torch.arange(k) * d
            count = ((place >= 0) & (place < m)).sum(1)
        else:  # output o reads o s - p + j d
            place = torch.arange(m).unsqueeze(1) * s - p + torch.arange(k) * d
            count = torch.bincount(place[(place >= 0) & (place < n)], minlength=n)
        total = total.unsqueeze(-1) * count.to(torch.float32)
    return total


def _counted(a: Tensor | None, b: Tensor, x: Tensor, weight: Tensor, geometry: Any) -> float:
    stride, padding, dilation, transposed, out, groups = geometry
    extra = [0] * len(stride)
    if transposed:
        extra = [
            m - ((n - 1) * s - 2 * p + d * (k - 1) + 1)
            for n, m, k, s, p, d in zip(
                x.shape[2:], out.shape[2:], weight.shape[2:], stride, padding, dilation, strict=True
            )
        ]
    ones = (ones_of(a, x).double(), ones_of(b, weight).double())
    found = torch.ops.aten.convolution.default(
        *ones, None, list(stride), list(padding), list(dilation), transposed, extra, groups
    )
    return sum_of(found)


def _aten_convolution(args: Any, _kwargs: Any, out: Any) -> list[Product]:
    x, weight, _, stride, padding, dilation, transposed, _, groups = args[:9]
    return _convolution(x, weight, out, stride, padding, dilation, transposed, groups)


def _conv(args: Any, kwargs: Any, out: Any) -> list[Product]:
    names = ("input", "weight", "bias", "stride", "padding", "dilation", "groups")
    x, weight, _, stride, padding, dilation, groups = arguments(args, kwargs, *names)
    return _convolution(x, weight, out, stride, padding, dilation, False, groups or 1)


def _conv_transpose(args: Any, kwargs: Any, out: Any) -> list[Product]:
    names = ("input", "weight", "bias", "stride", "padding", "output_padding", "groups", "dilation")
    x, weight, _, stride, padding, _, groups, dilation = arguments(args, kwargs, *names)
    return _convolution(x, weight, out, stride, padding, dilation, True, groups or 1)


def _attention(args: Any, kwargs: Any, _out: Any) -> list[Product]:
    """``softmax(q k^T) v``: two products; the attention weights between them are analog."""
    query, key, value = arguments(args, kwargs, "query", "key", "value")
    if key.shape[-3:-2] != query.shape[-3:-2]:  # grouped queries share keys
        share = query.shape[-3] // key.shape[-3]
        key, value = key.repeat_interleave(share, -3), value.repeat_interleave(share, -3)
    weights = torch.empty(*query.shape[:-1], key.shape[-2], device="meta")
    return [_matrix(query, key.transpose(-2, -1)), _weighted(weights, value)]


def _weighted(weights: Tensor, value: Tensor) -> Product:
    product = _matrix(weights, value)
    places = weights.shape[-2]

    def joint(_a: Tensor | None, b: Tensor | None) -> float:
        return sum_of(ones_of(b, value)) * places

    return Product(weights, value, product.macs, joint, product.rows)


def _einsum(args: Any, _kwargs: Any, _out: Any) -> list[Product]:
    equation, *operands = args
    if len(operands) == 1 and isinstance(operands[0], (list, tuple)):
        operands = list(operands[0])
    if len(operands) != 2:
        return []
    a, b = operands

    def joint(x: Tensor | None, y: Tensor | None) -> float:
        return sum_of(torch.einsum(equation, ones_of(x, a).double(), ones_of(y, b).double()))

    return [Product(a, b, einsum_macs(equation, operands), joint)]


def _elementwise(args: Any, kwargs: Any, out: Any) -> list[Product]:
    """Product of two spike operands, value by value; the counter asks for it only then."""
    a, b = arguments(args, kwargs, "input", "other")

    def joint(x: Tensor | None, y: Tensor | None) -> float:
        return sum_of((ones_of(x, a).double() * ones_of(y, b)).expand(out.shape))

    return [Product(a, b, out.numel(), joint)]


_MM = _two(0, "input", "mat2")
_ATTENTION = (
    "scaled_dot_product_attention",
    "_scaled_dot_product_flash_attention_for_cpu",
    "_scaled_dot_product_flash_attention",
    "_scaled_dot_product_efficient_attention",
    "_scaled_dot_product_cudnn_attention",
    "_scaled_dot_product_fused_attention_overrideable",
)

PRODUCTS: dict[str, Rule] = {
    "linear": _linear,
    "convolution": _aten_convolution,
    **dict.fromkeys(("conv1d", "conv2d", "conv3d"), _conv),
    **dict.fromkeys(("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"), _conv_transpose),
    **dict.fromkeys(("matmul", "__matmul__", "linalg_matmul"), _two(0, "input", "other")),
    **dict.fromkeys(("mm", "bmm"), _MM),
    "mv": _two(0, "input", "vec"),
    "dot": _two(0, "input", "tensor"),
    "addmm": _two(1, "input", "mat1", "mat2"),
    "addmv": _two(1, "input", "mat", "vec"),
    "baddbmm": _two(1, "input", "batch1", "batch2"),
    **dict.fromkeys(_ATTENTION, _attention),
    "einsum": _einsum,
    "bilinear": bilinear,
    "_trilinear": trilinear,
    "deform_conv2d": deformed_convolution,
}

#: Products only if both factors spike.
ELEMENTWISE: dict[str, Rule] = dict.fromkeys(("mul", "multiply"), _elementwise)
