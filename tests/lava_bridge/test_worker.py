"""Whatever happens to caller or worker: an error in time, and no process, shared memory or file is left."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lava_bridge
from lava_bridge.worker import client
from lava_bridge.worker.client import Worker
from lava_bridge.worker.find import Interpreter
from lava_bridge.worker.protocol import from_line, to_line
from spikejelly_pack.spec.errors import RunError

LONG = 20_000  # samples, one after the other: batch=1
SCRIPT = f"""
import signal, sys, numpy, lava_bridge
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
lava_bridge.simulate(sys.argv[1], numpy.zeros(({LONG}, 6)), engine=sys.argv[2], batch=1, progress=False)
"""


@pytest.fixture
def marked(watch: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Mark what this very process starts."""
    name, _, value = watch.mark.partition("=")
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("TMPDIR", str(watch.temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    return watch


def worker_pid(watch: Any) -> int:
    """The marked process that leads a session and runs the server."""
    for pid in watch.pids():
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        if b"lava_bridge.worker.server" in command and os.getsid(pid) == pid:
            return pid
    raise AssertionError("no worker found")


def wait_until_it_runs(watch: Any, engine: str, processes: int) -> None:
    """Lava's runtime maps shared memory; one process alone leaves its recorders' files as a sign."""
    if engine == "inline":
        watch.wait_for_file("record-*.rows")
    else:
        watch.wait_for_run(processes)


@pytest.mark.parametrize(
    ("engine", "how"),
    [(engine, how) for engine in ("loihi", "async", "inline") for how in ("SIGKILL", "SIGTERM", "SIGINT")],
)
def test_killed_caller(engine: str, how: str, lava: Interpreter, watch: Any, small_file: Path) -> None:
    host = watch.start(SCRIPT, small_file, engine)
    wait_until_it_runs(watch, engine, processes=9)
    host.send_signal(getattr(signal, how))
    host.wait(60)
    watch.assert_nothing_left()


@pytest.mark.parametrize(
    ("engine", "how"),
    [
        ("loihi", "SIGKILL"),
        ("loihi", "SIGTERM"),
        ("loihi", "SIGSTOP"),
        ("async", "SIGKILL"),
        ("async", "SIGTERM"),
        ("inline", "SIGKILL"),
        ("inline", "SIGTERM"),
    ],
)
def test_killed_worker(
    engine: str,
    how: str,
    lava: Interpreter,
    marked: Any,
    make_small_net: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client, "GRACE_SECONDS", 0.0)

    struck: list[float] = []

    def strike() -> None:
        wait_until_it_runs(marked, engine, processes=8)
        struck.append(time.monotonic())
        os.kill(worker_pid(marked), getattr(signal, how))

    striker = threading.Thread(target=strike)
    striker.start()
    timeout = 20 if how == "SIGSTOP" else 200  # the run must be there before it is stopped
    text = "gave no answer within 20 seconds" if how == "SIGSTOP" else r"ended without a result \(exit code"
    with pytest.raises(RunError, match=text):
        lava_bridge.simulate(
            make_small_net(), np.zeros((LONG, 6)), engine=engine, batch=1, timeout=timeout, progress=False
        )
    striker.join()
    assert time.monotonic() - struck[0] < 90  # not from the start: Lava's import may take as long
    marked.assert_nothing_left()


@pytest.mark.parametrize("engine", ["loihi", "async", "inline"])
def test_deadline(engine: str, lava: Interpreter, marked: Any, make_small_net: Callable[..., Any]) -> None:
    began = time.monotonic()
    x = np.zeros((10 * LONG, 6))
    with pytest.raises(RunError, match=r"passed its deadline w.*; give it more time or fewer samples"):
        lava_bridge.simulate(make_small_net(), x, engine=engine, batch=1, timeout=3, progress=False)
    assert time.monotonic() - began < 60
    marked.assert_nothing_left()


@pytest.mark.parametrize("engine", ["loihi", "async", "inline"])
def test_good_run_leaves_nothing(
    engine: str, lava: Interpreter, marked: Any, make_small_net: Callable[..., Any]
) -> None:
    lava_bridge.simulate(make_small_net(), np.zeros((3, 6)), engine=engine, progress=False)
    assert marked.pids() == []
    assert list(marked.temporary.iterdir()) == []


@pytest.mark.parametrize("engine", ["loihi", "async"])
def test_two_at_once(engine: str, lava: Interpreter, make_small_net: Callable[..., Any]) -> None:
    network = make_small_net()
    data = [np.random.default_rng(n).random((20, 6)) for n in range(2)]
    alone = [lava_bridge.simulate(network, x, engine="inline", progress=False).membranes["out"] for x in data]
    results: dict[int, Any] = {}

    def simulate(n: int) -> None:
        result = lava_bridge.simulate(network, data[n], engine=engine, progress=False)
        results[n] = result.membranes["out"]

    threads = [threading.Thread(target=simulate, args=(n,)) for n in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(2):
        assert np.array_equal(results[n], alone[n])


def test_worker_reports_what_it_cannot_do(lava: Interpreter, tmp_path: Path) -> None:
    job = {
        "folder": str(tmp_path),
        "network": "none.spk",
        "codes": {},
        "record": [],
        "engine": "loihi",
        "timeout": 100,
    }
    with (
        Worker(lava) as worker,
        pytest.raises(Exception, match=r"none\.spk: must be a file, got nothing") as caught,
    ):
        worker.run(job, 100, lambda _done, _samples: None)
    assert type(caught.value).__name__ == "ExchangeFileError"
    with Worker(lava) as worker, pytest.raises(RunError, match="Lava worker: raised KeyError") as lost:
        worker.run({"folder": str(tmp_path)}, 100, lambda _done, _samples: None)
    assert "Traceback" in lost.value.log  # type: ignore[attr-defined]
    assert worker.process.poll() is not None


def test_what_lingers_is_waited_for(tmp_path: Path) -> None:
    """The resource tracker of a killed worker removes shared memory: it must not be killed while it does."""
    script, done = tmp_path / "python", tmp_path / "done"
    script.write_text(f"#!/bin/sh\n(sleep 1; echo > {done}) &\n")
    script.chmod(0o755)
    worker = Worker(Interpreter(str(script), "3.10", "0.10.0"))
    worker.close(patience=0.1)
    assert done.exists()


def test_what_never_ends_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LINGER_SECONDS", 0.2)
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\n(sleep 100) &\n")
    script.chmod(0o755)
    worker = Worker(Interpreter(str(script), "3.10", "0.10.0"))
    worker.close()
    with pytest.raises(ProcessLookupError):
        os.killpg(worker.process.pid, 0)


def test_lines_of_others_are_ignored() -> None:
    assert from_line(to_line({"kind": "result"})) == {"kind": "result"}
    for line in ("", "noise\n", "@spikepack {broken\n", "@spikepack [1]\n"):
        assert from_line(line) is None
