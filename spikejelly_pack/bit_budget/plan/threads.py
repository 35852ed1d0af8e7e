"""Hundreds of short forward passes, each too small to share between threads."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import torch

__all__ = ["SMALL", "few_threads"]

#: Multiply-accumulates of one pass, about a millisecond of one core. Below it threads gain little, and on a
#: machine with other work they spend their time waiting for each other.
SMALL = 20_000_000


@contextmanager
def few_threads(macs: int) -> Generator[None]:
    """One thread for torch inside, where a pass does less than :data:`SMALL`; the number before it after.

    Args:
        macs: Multiply-accumulates of one pass.
    """
    before = torch.get_num_threads()
    if macs < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
