"""What a window leaves for the next one."""

from __future__ import annotations

from typing import Any

import torch

from ..spec import equations, gradients
from ..spec.parameters import NeuronParameters

__all__ = ["window_carry"]


def _unclamped(
    start: torch.Tensor, decoded: torch.Tensor, theta: torch.Tensor, params: NeuronParameters
) -> torch.Tensor:
    return start if params.carry == "membrane" else equations.residual(start, theta, decoded)


class _Carry(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(
        start: torch.Tensor, decoded: torch.Tensor, theta: torch.Tensor, params: NeuronParameters
    ) -> torch.Tensor:
        return equations.clamp_symmetric(_unclamped(start, decoded, theta, params), theta)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        start, decoded, theta, params = inputs
        ctx.params, ctx.learnable = params, theta.requires_grad
        ctx.save_for_backward(start, decoded, theta)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        (grad,) = grad_outputs
        start, decoded, theta = ctx.saved_tensors
        params = ctx.params
        membrane = params.carry == "membrane"
        inside = gradients.inside_window(start, theta, params.signed)
        unclamped = _unclamped(start, decoded, theta, params)
        grad_start = grad * gradients.carry_slope(unclamped, theta, inside, membrane)
        grad_theta = None
        if ctx.learnable:
            above = gradients.saturated_sign(start, theta, params.signed)
            slope = gradients.carry_theta_slope(start, unclamped, theta, decoded, inside, above, membrane)
            grad_theta = (grad * slope).sum_to_size(theta.shape)
        return grad_start, None, grad_theta, None


def window_carry(
    start: torch.Tensor, decoded: torch.Tensor, theta: torch.Tensor, params: NeuronParameters
) -> torch.Tensor:
    """Carry ``r`` of one window, clamped to ``[-theta, theta]``.

    Args:
        start: Membrane ``v_0`` before firing.
        decoded: Unit decoded value ``d(s)`` of its code (its own gradient is not used: the
            straight-through estimate of the soft reset is part of this operation).
        theta: Positive threshold, broadcastable.
        params: Constants; ``carry`` picks the residual or the membrane.
    """
    return _Carry.apply(start, decoded.detach(), theta, params)
