"""One multiplication with accumulation as the counter sees it, and what rules for it share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

__all__ = ["Joint", "Product", "Rule", "arguments", "ones_of", "sum_of"]

#: ``joint(ones_a, ones_b)``: sum over all multiply-accumulates of the product of both factors' ones; None
#: stands for a factor that is always there.
Joint = Callable[[Tensor | None, Tensor | None], float]


@dataclass(frozen=True)
class Product:
    """One multiplication with accumulation.

    Attributes:
        first: Left factor.
        second: Right factor.
        macs: Multiply-accumulates of this call, padding included.
        joint: Events from the ones of both.
        rows: Size of the axis that runs over samples (and steps); 0 where no axis does.
    """

    first: Tensor
    second: Tensor
    macs: int
    joint: Joint
    rows: int = 0


Rule = Callable[[Any, Any, Any], list[Product]]


def sum_of(x: Tensor) -> float:
    """Sum in double precision."""
    return float(x.sum(dtype=torch.float64))


def ones_of(x: Tensor | None, like: Tensor) -> Tensor:
    """``x``, or ones where a factor is always there, in the shape of ``like``."""
    return torch.ones(like.shape, device=like.device) if x is None else x.reshape(like.shape)


def arguments(args: Any, kwargs: Any, *names: str) -> list[Any]:
    """Arguments in the order of ``names``, whether passed by position or by name."""
    return [args[i] if i < len(args) else (kwargs or {}).get(name) for i, name in enumerate(names)]
