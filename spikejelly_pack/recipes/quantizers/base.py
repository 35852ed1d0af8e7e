"""What the conversion has to know about an activation quantizer, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ...layer.scale_chain import ScaleStep
from ...spec.errors import UnsupportedError
from ...spec.parameters import MAX_TIME_STEPS, check_choice

__all__ = ["TIES", "HasQuantizerSpec", "QuantizerSpec", "Reader", "rounding_quantizer", "steps_of_levels"]

TIES = ("up", "even")


@dataclass(frozen=True)
class QuantizerSpec:
    """A uniform activation quantizer ``after(clamp(round(before(x))))`` whose codes are those of a node.

    Attributes:
        time_steps: T: codes 0..2^T - 1 (signed: their magnitude).
        signed: Whether codes can be negative.
        step: Real value of one code step, ``[]`` or ``[C]``.
        before: Operations that turn the membrane into units of the step, in the quantizer's order.
        after: Operations that turn the decoded value ``P / (2^T - 1)`` into the quantizer's output.
        ties: ``"up"`` (half up, signed: half away from zero, as the node does it) or ``"even"``.
        dtype: Float type in which the quantizer computes ``after``; None: that of its input.
    """

    time_steps: int
    signed: bool
    step: Tensor
    before: tuple[ScaleStep, ...]
    after: tuple[ScaleStep, ...]
    ties: str
    dtype: torch.dtype | None = None

    def __post_init__(self) -> None:
        check_choice("QuantizerSpec", "ties", self.ties, TIES)

    @property
    def max_code(self) -> int:
        """Largest magnitude of a code."""
        return (1 << self.time_steps) - 1


#: ``reader(path, module, nonnegative)``: ``nonnegative`` says that a rectifier stands in front.
Reader = Callable[[str, Any, bool], QuantizerSpec]


class HasQuantizerSpec(Protocol):
    """A user's quantizer that describes itself."""

    def spikepack_quantizer(self, path: str, nonnegative: bool) -> QuantizerSpec:
        """Description of this module, which stands at ``path``."""
        ...


def steps_of_levels(path: str, name: str, levels: int) -> int:
    """T with ``levels = 2^T - 1``.

    Raises:
        UnsupportedError: There is none; the message names the nearest usable numbers.
    """
    bits = max(levels, 0).bit_length()
    if levels != (1 << bits) - 1 or not 1 <= bits <= MAX_TIME_STEPS:
        usable = sorted({(1 << min(max(b, 1), MAX_TIME_STEPS)) - 1 for b in (bits - 1, bits)})
        listed = " or ".join(str(value) for value in usable)
        raise UnsupportedError(
            f"layer {path!r}: {name} must be 2^b - 1 with b in 1..{MAX_TIME_STEPS}, got {levels}; "
            f"a code of T binary digits has 2^T - 1 steps, train with {listed}."
        )
    return bits


def check_step(path: str, step: Tensor) -> Tensor:
    """The step, detached.

    Raises:
        UnsupportedError: It is not positive and finite everywhere.
    """
    step = step.detach()
    if step.dim() > 1 or not step.numel() or not bool(((step > 0) & step.isfinite()).all()):
        raise UnsupportedError(
            f"layer {path!r}: the quantizer's scale must be positive and finite, one number or [C], got "
            f"{step.flatten()[:4].tolist()} of shape {tuple(step.shape)}; train or calibrate it first."
        )
    return step.clone() if step.numel() > 1 else step.reshape(-1)[0].clone()


def rounding_quantizer(
    path: str,
    step: Tensor,
    low: int,
    high: int,
    *,
    nonnegative: bool = False,
    ties: str = "even",
    reciprocal: Tensor | None = None,
    dtype: torch.dtype | None = None,
) -> QuantizerSpec:
    """Description of ``clamp(round(x / step), low, high) * step``.

    Args:
        path: Name for messages.
        step: Scale, ``[]`` or ``[C]``.
        low: Smallest code, after subtracting the zero point.
        high: Largest code, after subtracting the zero point.
        nonnegative: Whether a rectifier stands in front: codes below 0 then never occur.
        ties: ``"even"`` (``torch.round``, nearbyint) or ``"up"``.
        reciprocal: ``1 / step`` if the quantizer multiplies by it instead of dividing.
        dtype: See :class:`QuantizerSpec`.

    Raises:
        UnsupportedError: No node has these codes.
    """
    step = check_step(path, step)
    if low > 0 or (low < 0 and low != -high and not nonnegative):
        raise UnsupportedError(
            f"layer {path!r}: the quantizer's codes must start at 0 or be symmetric, got {low}..{high} "
            "around its zero point; a zero point shifts every value by a constant that no spike carries, "
            f"so put a ReLU in front (fused with its layer) or use a symmetric range such as {-high}..{high}."
        )
    signed = low < 0 and not nonnegative
    bits = steps_of_levels(path, "the largest code", high)
    before: ScaleStep = ("div", step) if reciprocal is None else ("mul", reciprocal.detach().reshape(-1))
    full = step.new_tensor(float(high))
    return QuantizerSpec(bits, signed, step, (before,), (("mul", full), ("mul", step)), ties, dtype)


def describe(path: str, module: nn.Module, nonnegative: bool, readers: dict[type, Reader]) -> QuantizerSpec:
    """Description of ``module``: by its own word, else by the reader of exactly its type."""
    reader = readers.get(type(module))
    if reader is not None:
        return reader(path, module, nonnegative)
    own: Any = module
    return own.spikepack_quantizer(path, nonnegative)


def is_quantizer(module: nn.Module, readers: dict[type, Reader]) -> bool:
    """Whether :func:`describe` has a way."""
    return type(module) in readers or callable(getattr(module, "spikepack_quantizer", None))
