"""The Lava end of the worker: one JSON job on standard input, progress and one result on standard output.

Started as ``python3.10 -I -u -m lava_bridge.worker.server``. When the caller is gone (end of input) it
unwinds, which ends Lava's processes and releases their memory, and removes the job's folder.
"""

from __future__ import annotations

import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any

from spikejelly_pack.spec.errors import SpikePackError

from .protocol import from_line, load_arrays, save_arrays, to_line

__all__ = ["main"]

UNWIND_SECONDS = 10.0


class _Speaker:
    """Our lines on the real standard output; what anybody else prints goes to standard error."""

    def __init__(self) -> None:
        self._file = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.set_inheritable(self._file.fileno(), False)
        os.dup2(2, 1)
        self._owner = os.getpid()
        self.unheard = False  # nobody reads any more: seen here before the listener sees the end of input

    def say(self, **message: Any) -> None:
        """Send one message (a forked child stays silent)."""
        if os.getpid() == self._owner:
            try:
                self._file.write(to_line(message))
                self._file.flush()
            except BrokenPipeError:
                self.unheard = True
                raise


class _Listener:
    """Reads jobs with ``os.read`` in a thread.

    ``sys.stdin`` would do harm: a thread that waits in it holds its lock, every forked child inherits the
    lock held, and closing its copy never returns.
    """

    def __init__(self) -> None:
        self.jobs: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self.orphaned = self.finished = False
        self._descriptor = os.dup(0)
        os.set_inheritable(self._descriptor, False)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        pending = b""
        while data := os.read(self._descriptor, 1 << 16):
            *lines, pending = (pending + data).split(b"\n")
            for line in lines:
                message = from_line(line.decode("utf-8") + "\n")
                if message is not None:
                    self.jobs.put(message)
        self.jobs.put(None)
        if self.finished:
            return
        self.orphaned = True
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(UNWIND_SECONDS)
        os.kill(os.getpid(), signal.SIGKILL)  # unwinding hangs: the children die with this process


def _unwind(_signal: int, _frame: Any) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(143)


def _execute(job: dict[str, Any], speaker: _Speaker) -> None:
    from spikejelly_pack.spec import exchange

    from ..job import run_job
    from ..models import Model

    deadline = time.monotonic() + float(job["timeout"])
    folder = Path(job["folder"])
    # Sockets of multiprocessing lie there too, and go with it. Relative, because their paths must be short.
    os.chdir(folder)
    tempfile.tempdir = os.curdir
    outcome = run_job(
        exchange.load(folder / job["network"], verify=False),
        load_arrays(folder, job["codes"]),
        job["record"],
        job["engine"],
        job["spikes"],
        deadline,
        folder,
        lambda done, samples: speaker.say(kind="progress", done=done, samples=samples),
        Model(**job["model"]),
        job["batch"],
    )
    speaker.say(
        kind="result",
        codes=save_arrays(folder, "codes", outcome.codes),
        membranes=save_arrays(folder, "membranes", outcome.membranes),
        overflows=save_arrays(folder, "overflows", outcome.overflows.tables),
        seconds=outcome.seconds,
        steps=outcome.steps,
        processes=outcome.processes,
        lava=outcome.lava,
    )


def _attempt(job: dict[str, Any], speaker: _Speaker) -> int:
    try:
        _execute(job, speaker)
    except SpikePackError as error:
        trace = getattr(error, "log", "") or traceback.format_exc()
        speaker.say(kind="error", type=type(error).__name__, text=str(error), trace=trace)
        return 1
    except Exception as error:  # noqa: BLE001 - reported to the caller, with its traceback
        text = f"Lava worker: raised {type(error).__name__}: {error}; the log has the traceback."
        speaker.say(kind="error", type="RunError", text=text, trace=traceback.format_exc())
        return 1
    return 0


def main() -> int:
    """Do one job; returns the exit code."""
    signal.signal(signal.SIGTERM, _unwind)
    speaker, listener = _Speaker(), _Listener()
    job = listener.jobs.get()
    if job is None:
        return 0
    try:
        code = _attempt(job, speaker)
        listener.finished = True
        return code
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the listener's own must not cut the clean-up short
        if listener.orphaned or speaker.unheard:
            shutil.rmtree(job["folder"], ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
