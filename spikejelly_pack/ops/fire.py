"""Fire a whole window at once: membrane potential to decoded value, with the straight-through gradient."""

from __future__ import annotations

from typing import Any

import torch

from ..spec import gradients
from ..spec.parameters import NeuronParameters
from . import library
from .formulas import value as _value
from .providers import uses_kernels

__all__ = ["fire"]


class _FireFixed(torch.autograd.Function):
    """Threshold without gradient: one byte per element is kept; compiled code recomputes the mask instead."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters, scaled: bool
    ) -> torch.Tensor:
        return _value(start, theta, params, scaled)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        start, theta, ctx.params, ctx.scaled = inputs
        ctx.masked = not torch.compiler.is_compiling()
        if ctx.masked:
            # Bytes, not booleans: multiplying by them is twice as fast.
            start = gradients.inside_window(start, theta, ctx.params.signed).to(torch.uint8)
        ctx.save_for_backward(start, theta)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        (grad,) = grad_outputs
        inside, theta = ctx.saved_tensors
        if not ctx.masked:
            inside = gradients.inside_number(inside, theta, ctx.params.signed, torch.sign)
        return gradients.start_gradient(grad, inside, theta, ctx.scaled), None, None, None


class _FireLearnable(torch.autograd.Function):
    """Threshold with gradient: the membrane and the output are kept."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters, scaled: bool
    ) -> torch.Tensor:
        return _value(start, theta, params, scaled)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        start, theta, ctx.params, ctx.scaled = inputs
        ctx.save_for_backward(start, theta, output)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        (grad,) = grad_outputs
        start, theta, output = ctx.saved_tensors
        inside = gradients.inside_window(start, theta, ctx.params.signed)
        if ctx.scaled:
            above = gradients.saturated_sign(start, theta, ctx.params.signed)
            slope = gradients.scaled_theta_slope(start, theta, output / theta, inside, above)
        else:
            slope = gradients.unit_theta_slope(start, theta, inside)
        grad_theta = (grad * slope).sum_to_size(theta.shape)
        return gradients.start_gradient(grad, inside, theta, ctx.scaled), grad_theta, None, None


def fire(
    start: torch.Tensor,
    theta: torch.Tensor,
    params: NeuronParameters,
    scaled: bool = False,
    provider: str = "auto",
) -> torch.Tensor:
    """Decoded value ``d(s)`` of the membrane ``v_0``, or ``theta * d(s)``.

    Args:
        start: Membrane potential ``v_0``, float32 or float64 (the kernels read half precision too), any
            shape.
        theta: Positive threshold of the compute dtype, broadcastable to ``start``.
        params: Constants of the neuron.
        scaled: Whether the output carries the amplitude ``theta``.
        provider: ``"auto"``, ``"torch"`` or ``"cupy"``.

    Returns:
        Tensor like ``start``; its backward pass is the straight-through estimate of
        :mod:`spikejelly_pack.spec.gradients`, independent of T.
    """
    if uses_kernels(provider, "fire", start, theta):
        numbers = (params.time_steps, params.tau, params.signed, params.half > 0)
        return library.fire(start, theta, *numbers, scaled, "cupy")
    if not torch.is_grad_enabled() or not (start.requires_grad or theta.requires_grad):
        return _value(start, theta, params, scaled)
    if theta.requires_grad:
        return _FireLearnable.apply(start, theta, params, scaled)
    return _FireFixed.apply(start, theta, params, scaled)
