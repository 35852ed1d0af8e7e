"""Products of weights and packed spikes: one product of the codes instead of one per time step.

``y = W d(s) + b`` of a membrane: fire, multiply by the weight, scale by ``1 / Q``. Codes are small integers,
exact in half precision (:mod:`.exactness`), so that the tensor cores see exact operands. Autograd keeps one
byte of code and one byte of mask per neuron where the unpacked product keeps the decoded value in float32 and
the mask. tau = 2 only: the greedy codes of another base are no numbers to multiply.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from ..spec import gradients
from ..spec.errors import UnsupportedError
from ..spec.parameters import NeuronParameters
from . import formulas
from .exactness import SIGNIFICAND_BITS, holds_codes, output_dtype, product_dtype
from .library import encode
from .registration import operator

__all__ = ["packed_conv2d", "packed_linear"]

aten = torch.ops.aten


def _codes(start: Tensor, theta: Tensor, time_steps: int, signed: bool, half: bool, provider: str) -> Tensor:
    return encode(start, theta, time_steps, 2.0, signed, half, provider)


def _inside(start: Tensor, theta: Tensor, signed: bool) -> Tensor:
    return gradients.inside_window(formulas.as_float(start), theta, signed).to(torch.uint8)


def _weight_sum(time_steps: int) -> float:
    return float((1 << time_steps) - 1)


def _plain(tensor: Tensor) -> Any:
    """No autocast: an operator's dtypes are decided before it is called."""
    return torch.autocast(tensor.device.type, enabled=False)


def _matmul(a: Tensor, b: Tensor, out: torch.dtype) -> Tensor:
    """``a @ b`` in ``out``: half-precision operands, float32 result where the device has that product."""
    if out == a.dtype:
        return a @ b
    if a.is_cuda:
        return aten.mm.dtype(a, b, out)
    return a.to(out) @ b.to(out)


@operator("packed_linear")
def _linear(
    start: Tensor,
    theta: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    time_steps: int,
    signed: bool,
    half: bool,
    product: torch.dtype,
    provider: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Output ``[*, out]`` in float32 or ``product``, codes and mask of the straight-through gradient."""
    start = start.contiguous()
    codes = _codes(start, theta, time_steps, signed, half, provider)
    rows = codes.reshape(-1, codes.shape[-1]).to(product)
    with _plain(start):
        out = _matmul(rows, weight.to(product).t(), output_dtype(product, time_steps))
    out = (out / out.new_full((), _weight_sum(time_steps))).reshape(*start.shape[:-1], weight.shape[0])
    if bias is not None:
        out += bias.to(out.dtype)
    return out, codes, _inside(start, theta, signed)


@_linear.register_fake
def _(
    start: Tensor,
    theta: Tensor,
    weight: Tensor,
    _bias: Tensor | None,
    time_steps: int,
    signed: bool,
    half: bool,
    product: torch.dtype,
    provider: str,
) -> tuple[Tensor, Tensor, Tensor]:
    start = start.contiguous()
    dtype = output_dtype(product, time_steps)
    out = start.new_empty((*start.shape[:-1], weight.shape[0]), dtype=dtype)
    codes = encode(start, theta, time_steps, 2.0, signed, half, provider)
    return out, codes, torch.empty_like(codes, dtype=torch.uint8)


@operator("packed_conv2d")
def _conv2d(
    start: Tensor,
    theta: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    time_steps: int,
    signed: bool,
    half: bool,
    product: torch.dtype,
    provider: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Output ``[N, out, H, W]``, codes and mask; geometry as in :func:`torch.nn.functional.conv2d`."""
    start = formulas.canonical(start)
    codes = _codes(start, theta, time_steps, signed, half, provider)
    dtype = output_dtype(product, time_steps)
    operands = (codes.to(product).to(dtype), weight.to(product).to(dtype))
    with _plain(start):
        out = F.conv2d(*operands, None, stride, padding, dilation, groups)
    out = out / out.new_full((), _weight_sum(time_steps))
    if bias is not None:
        out += bias.to(out.dtype).view(-1, 1, 1)
    return out, codes, _inside(start, theta, signed)


@_conv2d.register_fake
def _(
    start: Tensor,
    theta: Tensor,
    weight: Tensor,
    _bias: Tensor | None,
    stride: Sequence[int],
    padding: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    time_steps: int,
    signed: bool,
    half: bool,
    product: torch.dtype,
    provider: str,
) -> tuple[Tensor, Tensor, Tensor]:
    start = formulas.canonical(start)
    dtype = output_dtype(product, time_steps)
    codes = encode(start, theta, time_steps, 2.0, signed, half, provider)
    with _plain(start):
        out = F.conv2d(codes.to(dtype), weight.to(dtype), None, stride, padding, dilation, groups)
    return out, codes, torch.empty_like(codes, dtype=torch.uint8)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    start, theta, weight, bias, *ctx.constants = inputs
    _out, codes, inside = output
    ctx.mark_non_differentiable(codes, inside)
    ctx.learnable, ctx.dtype = theta.requires_grad, start.dtype
    ctx.bias_dtype = None if bias is None else bias.dtype
    ctx.save_for_backward(start if theta.requires_grad else None, theta, weight, codes, inside)


def _neuron_gradients(
    ctx: Any, grad: Tensor, signed: bool, half: bool, steps: int
) -> tuple[Tensor, Tensor | None]:
    """From the gradient of the decoded value (float32) to those of the membrane and of theta."""
    start, theta, _weight, _codes, inside = ctx.saved_tensors
    grad_start = gradients.start_gradient(grad, inside, theta, False).to(ctx.dtype)
    if not ctx.learnable:
        return grad_start, None
    params = formulas.neuron(steps, 2.0, signed, half)
    return grad_start, formulas.threshold_gradient(grad, formulas.as_float(start), theta, params, False)


def _linear_backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    _start, theta, weight, codes, _inside = ctx.saved_tensors
    steps, signed, half, product, _provider = ctx.constants
    rows = grad.reshape(-1, grad.shape[-1])
    flat = rows.to(product)
    inputs = codes.reshape(-1, codes.shape[-1]).to(product)
    with _plain(grad):
        grad_value = (flat @ weight.to(product)).to(theta.dtype).reshape(codes.shape)
        grad_weight = (flat.t() @ inputs).to(weight.dtype) / _weight_sum(steps)
    grad_bias = None if ctx.bias_dtype is None else rows.sum(0).to(ctx.bias_dtype)
    grad_start, grad_theta = _neuron_gradients(ctx, grad_value, signed, half, steps)
    return grad_start, grad_theta, grad_weight, grad_bias, *[None] * 5


def _conv2d_backward(ctx: Any, grad: Tensor, *_: Any) -> tuple[Any, ...]:
    _start, theta, weight, codes, _inside = ctx.saved_tensors
    stride, padding, dilation, groups, steps, signed, half, product, _provider = ctx.constants
    with _plain(grad):
        grad_value, grad_weight, _ = aten.convolution_backward(
            grad.to(product), codes.to(product), weight.to(product), None, stride, padding, dilation, False,
            [0, 0], groups, [True, True, False],
        )  # fmt: skip
    grad_bias = None if ctx.bias_dtype is None else grad.sum((0, 2, 3)).to(ctx.bias_dtype)
    grad_start, grad_theta = _neuron_gradients(ctx, grad_value.to(theta.dtype), signed, half, steps)
    grad_weight = grad_weight.to(weight.dtype) / _weight_sum(steps)
    return grad_start, grad_theta, grad_weight, grad_bias, *[None] * 9


_linear.register_autograd(_linear_backward, setup_context=_keep)
_conv2d.register_autograd(_conv2d_backward, setup_context=_keep)


def _requested(product: torch.dtype | None, start: Tensor, time_steps: int, owner: str) -> torch.dtype:
    """The product's dtype: as asked, else autocast's where it holds the codes, else that of the membrane."""
    if product is not None:
        return product_dtype(product, time_steps, owner)
    kind = start.device.type
    wanted = (
        torch.get_autocast_dtype(kind)
        if torch.is_autocast_enabled(kind)
        else formulas.compute_dtype(start.dtype)
    )
    return wanted if wanted in SIGNIFICAND_BITS and holds_codes(wanted, time_steps) else torch.float32


def _numbers(params: NeuronParameters, owner: str) -> tuple[int, bool, bool]:
    if params.tau != 2.0:
        raise UnsupportedError(
            f"{owner}: tau must be 2 for a product of codes, got {params.tau}; use fire and a layer."
        )
    return params.time_steps, params.signed, params.half > 0


def packed_linear(
    start: Tensor,
    theta: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    params: NeuronParameters,
    *,
    product: torch.dtype | None = None,
    provider: str = "auto",
) -> Tensor:
    """``F.linear(fire(start), weight, bias)`` through one product of codes.

    Args:
        start: Membranes ``v_0`` ``[*, in]``.
        theta: Threshold, broadcastable to ``start``, of the compute dtype.
        weight: ``[out, in]``.
        bias: ``[out]`` or None.
        params: Constants of the neuron; tau = 2.
        product: Dtype of the operands; None follows autocast where its dtype holds the codes, else the
            membrane's.
        provider: Of the firing.

    Returns:
        ``[*, out]``, float32 where half precision would flip codes (T > 5, or float16).

    Raises:
        UnsupportedError: tau is not 2.
        ParameterError: ``product`` is too short for T digits.
    """
    numbers = _numbers(params, "packed_linear")
    dtype = _requested(product, start, params.time_steps, "packed_linear")
    return _linear(start, theta, weight, bias, *numbers, dtype, provider)[0]


def packed_conv2d(
    start: Tensor,
    theta: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    params: NeuronParameters,
    *,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
    product: torch.dtype | None = None,
    provider: str = "auto",
) -> Tensor:
    """``F.conv2d(fire(start), weight, bias, ...)`` of ``[N, in, H, W]`` through one convolution of codes.

    Arguments, result and errors as :func:`packed_linear`; zero padding is the code 0.
    """
    numbers = _numbers(params, "packed_conv2d")
    dtype = _requested(product, start, params.time_steps, "packed_conv2d")
    window = (list(stride), list(padding), list(dilation), groups)
    return _conv2d(start, theta, weight, bias, *window, *numbers, dtype, provider)[0]
