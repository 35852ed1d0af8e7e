"""Random changes of training samples; torch's global generator, which every epoch seeds."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import Dataset

__all__ = ["Augmented", "flip", "shift"]


class Augmented(Dataset[Any]):
    """A data set whose inputs are changed when they are read."""

    def __init__(self, part: Dataset[Any], *changes: Callable[[Tensor], Tensor]) -> None:
        self.part, self.changes = part, changes

    def __len__(self) -> int:
        return len(cast(Sized, self.part))

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Item ``index``, its input changed."""
        x, target = self.part[index]
        for change in self.changes:
            x = change(x)
        return x, target


def shift(x: Tensor, share: float = 0.1) -> Tensor:
    """Move the last two axes by up to a tenth of the height, all frames alike; what leaves is lost."""
    reach = max(1, int(share * x.shape[-2]))
    moved = torch.zeros_like(x)
    down, right = torch.randint(-reach, reach + 1, (2,)).tolist()
    height, width = x.shape[-2:]
    source = x[..., max(0, -down) : height - max(0, down), max(0, -right) : width - max(0, right)]
    moved[..., max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)] = source
    return moved


def flip(x: Tensor) -> Tensor:
    """Mirror left and right, every second time."""
    return x.flip(-1) if bool(torch.randint(2, (1,))) else x
