"""Observer of one future node: statistics for its threshold, its sign, and what coding will cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ..ops import decode_code, fire, signed_code
from ..spec.errors import DtypeError, UnsupportedError
from ..spec.parameters import NeuronParameters
from .calibration import Calibrator
from .calibration.base import by_channel

__all__ = ["Observer"]

_SAMPLE = 65536


class Observer(nn.Module):
    """Passes its input on and feeds a calibrator with its magnitudes.

    Args:
        path: Name of the future node, for messages.
        calibrator: Collects the statistics.
        unsigned: Whether the values cannot be negative (behind a rectifier).

    Attributes:
        enabled: Whether values are observed; False passes them on only.
        negative: Whether a negative value was seen.
        coding: Threshold and constants of a node it stands in for: then it observes nothing and returns
            what the node would stand for. None: it passes its input on.
    """

    def __init__(self, path: str, calibrator: Calibrator, unsigned: bool) -> None:
        super().__init__()
        self.path, self.calibrator, self.unsigned = path, calibrator, unsigned
        self.enabled = True
        self.negative = False
        self.coding: tuple[Tensor, NeuronParameters] | None = None
        self.sample = torch.empty(0)
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        """Observe ``[N, C, *]`` and return it unchanged; with ``coding``, return it as a node codes it.

        Raises:
            DtypeError: The values are not finite.
        """
        if self.coding is not None:
            theta, parameters = self.coding
            wide = x if x.dtype == torch.float64 else x.float()
            return fire(wide, _shaped(theta, x).to(wide), parameters, True).to(x.dtype)
        values = x.detach()
        if not self.enabled or not values.numel():
            return x
        if not bool(torch.isfinite(values).all()):
            raise DtypeError(
                f"layer {self.path!r}: calibration values must be finite, got NaN or infinity; "
                "clean the calibration data or mend the network."
            )
        self.negative = self.negative or (not self.unsigned and bool((values < 0).any()))
        self.calibrator.observe(by_channel(values.abs(), self.calibrator.channel_wise))
        self.seen += values.numel()
        self.sample = values[: max(1, _SAMPLE // values[0].numel())]
        return x

    def threshold(self, parameters: NeuronParameters) -> Tensor:
        """Threshold ``[C]`` or ``[]``; a channel that never fired takes the largest of the others.

        Raises:
            UnsupportedError: No data came, or every value was zero.
        """
        if not self.seen:
            raise UnsupportedError(
                f"layer {self.path!r}: saw no calibration data; pass data that reaches this layer."
            )
        theta = self.calibrator.threshold(parameters).to(torch.float32)
        if not bool((theta > 0).any()):
            raise UnsupportedError(
                f"layer {self.path!r}: every calibration value was zero; pass data that activates it, "
                "or remove it."
            )
        theta = torch.where(theta > 0, theta, theta.max())
        return theta if self.calibrator.channel_wise and theta.numel() > 1 else theta.reshape(-1)[0]

    def facts(self) -> dict[str, Any]:
        """What was seen, but for the tensors: for JSON."""
        return {"negative": self.negative, "seen": self.seen}

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of what was seen."""
        return {**self.calibrator.state(), "sample": self.sample}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        """Go on from there."""
        self.negative, self.seen = bool(facts["negative"]), int(facts["seen"])
        self.sample = tensors["sample"]
        self.calibrator.restore(tensors)

    def coding_error(self, theta: Tensor, parameters: NeuronParameters) -> tuple[float, float]:
        """Relative squared-error norm and saturated share on the last batch seen, both dimensionless."""
        values = self.sample.to(torch.float32)
        shaped = _shaped(theta, values)
        decoded = decode_code(signed_code(values, shaped, parameters), parameters) * shaped
        norm = float(values.norm())
        error = float((values - decoded).norm()) / norm if norm else 0.0
        return error, float((values.abs() > shaped).float().mean())


def _shaped(theta: Tensor, values: Tensor) -> Tensor:
    """``[C]`` or ``[]`` so that it broadcasts to ``[N, C, *]``."""
    return theta.view((-1,) + (1,) * (values.dim() - 2)) if theta.dim() else theta
