"""The deadline of a run in this very process leaves the caller's alarm clock as it was."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

import pytest

from lava_bridge.alarm import alarm
from spikejelly_pack.spec.errors import RunError


def test_a_deadline_that_passes_at_the_very_end_stops_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the last line of the block and the stop: the error comes, and none after it."""
    set_timer = signal.setitimer
    struck: list[bool] = []

    def late(which: int, seconds: float, *interval: float) -> Any:
        if seconds == 0 and not struck:
            struck.append(True)
            os.kill(os.getpid(), signal.SIGALRM)
            time.sleep(0)  # the handler runs here at the latest
        return set_timer(which, seconds, *interval)

    monkeypatch.setattr(signal, "setitimer", late)
    try:
        with pytest.raises(RunError, match="late"), alarm(time.monotonic() + 600, lambda: RunError("late")):
            pass
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    finally:
        set_timer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
