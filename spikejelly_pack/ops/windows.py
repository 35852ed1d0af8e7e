"""Operators of the kernels for whole windows and for one time step: charge, carry, fire, digits in one pass.

Plain torch composes these from :mod:`.charge`, :mod:`.carry`, :mod:`.fire` and :mod:`.serial`; a kernel does
each in one pass over memory, its gradient included. There is no torch implementation behind these operators:
the provider decides before they are called.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ..spec.parameters import NeuronParameters
from . import formulas, kernels
from .registration import operator

__all__ = ["constants", "fire_step", "fire_windows", "leading_first", "serial_windows"]


def constants(params: NeuronParameters) -> tuple[int, float, bool, bool, float, bool]:
    """Numbers that travel through the operators' signatures."""
    half, membrane = params.half > 0, params.carry == "membrane"
    return params.time_steps, params.tau, params.signed, half, params.leak, membrane


def leading_first(tensor: Tensor, leading: int) -> Tensor:
    """``tensor`` with its first axes first in memory and the rest dense in any order, else contiguous.

    Shared by real and fake implementations, as :func:`.formulas.canonical` is.
    """
    expected = 1
    inner = sorted(zip(tensor.stride()[leading:], tensor.shape[leading:], strict=True))
    outer = list(zip(tensor.stride()[:leading], tensor.shape[:leading], strict=True))[::-1]
    for stride, size in (*inner, *outer):
        if size != 1:
            if stride != expected:
                return tensor.contiguous()
            expected *= size
    return tensor


def _window(x: Tensor, leading: int, rows: int | None, dtype: torch.dtype = torch.float32) -> Tensor:
    """New memory ``[rows, *]`` (None: ``[*]``) laid out as one window of ``x``, whose first axes go."""
    shape, strides = tuple(x.shape[leading:]), tuple(x.stride()[leading:])
    if rows is None:
        return x.new_empty_strided(shape, strides, dtype=dtype)
    return x.new_empty_strided((rows, *shape), (math.prod(shape), *strides), dtype=dtype)


def _placed(value: Tensor | None, like: Tensor) -> Tensor | None:
    return None if value is None else torch.empty_like(like).copy_(value)


def _carries(x: Tensor, leading: int, carry: Tensor | None, leak: float) -> tuple[Tensor, dict[str, Tensor]]:
    """Memory for the carry that is left (empty without leak), and the launch's arguments."""
    if leak == 0.0:
        return x.new_empty(0, dtype=torch.float32), {}
    left = _window(x, leading, None)
    given = _placed(carry, left)
    return left, {"carry_out": left} if given is None else {"carry_in": given, "carry_out": left}


def _shapes(x: Tensor, leading: int, leak: float) -> tuple[Tensor, Tensor, Tensor]:
    x = leading_first(x, leading)
    left = _window(x, leading, None) if leak else x.new_empty(0, dtype=torch.float32)
    return torch.empty_like(x), _window(x, leading, x.shape[0]), left


@operator("fire_windows")
def fire_windows(
    u: Tensor,
    theta: Tensor,
    carry: Tensor | None,
    time_steps: int,
    tau: float,
    signed: bool,
    half: bool,
    leak: float,
    membrane: bool,
    scaled: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Packed windows ``[W, *]`` one by one: values, membranes ``v_0``, the carry left (empty: no leak)."""
    u = leading_first(u, 1)
    params = formulas.neuron(time_steps, tau, signed, half, leak, membrane)
    threshold, axis = kernels.threshold_of(theta, u)
    values, start, _ = _shapes(u, 1, leak)
    left, carries = _carries(u, 1, carry, leak)
    amplitude = "scaled" if scaled else "unit"
    outputs = {"values": values, "start": start, **carries}
    kernels.launch("fire", u, threshold, params, amplitude=amplitude, channel_axis=axis, **outputs)
    return values, start, left


@operator("serial_windows")
def serial_windows(
    x: Tensor,
    theta: Tensor,
    carry: Tensor | None,
    time_steps: int,
    tau: float,
    signed: bool,
    half: bool,
    leak: float,
    membrane: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Currents ``[W, T, *]`` to spikes ``[W, T, *]``, membranes ``v_0`` ``[W, *]`` and the carry left."""
    x = leading_first(x, 2)
    params = formulas.neuron(time_steps, tau, signed, half, leak, membrane)
    threshold, axis = kernels.threshold_of(theta, x)
    spikes, start, _ = _shapes(x, 2, leak)
    left, carries = _carries(x, 2, carry, leak)
    outputs = {"spikes": spikes, "start": start, **carries}
    kernels.launch("serial", x, threshold, params, channel_axis=axis, **outputs)
    return spikes, start, left


@fire_windows.register_fake
def _(u: Tensor, _theta: Tensor, _carry: Any, *numbers: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _shapes(u, 1, numbers[4])


@serial_windows.register_fake
def _(x: Tensor, _theta: Tensor, _carry: Any, *numbers: Any) -> tuple[Tensor, Tensor, Tensor]:
    return _shapes(x, 2, numbers[4])


@operator("windows_backward")
def _backward(
    grad: Tensor,
    grad_carry: Tensor | None,
    start: Tensor,
    theta: Tensor,
    time_steps: int,
    tau: float,
    signed: bool,
    half: bool,
    leak: float,
    membrane: bool,
    scaled: bool,
    learnable: bool,
    serial: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of the input, of ``theta`` (``[0]`` unless ``learnable``) and of the carry that came in."""
    leading = 2 if serial else 1
    grad = _like_start(grad, start, leading)
    params = formulas.neuron(time_steps, tau, signed, half, leak, membrane)
    threshold, axis = kernels.threshold_of(theta, grad)
    out, before = torch.empty_like(grad), start.new_empty(0)
    options: dict[str, Any] = kernels.gradient_space(start, theta, threshold, learnable)
    space = dict(options)
    if leak:
        before = _window(grad, leading, None)
        options |= {"grad_carry": _placed(grad_carry, before), "grad_carry_in": before}
    if serial:
        options["grad_x"] = out
    else:
        options |= {"grad_u": out, "scaled": scaled}
    name = "serial_backward" if serial else "fire_backward"
    kernels.launch(name, grad, start, threshold, params, channel_axis=axis, **options)
    return out, kernels.shaped(space, theta), before


@_backward.register_fake
def _(
    grad: Tensor, _grad_carry: Any, start: Tensor, theta: Tensor, *numbers: Any
) -> tuple[Tensor, Tensor, Tensor]:
    leading = 2 if numbers[-1] else 1
    grad = _like_start(grad, start, leading)
    before = _window(grad, leading, None) if numbers[4] else start.new_empty(0)
    learnable = numbers[-2]
    grad_theta = torch.empty_like(theta) if learnable else theta.new_empty(0)
    return torch.empty_like(grad), grad_theta, before


def _like_start(grad: Tensor, start: Tensor, leading: int) -> Tensor:
    """The gradient in the memory layout that belongs to ``start`` ``[W, *]``."""
    inner = start.stride()[1:]
    size = math.prod(start.shape[1:])
    strides = (size, *inner) if leading == 1 else (size * grad.shape[1], size, *inner)
    placed = grad.new_empty_strided(tuple(grad.shape), strides)
    return grad if grad.stride() == placed.stride() else placed.copy_(grad)


def _keep(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
    _x, theta, carry, *ctx.constants = inputs
    _out, start, left = output
    ctx.mark_non_differentiable(start, *([] if ctx.constants[4] else [left]))
    ctx.learnable, ctx.carried = theta.requires_grad, carry is not None
    ctx.save_for_backward(start, theta)


def _gradients(ctx: Any, grad: Tensor, left: Tensor | None, serial: bool) -> tuple[Any, ...]:
    start, theta = ctx.saved_tensors
    numbers = list(ctx.constants) if not serial else [*ctx.constants, False]
    leaky = bool(ctx.constants[4])
    found, grad_theta, before = _backward(
        grad, left if leaky else None, start, theta, *numbers, ctx.learnable, serial
    )
    carried = before if leaky and ctx.carried else None
    return found, grad_theta if ctx.learnable else None, carried, *[None] * len(ctx.constants)


def _fire_windows_backward(ctx: Any, grad: Tensor, _start: Any, left: Any) -> tuple[Any, ...]:
    return _gradients(ctx, grad, left, serial=False)


def _serial_windows_backward(ctx: Any, grad: Tensor, _start: Any, left: Any) -> tuple[Any, ...]:
    return _gradients(ctx, grad, left, serial=True)


fire_windows.register_autograd(_fire_windows_backward, setup_context=_keep)
serial_windows.register_autograd(_serial_windows_backward, setup_context=_keep)


@operator("fire_step")
def fire_step(
    x: Tensor,
    theta: Tensor,
    accumulator: Tensor | None,
    code: Tensor | None,
    start: Tensor | None,
    carry: Tensor | None,
    phase: int,
    time_steps: int,
    tau: float,
    signed: bool,
    half: bool,
    leak: float,
    membrane: bool,
    keep_carry: bool,
) -> list[Tensor]:
    """One time step of the pipelined form.

    Args:
        x: Currents ``[*]``; the state is float32 ``[*]``.
        theta: Threshold.
        accumulator: Charge so far; None at phase 0.
        code: Pending code as a float; None before the first window is charged.
        start: Its membrane ``v_0``.
        carry: Left by the window before the running one, or None.
        phase: Time steps of the running window already done.
        time_steps: T.
        tau: Base of the digits.
        signed: Fire on the absolute value.
        half: ``round_half_up``, else floor.
        leak: Share of the carry.
        membrane: Whether the membrane is carried, else the residual.
        keep_carry: Whether the window that ends leaves a carry.

    Returns:
        Spikes, membrane after the reset, and the new accumulator (empty at the last phase), code, ``v_0``
        (both empty before it) and carry (empty where none is left).
    """
    x = formulas.canonical(x)
    params = formulas.neuron(time_steps, tau, signed, half, leak, membrane)
    threshold, axis = kernels.threshold_of(theta, x)
    spikes, v, *after = _step_outputs(x, phase, time_steps, leak, keep_carry)
    names = ("accumulator_out", "code_out", "start_out", "carry_out")
    outputs = {name: value for name, value in zip(names, after, strict=True) if value.shape == x.shape}
    if x.numel() == 0:
        return [spikes, v, *after]
    before = {"accumulator": accumulator, "code": code, "start": start, "carry_in": carry if leak else None}
    inputs = {name: _placed(value, v) for name, value in before.items() if value is not None}
    arguments: dict[str, Any] = {**inputs, **outputs}
    kernels.launch(
        "step", x, threshold, params, phase=phase, spikes=spikes, v=v, channel_axis=axis, **arguments
    )
    return [spikes, v, *after]


def _step_outputs(x: Tensor, phase: int, time_steps: int, leak: float, keep_carry: bool) -> list[Tensor]:
    last = phase == time_steps - 1
    given = (True, not last, last, last, last and leak > 0.0 and keep_carry)
    states = [
        torch.empty_like(x, dtype=torch.float32) if there else x.new_empty(0, dtype=torch.float32)
        for there in given
    ]
    return [torch.empty_like(x), *states]


@fire_step.register_fake
def _(x: Tensor, _theta: Any, _accumulator: Any, _code: Any, _start: Any, _carry: Any, *numbers: Any) -> Any:
    phase, time_steps, _tau, _signed, _half, leak, _membrane, keep_carry = numbers
    return _step_outputs(formulas.canonical(x), phase, time_steps, leak, keep_carry)
