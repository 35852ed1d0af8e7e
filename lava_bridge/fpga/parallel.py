"""Runs of a tool beside one another, as many as there are processors; what ends one ends all."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from typing import Any, TypeVar

__all__ = ["processors", "side_by_side"]

Result = TypeVar("Result")


class _StoppedError(Exception):
    """Another run failed or was interrupted."""


def processors() -> int:
    """Processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def side_by_side(
    work: Callable[[int, Callable[[str], Any]], Result],
    items: Sequence[int],
    stage: str,
    progress: Callable[[str], Any] = str,
) -> list[Result]:
    """Do ``work(item, tick)`` for every item, several at once.

    Args:
        work: Must call ``tick`` once a second: there it ends when another one failed or the user interrupts.
        items: Numbers that name the runs.
        stage: What they are for; begins the progress line, one for all of them.
        progress: Gets the progress line.

    Returns:
        What each run gave, in the order of the items.
    """
    runs = _Runs(stage, len(items), progress)
    with ThreadPoolExecutor(min(len(items), processors())) as pool:
        futures = [pool.submit(runs.run, work, item) for item in items]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            failures = [future.exception() for future in done if not future.cancelled()]
            for failure in failures:
                if failure is not None and not isinstance(failure, _StoppedError):
                    raise failure
            return [future.result() for future in futures]
        finally:
            runs.stop.set()
            pool.shutdown(wait=False, cancel_futures=True)


class _Runs:
    """What runs now, and how that is told."""

    def __init__(self, stage: str, count: int, progress: Callable[[str], Any]) -> None:
        self.stage, self.count, self.progress = stage, count, progress
        self.stop, self.lock = threading.Event(), threading.Lock()
        self.start, self.running, self.ended = time.monotonic(), list[int](), 0

    def run(self, work: Callable[[int, Callable[[str], Any]], Result], item: int) -> Result:
        with self.lock:
            self.running.append(item)
        try:
            return work(item, self.tick)
        finally:
            with self.lock:
                self.running.remove(item)
                self.ended += 1

    def tick(self, line: str) -> None:
        """Tell all runs in one line instead of ``line``."""
        del line
        if self.stop.is_set():
            raise _StoppedError
        with self.lock:
            names = ", ".join(map(str, sorted(self.running)))
            seconds = time.monotonic() - self.start
            self.progress(
                f"{self.stage}, seed{'s' * (len(self.running) > 1)} {names}, "
                f"{self.ended} of {self.count} done, {seconds:.0f} s"
            )
