"""Fixed scales in a fixed order of operations: what a quantizer does to a value before and after rounding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

from ..spec.errors import ParameterError

__all__ = ["MembraneScale", "ScaleChain", "ScaleStep", "SpikeAmplitude"]

#: ``("mul" or "div", factor)``; the factor is ``[]`` or ``[C]``.
ScaleStep = tuple[str, Tensor]


class ScaleChain(nn.Module, base.StepModule):
    """Multiply and divide by constants, one after another; linear, so it commutes with the charge.

    One product of all factors would round otherwise: the chain repeats the operations of the quantizer it
    stands for in their order, so that its floats are the same.

    Args:
        steps: What to do, first step first.
        dtype: Float type of the operations; None takes the input's. The result has the input's.
        step_mode: ``"s"``: ``[N, C, *]``; ``"m"``: ``[T, N, C, *]``.

    Raises:
        ParameterError: A step is neither ``"mul"`` nor ``"div"``.
    """

    def __init__(
        self, steps: Sequence[ScaleStep], dtype: torch.dtype | None = None, step_mode: str = "s"
    ) -> None:
        super().__init__()
        for operation, _ in steps:
            if operation not in ("mul", "div"):
                raise ParameterError(
                    f"{type(self).__name__}: a step must be 'mul' or 'div', got {operation!r}; choose one."
                )
        self.operations = tuple(operation for operation, _ in steps)
        for index, (_, factor) in enumerate(steps):
            self.register_buffer(f"factor_{index}", factor.detach().clone().reshape(-1))
        self.dtype = dtype
        self.step_mode = step_mode

    def extra_repr(self) -> str:
        """Operations and step mode."""
        return f"operations={self.operations}, step_mode={self.step_mode}"

    @property
    def factors(self) -> list[Tensor]:
        """The factor ``[1]`` or ``[C]`` of each step."""
        return [self.get_buffer(f"factor_{index}") for index in range(len(self.operations))]

    @property
    def gain(self) -> Tensor:
        """All steps as one factor ``[]`` or ``[C]``, float64."""
        total = torch.ones(1, dtype=torch.float64)
        for operation, factor in zip(self.operations, self.factors, strict=True):
            wide = factor.to(device=total.device, dtype=torch.float64)
            total = total * wide if operation == "mul" else total / wide
        return total if total.numel() > 1 else total[0]

    def behind(self, steps: Sequence[ScaleStep]) -> Self:
        """This chain after further ``steps``, as a new one."""
        own = zip(self.operations, self.factors, strict=True)
        return type(self)((*steps, *own), self.dtype, self.step_mode)

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x``; shape and dtype are kept."""
        axis = 1 if self.step_mode == "s" else 2
        y = x if self.dtype is None else x.to(self.dtype)
        for operation, factor in zip(self.operations, self.factors, strict=True):
            shaped = factor.to(y.dtype)
            # A tensor in both cases: a division by a number becomes a product on some devices.
            shaped = shaped.view((-1,) + (1,) * (x.dim() - axis - 1)) if factor.numel() > 1 else shaped
            y = y * shaped if operation == "mul" else y / shaped
        return y.to(x.dtype)


class MembraneScale(ScaleChain):
    """Charge in units of the LSB of the node behind it."""


class SpikeAmplitude(ScaleChain):
    """What one unit of a node's output stands for, applied to its spikes."""
