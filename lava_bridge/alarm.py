"""A deadline for code in this very process, which no parent could end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

__all__ = ["alarm"]

AGAIN_SECONDS = 1.0


@contextmanager
def alarm(deadline: float, error: Callable[[], Exception]) -> Generator[None]:
    """Raise ``error()`` in the block when the deadline passes, even out of a model that never returns.

    A signal does this: only in the main thread, and only where nobody else uses the alarm clock; elsewhere
    the block has to look at the time itself.

    Args:
        deadline: ``time.monotonic()`` at which to raise.
        error: Makes the exception.
    """
    here = threading.current_thread() is threading.main_thread() and hasattr(signal, "setitimer")
    if not here or signal.getsignal(signal.SIGALRM) is not signal.SIG_DFL:
        yield
        return

    def strike(_signal: int, _frame: Any) -> None:
        raise error()

    signal.signal(signal.SIGALRM, strike)
    # Again and again: a single exception may be swallowed where it strikes, in a finalizer for instance.
    signal.setitimer(signal.ITIMER_REAL, max(deadline - time.monotonic(), 1e-6), AGAIN_SECONDS)
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # twice: it may strike between the end of the block and the line above
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
