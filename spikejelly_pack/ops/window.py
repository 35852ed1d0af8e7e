"""Decoded values of right-aligned codes over a window longer than the code."""

from __future__ import annotations

import torch

from ..spec import equations
from ..spec.parameters import NeuronParameters

__all__ = ["window_value"]


def window_value(decoded: torch.Tensor, params: NeuronParameters) -> torch.Tensor:
    """``P / Q_L`` of decoded values ``P / Q_T``; without an operation where the code fills its window.

    Args:
        decoded: ``d(s)`` of codes of T digits, float32 or float64, any shape.
        params: Constants of the neuron; L is ``window_steps``.
    """
    if not params.silent_steps:
        return decoded
    # Tensors, not numbers: on CUDA a division by a number multiplies by its reciprocal.
    sums = (decoded.new_full((), code.weight_sum) for code in (params, params.window_code))
    return equations.window_value(decoded, *sums)
