"""What happens when one of several training processes is lost: the others end, and one sentence says so."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any

from torch import distributed

__all__ = ["first_to_report", "leaving_its_group", "lost_process", "watch_with"]

_PERIOD = 0.2  # seconds
_REPORTED = threading.Lock()  # taken by whoever notices a loss first: one sentence, not two


@contextmanager
def leaving_its_group() -> Generator[None]:
    """Leave the process group that the block joins, once the block has ended well.

    Lightning leaves NCCL's only. Threads of gloo that outlive the interpreter may end the process with
    ``terminate called without an active exception`` and code 134, after a run that was whole. A group that
    was there before is its maker's to leave; in a run that failed, leaving could wait for lost processes.
    """
    joined = distributed.is_available() and distributed.is_initialized()
    yield
    if not joined and distributed.is_available() and distributed.is_initialized():
        distributed.destroy_process_group()


def lost_process(processes: list[Any], patience: float = 0.0) -> tuple[int, int] | None:
    """Rank and exit code of the first child process that failed, None if none did.

    Args:
        processes: The children, rank 1 first.
        patience: Seconds to wait for one to fail: a lost connection is noticed before the exit code is there.
    """
    end = time.monotonic() + patience
    while True:
        for rank, process in enumerate(processes, start=1):
            code = process.poll()
            if code:
                return rank, code
        if time.monotonic() >= end:
            return None
        time.sleep(_PERIOD)


def first_to_report() -> bool:
    """Whether nobody in this process has reported a lost process yet; the caller is to do so then.

    The main thread notices a lost connection, the observer an exit code, sometimes in the same moment.
    """
    return _REPORTED.acquire(blocking=False)


def watch_with(tell: Callable[[int, int], str]) -> None:
    """Let our observer watch the children that Lightning launches.

    Lightning's own kills all processes with no word to whoever waits; a lost process otherwise leaves the
    others waiting in a collective.

    Args:
        tell: From rank and exit code to the sentence for stderr.
    """
    from lightning.pytorch.strategies.launchers import subprocess_script

    if _REPORTED.locked():
        _REPORTED.release()  # of an earlier run in this process

    def launch(processes: list[Any]) -> None:
        threading.Thread(target=_observe, args=(processes, tell), daemon=True).start()

    subprocess_script._launch_process_observer = launch  # pyright: ignore[reportPrivateImportUsage, reportPrivateUsage]


def _observe(processes: list[Any], tell: Callable[[int, int], str]) -> None:
    while any(process.poll() is None for process in processes):
        time.sleep(_PERIOD)
        found = lost_process(processes)
        if found is not None:
            end_all(processes, f"spikepack: {tell(*found)}")
    found = lost_process(processes)
    if found is not None:
        end_all(processes, f"spikepack: {tell(*found)}")


def end_all(processes: list[Any], sentence: str) -> None:
    """End every process of the run; checkpoints are written whole or not at all, so none is half written."""
    if not first_to_report():
        return  # the main thread does
    print(f"\n{sentence}", file=sys.stderr, flush=True)
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.wait()
    os._exit(1)  # the main thread waits in a collective that no exception can reach
