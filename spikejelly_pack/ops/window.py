"""Decoded values of right-aligned codes over a window longer than the code."""

from __future__ import annotations

from typing import Any

import torch

from ..spec import equations
from ..spec.parameters import NeuronParameters

__all__ = ["window_value"]


def _value(decoded: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
    # Tensors, not numbers: on CUDA a division by a number multiplies by its reciprocal.
    code_sum, window_sum = (decoded.new_full((), code.weight_sum) for code in (params, params.window_code))
    whole = torch.round if params.tau == 2.0 else _unchanged
    return equations.window_value(decoded, code_sum, window_sum, whole)


def _unchanged(value: torch.Tensor) -> torch.Tensor:
    return value


class _WindowValue(torch.autograd.Function):
    """Rounding has no gradient: the straight-through estimate of firing scaled by ``Q_T / Q_L``."""

    generate_vmap_rule = True

    @staticmethod
    def forward(decoded: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
        return _value(decoded, params)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.params = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        (grad,) = grad_outputs
        return grad / ctx.params.window_gain, None


def window_value(decoded: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
    """``P / Q_L`` of decoded values ``P / Q_T``; without an operation where the code fills its window.

    Args:
        decoded: ``d(s)`` of codes of T digits, float32 or float64, any shape.
        params: Constants of the neuron; L is ``window_steps``.
    """
    if not params.silent_steps:
        return decoded
    if not (torch.is_grad_enabled() and decoded.requires_grad):
        return _value(decoded, params)
    return _WindowValue.apply(decoded, params)
