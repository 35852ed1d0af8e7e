"""Identity synapse: spikes times a fixed weight per channel, a skip connection's place for its scale."""

from __future__ import annotations

import torch
from spikingjelly.activation_based import base
from torch import Tensor, nn

__all__ = ["SynapticScale"]


class SynapticScale(nn.Module, base.StepModule):
    """Multiply by a weight per tensor or channel; linear, so it commutes with the charge.

    Args:
        scale: ``[1]`` or ``[C]``.
        step_mode: ``"s"``: ``[N, C, *]``; ``"m"``: ``[T, N, C, *]``.
    """

    scale: Tensor

    def __init__(self, scale: Tensor, step_mode: str = "s") -> None:
        super().__init__()
        self.register_buffer("scale", scale.detach().clone().reshape(-1))
        self.step_mode = step_mode

    def extra_repr(self) -> str:
        """Size of the scale and the step mode."""
        return f"channels={self.scale.numel()}, step_mode={self.step_mode}"

    def forward(self, x: Tensor) -> Tensor:
        """Scale ``x``; shape and dtype are kept."""
        axis = 1 if self.step_mode == "s" else 2
        scale = (
            self.scale if self.scale.numel() == 1 else self.scale.view((-1,) + (1,) * (x.dim() - axis - 1))
        )
        return x * scale.to(x.dtype)


class ChannelConcat(nn.Module, base.StepModule):
    """Concatenate along the channels in single-step (axis 1) and multi-step (axis 2) layout."""

    def __init__(self, step_mode: str = "s") -> None:
        super().__init__()
        self.step_mode = step_mode

    def forward(self, *parts: Tensor) -> Tensor:
        """``[N, C_i, *]`` (``[T, N, C_i, *]``) to one tensor."""
        return torch.cat(parts, dim=1 if self.step_mode == "s" else 2)
