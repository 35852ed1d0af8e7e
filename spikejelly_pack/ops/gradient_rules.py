"""Identities that change (LSQ, arXiv 1902.08153) or refuse a gradient."""

from __future__ import annotations

from typing import Any

import torch

from ..spec.errors import UnsupportedError

__all__ = ["refuse_gradient", "scale_gradient"]


class _Scale(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: torch.Tensor, _factor: float) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        (grad,) = grad_outputs
        return grad * ctx.factor, None


class _Refuse(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(value: torch.Tensor, _source: torch.Tensor) -> torch.Tensor:
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        return None

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> tuple[Any, ...]:
        raise UnsupportedError(
            "SpikePackNode: the single-step serial form has no gradient, got a backward pass through it; "
            "train in packed or multi-step form."
        )


def scale_gradient(value: torch.Tensor, factor: float) -> torch.Tensor:
    """``value`` unchanged, its gradient times ``factor`` (LSQ, arXiv 1902.08153)."""
    return _Scale.apply(value, factor)


def refuse_gradient(value: torch.Tensor, source: torch.Tensor) -> torch.Tensor:
    """``value``, joined to the graph of ``source`` so that a backward pass raises instead of giving zeros.

    Under ``torch.compile``, which traces a backward pass before there is one, the result has no gradient.
    """
    if torch.compiler.is_compiling() or not (torch.is_grad_enabled() and source.requires_grad):
        return value
    return _Refuse.apply(value, source)
