"""Forward and backward of every operation in plain torch, as functions without autograd.

They are what ``torch.autograd.Function`` and :mod:`.library` wrap, and what the kernels are compared with.
"""

from __future__ import annotations

from functools import lru_cache

import torch

from ..spec import gradients
from ..spec.parameters import NeuronParameters
from .values import compute_dtype, decode_code, signed_code

__all__ = ["as_float", "canonical", "codes_of", "fire_gradient", "neuron", "threshold_gradient", "value"]


@lru_cache(maxsize=1024)
def neuron(
    time_steps: int, tau: float, signed: bool, half: bool, leak: float = 0.0, membrane: bool = False
) -> NeuronParameters:
    """Constants of a neuron from the numbers that travel through operator signatures."""
    rounding = "round_half_up" if half else "floor"
    carry = "membrane" if membrane else "residual"
    return NeuronParameters(time_steps, tau, leak, carry, signed, rounding)


def canonical(tensor: torch.Tensor) -> torch.Tensor:
    """The layout rule of all operators: contiguous stays, channels last stays, all else becomes contiguous.

    Shared by real and fake implementations, so that a compiler sees the strides that come out.
    """
    if tensor.is_contiguous():
        return tensor
    for dims, layout in ((4, torch.channels_last), (5, torch.channels_last_3d)):
        if tensor.dim() == dims and tensor.is_contiguous(memory_format=layout):
            return tensor
    return tensor.contiguous()


def as_float(tensor: torch.Tensor) -> torch.Tensor:
    """``tensor`` in the dtype membranes are computed in."""
    return tensor.to(compute_dtype(tensor.dtype))


def value(start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters, scaled: bool) -> torch.Tensor:
    """Decoded value ``d(s)`` of the membrane, or ``theta * d(s)``; dtypes as they come."""
    # In place: fresh memory for a layer costs several times the arithmetic on it.
    decoded = decode_code(signed_code(start, theta, params), params, spent=True)
    return theta * decoded if scaled else decoded


def codes_of(
    start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters, dtype: torch.dtype
) -> torch.Tensor:
    """Integer codes of the membrane; NaN, which no integer can express, becomes 0: no spike."""
    code = signed_code(start, theta, params)
    # Through int32: torch converts floats to uint16 by way of it only.
    return torch.where(code.isnan(), 0.0, code).to(torch.int32).to(dtype)


def fire_gradient(
    grad: torch.Tensor, start: torch.Tensor, theta: torch.Tensor, signed: bool, scaled: bool
) -> torch.Tensor:
    """``d L / d v_0`` of :func:`value`."""
    inside = gradients.inside_window(start, theta, signed)
    return gradients.start_gradient(grad, inside, theta, scaled)


def threshold_gradient(
    grad: torch.Tensor, start: torch.Tensor, theta: torch.Tensor, params: NeuronParameters, scaled: bool
) -> torch.Tensor:
    """``d L / d theta`` of :func:`value`, summed to the shape of ``theta``."""
    inside = gradients.inside_window(start, theta, params.signed)
    if scaled:
        above = gradients.saturated_sign(start, theta, params.signed)
        decoded = decode_code(signed_code(start, theta, params), params)
        slope = gradients.scaled_theta_slope(start, theta, decoded, inside, above)
    else:
        slope = gradients.unit_theta_slope(start, theta, inside)
    return (grad * slope).sum_to_size(theta.shape)
