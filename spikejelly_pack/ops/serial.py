"""Fire a window spike by spike: membrane potential to T digits, with the gradient of their decoded value."""

from __future__ import annotations

from typing import Any

import torch

from ..spec import gradients
from ..spec.parameters import NeuronParameters
from .layout import stack
from .values import signed_code, split_code

__all__ = ["fire_serial"]


def _digits(start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
    digits, _ = split_code(signed_code(start, theta, params), params)
    return stack(digits, dim=1)


class _FireSerial(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
        return _digits(start, theta, params)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        start, theta, params = inputs
        ctx.params, ctx.learnable = params, theta.requires_grad
        ctx.save_for_backward(start, theta)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        (grad,) = grad_outputs
        start, theta = ctx.saved_tensors
        params = ctx.params
        decoded_grad = gradients.digit_gradient(grad.unbind(1), params.weights, params.weight_sum)
        inside = gradients.inside_window(start, theta, params.signed)
        grad_theta = None
        if ctx.learnable:
            slope = gradients.unit_theta_slope(start, theta, inside)
            grad_theta = (decoded_grad * slope).sum_to_size(theta.shape)
        return gradients.start_gradient(decoded_grad, inside, theta, False), grad_theta, None


def fire_serial(start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
    """Spikes ``[W, T, *]`` of the membranes ``v_0`` of W windows ``[W, *]``: 0 or 1 (signed: -1, 0, 1).

    The gradient of the digits is gathered into that of their decoded value, so it equals the packed
    gradient whenever the consumer is affine.
    """
    if not torch.is_grad_enabled() or not (start.requires_grad or theta.requires_grad):
        return _digits(start, theta, params)
    return _FireSerial.apply(start, theta, params)
