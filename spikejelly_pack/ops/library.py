"""The operators ``torch.ops.spikepack``: fire, encode, pack, unpack, decode.

Registered with :mod:`torch.library`: fake implementations (shapes without data, any size), gradients and
batching rules, so that ``torch.compile(fullgraph=True)``, ``torch.export``, ``opcheck`` and ``torch.func``
know them. Inside, the provider decides what runs. Where it is plain torch, :func:`spikejelly_pack.ops.fire`
and its like skip the operator altogether, so that a compiler can fuse them with their neighbours.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..spec import bits, equations
from ..spec.errors import DtypeError, ShapeError
from . import formulas, kernels
from .providers import KERNEL_DTYPES, uses_kernels
from .registration import operator
from .values import compute_dtype, decode_code

__all__ = ["code_dtype", "decode", "encode", "fire", "fire_backward", "pack", "unpack"]


def code_dtype(time_steps: int, signed: bool = False) -> torch.dtype:
    """Smallest torch dtype of a code: uint8 / uint16, signed int8 / int16 / int32."""
    return getattr(torch, bits.code_dtype(time_steps, signed).name)


def _check(start: Tensor, theta: Tensor, owner: str) -> None:
    if not start.is_floating_point():
        raise DtypeError(f"{owner}: start must be floating point, got {start.dtype}; convert it first.")
    lead = start.dim() - theta.dim()
    fits = lead >= 0 and all(n in (1, m) for n, m in zip(theta.shape, start.shape[lead:], strict=True))
    if not fits:
        raise ShapeError(
            f"{owner}: theta must broadcast to start's shape {tuple(start.shape)}, got {tuple(theta.shape)}; "
            "give one value, or one per channel with axes of length 1 behind it."
        )


@operator("fire")
def fire(
    start: Tensor,
    theta: Tensor,
    time_steps: int,
    tau: float,
    signed: bool,
    half: bool,
    scaled: bool,
    provider: str,
) -> Tensor:
    """Decoded value ``d(s)`` of the membrane, or ``theta * d(s)`` where ``scaled``.

    Args:
        start: Membrane ``v_0``, any shape, floating point; half precision is computed in float32.
        theta: Threshold of the compute dtype, broadcastable to ``start``.
        time_steps: T.
        tau: Base of the digits.
        signed: Fire on the absolute value.
        half: ``round_half_up``, else floor.
        scaled: Whether the output carries the amplitude ``theta``.
        provider: ``"auto"``, ``"torch"`` or ``"cupy"``.
    """
    _check(start, theta, "spikepack::fire")
    start = formulas.canonical(start)
    params = formulas.neuron(time_steps, tau, signed, half)
    if uses_kernels(provider, "fire", start, theta):
        return kernels.fire(start, theta, params, scaled)
    out = formulas.value(formulas.as_float(start), theta, params, scaled)
    return torch.empty_like(start).copy_(out)


@fire.register_fake
def _(start: Tensor, theta: Tensor, *_numbers: Any) -> Tensor:
    _check(start, theta, "spikepack::fire")
    return torch.empty_like(formulas.canonical(start))


@operator("fire_backward")
def fire_backward(
    grad: Tensor,
    start: Tensor,
    theta: Tensor,
    time_steps: int,
    tau: float,
    signed: bool,
    half: bool,
    scaled: bool,
    learnable: bool,
    provider: str,
) -> tuple[Tensor, Tensor]:
    """Straight-through gradients of :func:`fire`: of ``start``, and of ``theta`` (not learnable: ``[0]``)."""
    start = formulas.canonical(start)
    params = formulas.neuron(time_steps, tau, signed, half)
    if uses_kernels(provider, "fire_backward", start, theta):
        return kernels.fire_backward(grad, start, theta, params, scaled, learnable)
    wide, wide_grad = formulas.as_float(start), formulas.as_float(grad)
    grad_start = formulas.fire_gradient(wide_grad, wide, theta, signed, scaled)
    grad_theta = (
        formulas.threshold_gradient(wide_grad, wide, theta, params, scaled)
        if learnable
        else theta.new_empty(0)
    )
    return torch.empty_like(start).copy_(grad_start), grad_theta


@fire_backward.register_fake
def _(_grad: Tensor, start: Tensor, theta: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
    learnable = numbers[-2]
    grad_theta = torch.empty_like(theta) if learnable else theta.new_empty(0)
    return torch.empty_like(formulas.canonical(start)), grad_theta


def _fire_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:  # noqa: ARG001
    start, theta, *ctx.constants = inputs
    ctx.learnable = theta.requires_grad
    ctx.save_for_backward(start, theta)


def _fire_backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    start, theta = ctx.saved_tensors
    *numbers, provider = ctx.constants
    grad_start, grad_theta = fire_backward(grad, start, theta, *numbers, ctx.learnable, provider)
    return grad_start, grad_theta if ctx.learnable else None, *[None] * 6


fire.register_autograd(_fire_backward, setup_context=_fire_context)


def _lead(tensor: Tensor, dim: int | None, size: int, rank: int) -> Tensor:
    """A vmapped tensor with its batch axis in front and ``rank`` axes behind it."""
    if dim is None:
        return tensor
    moved = tensor.movedim(dim, 0)
    return moved.reshape(size, *[1] * (rank - moved.dim() + 1), *moved.shape[1:])


@fire.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], start: Tensor, theta: Tensor, *numbers: Any) -> tuple[Tensor, int]:
    rank = start.dim() - (in_dims[0] is not None)
    batched = _lead(start, in_dims[0], info.batch_size, rank)
    if in_dims[0] is None:
        batched = start.expand(info.batch_size, *start.shape)
    return fire(batched, _lead(theta, in_dims[1], info.batch_size, rank), *numbers), 0


@operator("encode")
def encode(
    start: Tensor, theta: Tensor, time_steps: int, tau: float, signed: bool, half: bool, provider: str
) -> Tensor:
    """Integer codes ``P`` of membranes, in :func:`code_dtype`, without gradient; NaN becomes 0, no spike."""
    _check(start, theta, "spikepack::encode")
    start = formulas.canonical(start)
    params = formulas.neuron(time_steps, tau, signed, half)
    if uses_kernels(provider, "encode", start, theta):
        return kernels.encode(start, theta, params, code_dtype(time_steps, signed))
    dtype = code_dtype(time_steps, signed)
    return torch.empty_like(start, dtype=dtype).copy_(
        formulas.codes_of(formulas.as_float(start), theta, params, dtype)
    )


@encode.register_fake
def _(start: Tensor, theta: Tensor, time_steps: int, _tau: float, signed: bool, *_: Any) -> Tensor:
    _check(start, theta, "spikepack::encode")
    return torch.empty_like(formulas.canonical(start), dtype=code_dtype(time_steps, signed))


@encode.register_vmap
def _(info: Any, in_dims: tuple[Any, ...], start: Tensor, theta: Tensor, *numbers: Any) -> tuple[Tensor, int]:
    rank = start.dim() - (in_dims[0] is not None)
    batched = _lead(start, in_dims[0], info.batch_size, rank)
    if in_dims[0] is None:
        batched = start.expand(info.batch_size, *start.shape)
    return encode(batched, _lead(theta, in_dims[1], info.batch_size, rank), *numbers), 0


@operator("pack")
def pack(digits: Tensor, signed: bool, provider: str) -> Tensor:
    """Codes ``[*]`` of digits ``[T, *]`` (0, 1, signed also -1; unchecked), most significant first."""
    dtype = code_dtype(digits.shape[0], signed)
    if uses_kernels(provider, "pack", digits, accepted=kernels.DIGITS):
        return kernels.pack(digits.contiguous(), dtype, signed)
    return equations.charge(digits.contiguous().to(torch.int32).unbind(0), 2).to(dtype)


@pack.register_fake
def _(digits: Tensor, signed: bool, _provider: str) -> Tensor:
    return digits.new_empty(digits.shape[1:], dtype=code_dtype(digits.shape[0], signed))


@pack.register_vmap
def _(_info: Any, in_dims: tuple[Any, ...], digits: Tensor, *rest: Any) -> tuple[Tensor, int]:
    return pack(digits.movedim(in_dims[0], 1), *rest), 0


@operator("unpack")
def unpack(codes: Tensor, time_steps: int, provider: str) -> Tensor:
    """Digits ``[T, *]`` (int8) of codes, most significant first; a sign goes to every digit."""
    if uses_kernels(provider, "unpack", codes, accepted=kernels.CODES):
        return kernels.unpack(codes.contiguous(), time_steps)
    wide = codes.contiguous().to(torch.int32)
    magnitude, sign = wide.abs(), wide.sign()
    shifts = range(time_steps - 1, -1, -1)
    return torch.stack([((magnitude >> shift) & 1) * sign for shift in shifts]).to(torch.int8)


@unpack.register_fake
def _(codes: Tensor, time_steps: int, _provider: str) -> Tensor:
    return codes.new_empty((time_steps, *codes.shape), dtype=torch.int8)


@unpack.register_vmap
def _(_info: Any, in_dims: tuple[Any, ...], codes: Tensor, *rest: Any) -> tuple[Tensor, int]:
    return unpack(codes.movedim(in_dims[0], 0), *rest), 1


@operator("decode")
def decode(codes: Tensor, time_steps: int, tau: float, dtype: torch.dtype, provider: str) -> Tensor:
    """Decoded values ``d(s)`` of integer codes, in float32 (float64 where asked) and rounded to ``dtype``."""
    codes = formulas.canonical(codes)
    params = formulas.neuron(time_steps, tau, True, True)
    obstacle = None if dtype in KERNEL_DTYPES else f"they do not write {dtype}"
    if uses_kernels(provider, "decode", codes, obstacle=obstacle, accepted=kernels.CODES):
        return kernels.decode(codes, params, dtype)
    wide = torch.empty_like(codes, dtype=compute_dtype(dtype)).copy_(codes)
    return decode_code(wide, params).to(dtype)


@decode.register_fake
def _(codes: Tensor, _time_steps: int, _tau: float, dtype: torch.dtype, _provider: str) -> Tensor:
    return torch.empty_like(formulas.canonical(codes), dtype=dtype)


@decode.register_vmap
def _(_info: Any, in_dims: tuple[Any, ...], codes: Tensor, *rest: Any) -> tuple[Tensor, int]:
    return decode(codes.movedim(in_dims[0], 0), *rest), 0
