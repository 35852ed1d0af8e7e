"""A request to terminate ends a command as the interrupt key does."""

from __future__ import annotations

import signal
from collections.abc import Generator
from contextlib import contextmanager
from typing import NoReturn

__all__ = ["terminable"]


@contextmanager
def terminable() -> Generator[None]:
    """In the block, SIGTERM ends what was started and removes what is half written, then the command."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
