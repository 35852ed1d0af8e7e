"""LSQ: learned step size quantization of activations (Esser et al., ICLR 2020, arXiv 1902.08153)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ...ops import scale_gradient
from ...spec.errors import ParameterError
from .base import QuantizerSpec, rounding_quantizer
from .qcfs import floor_straight_through

__all__ = ["LSQActivation"]

_SMALLEST = 2.0**-20


class LSQActivation(nn.Module):
    """``clamp(round(x / s), low, high) * s`` with a learned step ``s``, rounded as a SpikePack node rounds.

    Halves round up (signed: away from zero), so that the conversion is exact on ties too. The step starts at
    ``2 mean(|x|) / sqrt(high)`` of the first training batch; its gradient is that of LSQ, scaled by
    ``1 / sqrt(n high)``, n the elements of one sample.

    Args:
        bits: b: codes 0..2^b - 1; signed: -(2^(b-1) - 1)..2^(b-1) - 1.
        signed: Whether values can be negative.
        step: Fixed starting step; None takes it from the first training batch.

    Raises:
        ParameterError: ``bits`` leaves no code, or ``step`` is not positive.
    """

    started: Tensor

    def __init__(self, bits: int = 4, *, signed: bool = False, step: float | None = None) -> None:
        super().__init__()
        if not 1 + signed <= bits <= 16 or (step is not None and not step > 0):
            raise ParameterError(
                f"LSQActivation: bits must be in {1 + signed}..16 and step positive, got {bits} and {step}; "
                "use for example bits=4."
            )
        self.bits, self.signed = int(bits), bool(signed)
        self.s = nn.Parameter(torch.tensor(1.0 if step is None else float(step)))
        self.register_buffer("started", torch.tensor(step is not None))

    @property
    def high(self) -> int:
        """Largest code."""
        return (1 << (self.bits - self.signed)) - 1

    def extra_repr(self) -> str:
        """Bits and sign."""
        return f"bits={self.bits}, signed={self.signed}"

    def forward(self, x: Tensor) -> Tensor:
        """Quantize ``[N, *]``."""
        if self.training and not self.started:
            with torch.no_grad():
                start = 2 * x.detach().abs().mean() / math.sqrt(self.high)
                self.s.copy_(start.clamp(min=_SMALLEST))
                self.started.fill_(True)
        per_sample = max(1, x.numel() // max(1, x.shape[0])) if x.dim() else 1
        step = scale_gradient(self.s.abs().clamp(min=_SMALLEST), 1.0 / math.sqrt(per_sample * self.high))
        clipped = torch.clamp(x / step, -self.high if self.signed else 0, self.high)
        if self.signed:
            code = clipped.sign() * floor_straight_through(clipped.abs() + 0.5)
        else:
            code = floor_straight_through(clipped + 0.5)
        return code * step

    def spikepack_quantizer(self, path: str, nonnegative: bool) -> QuantizerSpec:
        """Description for the conversion."""
        step = self.s.detach().abs().clamp(min=_SMALLEST)
        low = -self.high if self.signed else 0
        return rounding_quantizer(path, step, low, self.high, nonnegative=nonnegative, ties="up")
