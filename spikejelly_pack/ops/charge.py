"""Charge: T input currents of a window to its membrane potential."""

from __future__ import annotations

from typing import Any

import torch

from ..spec import equations
from ..spec.parameters import NeuronParameters
from .layout import stack

__all__ = ["charge_windows"]


class _Charge(torch.autograd.Function):
    """Keeps nothing for the backward pass: ``d U / d x[t] = q_t / Q``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(currents: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
        return _charge(currents, params)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.params = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        (grad,) = grad_outputs
        params = ctx.params
        share = grad / params.weight_sum
        return stack([share * weight for weight in params.weights], dim=1), None


def _charge(currents: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
    total = equations.charge(currents.unbind(1), params.tau)
    return total / total.new_full((), params.weight_sum)


def charge_windows(currents: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
    """Membrane ``U = sum_t q_t x[t] / Q`` of W windows: ``[W, T, *]`` to ``[W, *]``.

    Horner's rule in the order of the time steps, so that step-by-step execution gives the same floats.
    """
    if not (torch.is_grad_enabled() and currents.requires_grad):
        return _charge(currents, params)
    return _Charge.apply(currents, params)
