"""QCFS: quantization clip-floor-shift activation (Bu et al., ICLR 2022, arXiv 2303.04347)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ...spec.errors import ParameterError
from ...spec.parameters import check_choice
from .base import QuantizerSpec, check_step, steps_of_levels

__all__ = ["QCFSActivation", "qcfs_spec"]


class _FloorStraightThrough(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.floor()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        return None

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        return grad_outputs[0]


def floor_straight_through(x: Tensor) -> Tensor:
    """``floor(x)`` with the gradient of the identity."""
    return _FloorStraightThrough.apply(x)


class QCFSActivation(nn.Module):
    """``theta * floor(L * clamp(x / theta, 0, 1) + 1/2) / L`` with a learned threshold theta.

    Args:
        levels: L; convertible where L = 2^b - 1.
        threshold: Starting theta, in units of the activation.

    Raises:
        ParameterError: ``levels`` or ``threshold`` is not positive.
    """

    def __init__(self, levels: int = 15, threshold: float = 1.0) -> None:
        super().__init__()
        if levels < 1 or not threshold > 0:
            raise ParameterError(
                f"QCFSActivation: levels and threshold must be positive, got {levels} and {threshold}; "
                "use for example levels=15, threshold=1.0."
            )
        self.levels = int(levels)
        self.threshold = nn.Parameter(torch.tensor(float(threshold)))

    def extra_repr(self) -> str:
        """Number of levels."""
        return f"levels={self.levels}"

    def forward(self, x: Tensor) -> Tensor:
        """Quantize ``x``; any shape."""
        share = torch.clamp(x / self.threshold, 0.0, 1.0)
        full = x.new_full((), self.levels)  # divided by a number, some devices multiply by its reciprocal
        return floor_straight_through(share * full + 0.5) / full * self.threshold

    def spikepack_quantizer(self, path: str, nonnegative: bool) -> QuantizerSpec:
        """Description for the conversion."""
        return qcfs_spec(path, self.threshold, self.levels)


def qcfs_spec(path: str, threshold: Tensor, levels: int, order: str = "divide_first") -> QuantizerSpec:
    """Description of a QCFS activation, whichever class it has.

    Args:
        path: Name for messages.
        threshold: theta, ``[]`` or ``[C]``.
        levels: L.
        order: ``"divide_first"``: ``(x / theta) * L``; ``"multiply_first"``: ``(x * L) / theta``.

    Raises:
        UnsupportedError: L is not 2^b - 1.
    """
    check_choice("qcfs_spec", "order", order, ("divide_first", "multiply_first"))
    theta = check_step(path, threshold)
    bits = steps_of_levels(path, "the number L of QCFS levels", levels)
    full = theta.new_tensor(float(levels))
    before = (("div", theta), ("mul", full))
    if order == "multiply_first":
        before = before[::-1]
    return QuantizerSpec(bits, False, theta / levels, before, (("mul", theta),), "up")
