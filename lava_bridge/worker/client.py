"""The caller's end of the worker: starts it, hands it one job, ends it; nothing is left behind."""

from __future__ import annotations

import logging
import os
import queue
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from typing import Any

from spikejelly_pack.spec import errors
from spikejelly_pack.spec.errors import RunError

from .find import Interpreter, worker_environment
from .protocol import from_line, to_line, well_formed

__all__ = ["GRACE_SECONDS", "Worker", "answer"]

# The worker keeps the deadline itself and cleans up; only one that does not is ended from here.
GRACE_SECONDS = 10.0
# Of what the worker started, only Python's resource tracker outlives it, to remove shared memory; on a busy
# machine that takes a while, and killing it would leave the memory.
LINGER_SECONDS = 20.0
_LOG_CHARACTERS = 20_000
_logger = logging.getLogger(__name__)


class Worker:
    """One worker process for one job; use as a context manager.

    Args:
        interpreter: Python 3.10 with Lava and this code.
    """

    def __init__(self, interpreter: Interpreter) -> None:
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115 (closed in close)
        self._messages: queue.Queue[dict[str, Any] | None] = queue.Queue()
        command = [interpreter.executable, "-I", "-u", "-m", "lava_bridge.worker.server"]
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env=worker_environment(),
            start_new_session=True,  # Ctrl-C reaches the caller only, which then ends the worker in order
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            message = from_line(line)
            if message is not None:
                self._messages.put(message)
        self._messages.put(None)

    def run(self, job: dict[str, Any], timeout: float, report: Callable[[int, int], None]) -> dict[str, Any]:
        """Hand over a job and wait for its result.

        Args:
            job: What :mod:`.server` expects.
            timeout: Seconds the worker has.
            report: Called with samples done and samples in all.

        Raises:
            SpikePackError: What the worker reports, or :class:`RunError` when it dies or does not answer
                in time.
        """
        assert self.process.stdin is not None
        give_up = time.monotonic() + timeout + GRACE_SECONDS
        try:
            self.process.stdin.write(to_line(job))
            self.process.stdin.flush()
        except OSError:
            raise self._died() from None
        while True:
            try:
                message = self._messages.get(timeout=max(0.0, give_up - time.monotonic()))
            except queue.Empty:
                raise self._failure(
                    f"Lava worker: gave no answer within {timeout:g} seconds; "
                    "give it more time or fewer samples."
                ) from None
            if message is None:
                raise self._died()
            result = answer(message, report, self.log)
            if result is not None:
                return result

    def _died(self) -> RunError:
        try:
            code: object = self.process.wait(2)
        except subprocess.TimeoutExpired:
            code = "none yet"
        return self._failure(
            f"Lava worker: ended without a result (exit code {code}); see the log for its last words."
        )

    def _failure(self, text: str, trace: str = "") -> RunError:
        return _with_log(RunError(text), trace or self.log())

    def log(self) -> str:
        """The end of what the worker and Lava wrote to standard error."""
        self._errors.flush()
        self._errors.seek(0)
        return self._errors.read()[-_LOG_CHARACTERS:]

    def close(self, patience: float = 5.0) -> None:
        """End the worker and everything it started; returns when all of it is gone."""
        if self.process.poll() is None and not self._ended(0.5):
            self.process.terminate()  # it unwinds: children ended, shared memory released
            if not self._ended(patience):
                # Its children die with it, and Python's resource tracker, which must not be killed, then
                # removes their shared memory.
                self.process.kill()
                self._ended(patience)
        if not _group_ended(self.process.pid, LINGER_SECONDS):
            os.killpg(self.process.pid, signal.SIGKILL)
            _group_ended(self.process.pid, patience)
        self._reader.join(patience)
        for stream in (self.process.stdin, self.process.stdout, self._errors):
            if stream is not None:
                _close(stream)

    def _ended(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True


def answer(
    message: dict[str, Any], report: Callable[[int, int], None], log: Callable[[], str] = str
) -> dict[str, Any] | None:
    """The result, if the message is one; progress is reported, a message of no known form left out.

    Raises:
        SpikePackError: The worker reports one.
    """
    if not well_formed(message):
        return None
    if message["kind"] == "progress":
        report(message["done"], message["samples"])
        return None
    if message["kind"] == "error":
        known = message["type"] in errors.__all__
        kind = getattr(errors, message["type"]) if known else RunError
        text = message["text"] or "Lava worker: failed without a word; see the log."
        raise _with_log(kind(text), message["trace"] or log())
    return message


def _close(stream: Any) -> None:
    try:
        stream.close()
    except BrokenPipeError:  # what was buffered for a worker that is gone
        return


def _with_log(error: Any, trace: str) -> Any:
    error.log = trace
    _logger.info("%s\n%s", error, trace)
    return error


def _group_ended(group: int, seconds: float) -> bool:
    give_up = time.monotonic() + seconds
    while exists := _group_exists(group):
        if time.monotonic() >= give_up:
            break
        time.sleep(0.01)
    return not exists


def _group_exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
