"""Weight quantizers: ``weight -> s k`` with integers k and one scale s per output channel, 1 to 16 bits.

Gradients are those of LSQ (Esser et al., ICLR 2020, arXiv 1902.08153): straight through rounding inside the
range, 0 outside for the weight; for the scale ``k - w / s`` inside and ``+-peak`` outside, times the LSQ
gradient scale ``1 / sqrt(n peak)``, n the weights that share a scale.

A registry: a new family is a subclass and one line in :data:`WEIGHT_QUANTIZERS`.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ...ops import scale_gradient
from ...spec.errors import ParameterError
from .scale import SMALLEST_SCALE, binary_scale, least_squares_scale

__all__ = [
    "EXPORTABLE_BITS", "MAX_BITS", "WEIGHT_QUANTIZERS", "BinaryWeight", "SymmetricWeight", "TernaryWeight",
    "WeightQuantizer", "check_bits", "quantizer_class",
]  # fmt: skip

MAX_BITS = 16
#: Wider weights have no integer form: synapses of the targets hold 8 bits.
EXPORTABLE_BITS = 8


def check_bits(value: Any, owner: str) -> int:
    """Return a weight width 1..16, or raise :class:`ParameterError` naming ``owner``."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    if not whole or not 1 <= value <= MAX_BITS:
        raise ParameterError(
            f"{owner}: weight bits must be an integer in 1..{MAX_BITS}, got {value!r}; 1 is binary, 2 "
            "ternary, 8 the widest with an integer form."
        )
    return int(value)


class WeightQuantizer(nn.Module):
    """A parametrization of a weight: quantized values forward, LSQ gradients backward.

    The scale starts where the squared error is least. With ``training=False`` it stays there, as a buffer;
    with ``training=True`` it is a parameter.

    Args:
        bits: b_w, 1..16.
        weight: The weight it starts from.
        axis: Its axis of output channels.
        training: Learn the scale.

    Raises:
        ParameterError: The family has no such width.
    """

    #: Widths of the family.
    widths: ClassVar[range] = range(0)
    scale: Tensor

    def __init__(self, bits: int, weight: Tensor, *, axis: int = 0, training: bool = False) -> None:
        super().__init__()
        self.bits = check_bits(bits, type(self).__name__)
        if self.bits not in self.widths:
            raise ParameterError(
                f"{type(self).__name__}: bits must be in {self.widths.start}..{self.widths.stop - 1}, got "
                f"{bits}; choose another quantizer."
            )
        self.axis = axis
        start = self.best_scale(self._rows(weight.detach()).double())
        start = start.to(weight).clamp(min=SMALLEST_SCALE)
        if training:
            self.scale = nn.Parameter(start)
        else:
            self.register_buffer("scale", start)

    @property
    def peak(self) -> int:
        """Largest integer, ``2^(b-1) - 1``; binary: 1."""
        return max(1, (1 << (self.bits - 1)) - 1)

    @property
    def exportable(self) -> bool:
        """Whether the integer form can hold these weights."""
        return self.bits <= EXPORTABLE_BITS

    def best_scale(self, rows: Tensor) -> Tensor:
        """Scales ``[C]`` of least squared error for ``[C, K]``."""
        raise TypeError(f"{type(self).__name__} must define best_scale")

    def code(self, share: Tensor) -> Tensor:
        """Integers of ``w / s`` already clamped to the range, as floats."""
        return share.round()

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized weight."""
        scale = self.scale.abs().clamp(min=SMALLEST_SCALE)
        if isinstance(self.scale, nn.Parameter):
            sharing = weight.numel() // weight.shape[self.axis]
            scale = scale_gradient(scale, 1.0 / math.sqrt(sharing * self.peak))
        shape = [1] * weight.dim()
        shape[self.axis] = -1
        scale = scale.view(shape)
        share = (weight / scale).clamp(-self.peak, self.peak)
        return (share + (self.code(share) - share).detach()) * scale

    @torch.no_grad()
    def integers(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Integers k (int32, of the weight's shape) and scales ``[C]``: their product is the output."""
        shape = [1] * weight.dim()
        shape[self.axis] = -1
        scale = self.scale.detach().abs().clamp(min=SMALLEST_SCALE)
        share = (weight.detach() / scale.view(shape)).clamp(-self.peak, self.peak)
        return self.code(share).to(torch.int32), scale

    @torch.no_grad()
    def rescale(self, weight: Tensor, factor: float) -> None:
        """Make the float weight and the scale ``factor`` times as large, in place; the integers stay."""
        before, scale = self.integers(weight)
        weight.mul_(factor)
        self.scale.copy_(scale * factor)
        after, scale = self.integers(weight)
        shape = [1] * weight.dim()
        shape[self.axis] = -1
        # A weight within rounding of a tie could have moved.
        weight.copy_(torch.where(after == before, weight, before.to(weight) * scale.view(shape)))

    def _rows(self, weight: Tensor) -> Tensor:
        return weight.movedim(self.axis, 0).reshape(weight.shape[self.axis], -1)

    def extra_repr(self) -> str:
        """Width and whether the scale is learned."""
        return f"bits={self.bits}, learned={isinstance(self.scale, nn.Parameter)}"


class BinaryWeight(WeightQuantizer):
    """One bit: ``k`` in {-1, 1}, zero counts as positive; starts at the mean magnitude (XNOR-Net)."""

    widths = range(1, 2)

    def best_scale(self, rows: Tensor) -> Tensor:
        return binary_scale(rows)

    def code(self, share: Tensor) -> Tensor:
        return torch.where(share < 0, -torch.ones_like(share), torch.ones_like(share))


class SymmetricWeight(WeightQuantizer):
    """Three to sixteen bits: ``k`` in -(2^(b-1) - 1)..2^(b-1) - 1."""

    widths = range(3, MAX_BITS + 1)

    def best_scale(self, rows: Tensor) -> Tensor:
        return least_squares_scale(rows, self.peak)


class TernaryWeight(SymmetricWeight):
    """Two bits: ``k`` in {-1, 0, 1}."""

    widths = range(2, 3)


#: Family -> class.
WEIGHT_QUANTIZERS: dict[str, type[WeightQuantizer]] = {
    "binary": BinaryWeight,
    "ternary": TernaryWeight,
    "symmetric": SymmetricWeight,
}


def quantizer_class(bits: int) -> type[WeightQuantizer]:
    """The family that has this width.

    Raises:
        ParameterError: The width is outside 1..16.
    """
    bits = check_bits(bits, "quantize_weights")
    return next(cls for cls in WEIGHT_QUANTIZERS.values() if bits in cls.widths)
