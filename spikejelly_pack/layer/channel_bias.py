"""A constant current per channel."""

from __future__ import annotations

from spikingjelly.activation_based import base
from torch import Tensor, nn

__all__ = ["ChannelBias"]


class ChannelBias(nn.Module, base.StepModule):
    """Add a constant to every channel at every step; the charge weights sum to 1, so it commutes with them.

    Args:
        bias: ``[C]``.
        step_mode: ``"s"``: ``[N, C, *]``; ``"m"``: ``[T, N, C, *]``.
    """

    bias: Tensor

    def __init__(self, bias: Tensor, step_mode: str = "s") -> None:
        super().__init__()
        self.register_buffer("bias", bias.detach().clone().reshape(-1))
        self.step_mode = step_mode

    def extra_repr(self) -> str:
        """Size of the bias and the step mode."""
        return f"channels={self.bias.numel()}, step_mode={self.step_mode}"

    def forward(self, x: Tensor) -> Tensor:
        """Shift ``x``; shape and dtype are kept."""
        axis = 1 if self.step_mode == "s" else 2
        return x + self.bias.to(x.dtype).view((-1,) + (1,) * (x.dim() - axis - 1))
