"""How far a network's answers are from those of its source, measured on data without labels.

A registry: a new measure is one function and one line in :data:`LOSSES`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from ...recipes.coded import float_outputs
from ...recipes.finetune import distillation

__all__ = ["DIVERGENCE", "LOSSES", "Loss", "agreement"]

#: ``loss(output, wanted)``: a scalar per batch, lower is better, 0 where both are equal.
Loss = Callable[[Any, Any], Tensor]
DIVERGENCE = "divergence"


def squared_error(output: Any, wanted: Any) -> Tensor:
    """``|y - y0|^2 / |y0|^2`` over all floating point outputs, dimensionless."""
    pairs = list(zip(float_outputs(output), float_outputs(wanted), strict=True))
    wrong = sum((got - right).double().square().sum() for got, right in pairs)
    total = sum(right.double().square().sum() for _, right in pairs)
    found: Any = wrong / max(float(total), 1e-30)
    return found


#: Name -> measure. ``divergence`` is the Kullback-Leibler divergence of the softmax over axis 1, nats;
#: ``error`` the relative squared error, for outputs that are no classes.
LOSSES: dict[str, Loss] = {DIVERGENCE: distillation, "error": squared_error}


def agreement(output: Any, wanted: Any) -> tuple[int, int]:
    """How many predictions (largest value along axis 1) are the source's, and of how many."""
    same = total = 0
    for got, right in zip(float_outputs(output), float_outputs(wanted), strict=True):
        equal = got.argmax(1) == right.argmax(1)
        same, total = same + int(equal.sum()), total + equal.numel()
    return same, total
