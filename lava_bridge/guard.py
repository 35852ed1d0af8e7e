"""Children of a Lava run never outlive it (Linux).

Lava forks one process per Process and waits for them without a limit: an error in one leaves all others
asleep for ever, a killed parent leaves orphans and shared memory. While a guard is open, every forked
child ignores Ctrl-C (the parent ends it), dies with its parent, and the parent has as many file
descriptors as the system allows (Lava hangs silently when they run out).
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager

from spikejelly_pack.spec.errors import EnvironmentMissingError

__all__ = ["guarded_children"]

_PR_SET_PDEATHSIG = 1
_LIBC: ctypes.CDLL | None = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class _State:
    lock = threading.Lock()
    open_guards = 0
    limits: tuple[int, int] | None = None  # those of the process, while a guard has raised them
    hooks_set = False
    parent = 0


def _before_fork() -> None:
    _State.parent = os.getpid()


def _in_child() -> None:
    if not _State.open_guards or _LIBC is None:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != _State.parent:  # it died before the line above took effect
        os._exit(1)


@contextmanager
def guarded_children() -> Generator[None]:
    """Guard every process forked in the block by this thread (they must end before the block does).

    Raises:
        EnvironmentMissingError: The system is not Linux.
    """
    if _LIBC is None:
        raise EnvironmentMissingError(
            f"engines 'loihi' and 'async': need Linux to end their processes reliably, got {sys.platform}; "
            "use engine 'inline'."
        )
    _open()
    try:
        yield
    finally:
        _close()


def _open() -> None:
    """The first guard raises the limit: it belongs to the process, not to one of several runs in threads."""
    with _State.lock:
        if not _State.hooks_set:
            os.register_at_fork(before=_before_fork, after_in_child=_in_child)
            _State.hooks_set = True
        if not _State.open_guards:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
            if soft != resource.RLIM_INFINITY and soft < wanted:
                resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
                _State.limits = soft, hard
        _State.open_guards += 1


def _close() -> None:
    """The last guard puts the limit back."""
    with _State.lock:
        _State.open_guards -= 1
        if not _State.open_guards and _State.limits is not None:
            resource.setrlimit(resource.RLIMIT_NOFILE, _State.limits)
            _State.limits = None
