"""Training and evaluation mode for a while: afterwards every module has its own mode again.

``net.train(mode)`` would not do: it sets all modules alike, those that were frozen too.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from torch import nn

__all__ = ["evaluating", "keeping_modes"]


@contextmanager
def keeping_modes(net: nn.Module) -> Generator[None]:
    """Whatever the block sets, every module's own mode comes back."""
    before = {module: module.training for module in net.modules()}
    try:
        yield
    finally:
        for module, mode in before.items():
            module.training = mode


@contextmanager
def evaluating(net: nn.Module) -> Generator[None]:
    """Evaluation mode for the block."""
    with keeping_modes(net):
        net.eval()
        yield
