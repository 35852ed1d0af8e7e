"""A model that fails in any way ends the run in time, with one sentence, and leaves nothing behind."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lava.magma.runtime.message_infrastructure.shared_memory_manager import SharedMemoryManager

import lava_bridge
from lava_bridge.alarm import alarm
from lava_bridge.processes.neuron_models import PySpikePackFixed
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import BoundError, EnvironmentMissingError, RunError, SpikePackError

SAMPLES = 40
SOON = 60.0  # seconds; a fault ends a run within one on a free core, a model that hangs never would
ORIGINAL = PySpikePackFixed.run_spk


@pytest.fixture
def segments(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the shared memory Lava creates; afterwards none may exist, and no child may live."""
    names: list[str] = []
    create = SharedMemoryManager.create_shared_memory

    def remember(self: Any, size: int) -> Any:
        handle = create(self, size)
        names.append(handle.name)
        return handle

    monkeypatch.setattr(SharedMemoryManager, "create_shared_memory", remember)
    yield names
    assert multiprocessing.active_children() == []
    assert [name for name in names if Path("/dev/shm", name.lstrip("/")).exists()] == []


def in_step_9(action: Callable[[Any], None], after_sending: bool = False) -> Callable[[Any], None]:
    """Return a ``run_spk`` that does something bad in time step 9."""

    def run_spk(self: Any) -> None:
        if self.time_step == 9 and not after_sending:
            action(self)
        ORIGINAL(self)
        if self.time_step == 9 and after_sending:
            action(self)

    return run_spk


def raise_error(_model: Any) -> None:
    raise ZeroDivisionError("planted fault")


class Stubborn(Exception):
    """Pickles, but cannot be made from its pickle."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one + two)


def raise_stubborn(_model: Any) -> None:
    raise Stubborn("planted", "fault")


def raise_bound(_model: Any) -> None:
    raise BoundError("neuron 'n1': planted bound.")


def send_wrong_shape(model: Any) -> None:
    model.s_out.send(np.zeros((2, 2), np.int32))


def sleep(_model: Any) -> None:
    time.sleep(1000)


def spin(_model: Any) -> None:
    while True:
        pass


def leave(_model: Any) -> None:
    os._exit(7)


def be_killed(_model: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def run(make_small_net: Any, timeout: float = 200.0, engine: str = "loihi") -> Any:
    network = make_small_net()
    x = np.random.default_rng(0).integers(0, 16, size=(SAMPLES, 6))
    return lava_bridge.simulate(network, x, codes=True, engine=engine, timeout=timeout, progress=False)


RUNTIME = ("loihi", "async")
DIVISION = r"Lava process 'n1' raised ZeroDivisionError: planted fault\.$"
FAULTS = [
    ("raises", in_step_9(raise_error), RunError, DIVISION),
    ("raises-after-sending", in_step_9(raise_error, after_sending=True), RunError, DIVISION),
    ("raises-ours", in_step_9(raise_bound), BoundError, r"^neuron 'n1': planted bound\.$"),
    ("unreadable", in_step_9(raise_stubborn), RunError, r"Lava process 'n1' raised .*cannot be transferred"),
    ("wrong-shape", in_step_9(send_wrong_shape), RunError, r"Lava process 'n1' raised AssertionError"),
    ("exits", in_step_9(leave), RunError, r"the process of 'n1' \(exit code 7\) ended without a word"),
    ("killed", in_step_9(be_killed), RunError, r"the process of 'n1' \(exit code -9\) ended without a word"),
]


@pytest.mark.parametrize("engine", RUNTIME)
@pytest.mark.parametrize(("fault", "error", "text"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_failing_model(
    engine: str,
    fault: Any,
    error: type[SpikePackError],
    text: str,
    make_small_net: Any,
    segments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PySpikePackFixed, "run_spk", fault)
    began = time.monotonic()
    with pytest.raises(error, match=text):
        run(make_small_net, engine=engine)
    assert time.monotonic() - began < SOON
    assert segments


@pytest.mark.parametrize(
    ("fault", "error", "text"),
    [
        (raise_error, RunError, DIVISION),
        (raise_bound, BoundError, r"^neuron 'n1': planted bound\.$"),
        (raise_stubborn, RunError, r"Lava process 'n1' raised Stubborn: plantedfault\.$"),
        (send_wrong_shape, RunError, r"Lava process 'n1' raised ValueError: a message of shape \(2, 2\) was"),
        (sleep, RunError, r"passed its deadline with \d+ of 40 samples done; give it more time"),
        (spin, RunError, r"passed its deadline with \d+ of 40 samples done; give it more time"),
    ],
)
def test_failing_model_in_one_process(
    fault: Any,
    error: type[SpikePackError],
    text: str,
    make_small_net: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PySpikePackFixed, "run_spk", in_step_9(fault))
    began = time.monotonic()
    with pytest.raises(error, match=text):
        run(make_small_net, engine="inline", timeout=1.5 if fault in (sleep, spin) else 200.0)
    assert time.monotonic() - began < SOON
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_alarm_strikes_again_where_its_error_was_swallowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A finalizer or a broad handler of Lava's compiler may be what runs when the deadline passes."""
    monkeypatch.setattr("lava_bridge.alarm.AGAIN_SECONDS", 0.05)
    swallowed = []

    def swallow_twice() -> None:
        for _ in range(2):
            try:
                spin(None)
            except RunError as error:
                swallowed.append(error)
        spin(None)

    with pytest.raises(RunError, match="late"), alarm(time.monotonic() + 0.05, lambda: RunError("late")):
        swallow_twice()
    assert len(swallowed) == 2


def test_one_process_keeps_its_deadline_where_the_alarm_is_not_its_own(
    make_small_net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In another thread, or beside a program that uses the alarm: looked at after every time step."""
    monkeypatch.setattr(PySpikePackFixed, "run_spk", in_step_9(lambda _model: time.sleep(0.6)))
    failures = []

    def simulate() -> None:
        with pytest.raises(RunError, match=r"passed its deadline with \d+ of 40 samples done"):
            run(make_small_net, engine="inline", timeout=0.5)
        failures.append("seen")

    thread = threading.Thread(target=simulate)
    thread.start()
    thread.join()
    monkeypatch.setattr(signal, "getsignal", lambda _number: lambda *_: None)
    simulate()
    assert failures == ["seen"] * 2


@pytest.mark.parametrize("engine", ["loihi", "async", "inline"])
def test_log_holds_the_traceback_of_the_child(
    engine: str, make_small_net: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "lava_bridge")
    monkeypatch.setattr(PySpikePackFixed, "run_spk", in_step_9(raise_error))
    with pytest.raises(RunError) as caught:
        run(make_small_net, engine=engine)
    assert "Traceback" in caught.value.log  # type: ignore[attr-defined]
    assert "in raise_error" in caught.value.log  # type: ignore[attr-defined]
    assert "in raise_error" in caplog.text


@pytest.mark.parametrize("engine", RUNTIME)
@pytest.mark.parametrize("action", [sleep, spin])
def test_hanging_model_ends_at_the_deadline(
    engine: str, action: Any, make_small_net: Any, segments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PySpikePackFixed, "run_spk", in_step_9(action))
    text = r"passed its deadline while (\w+) .*; give it more time"
    for timeout in (2.0, 10.0, 40.0):  # on a busy machine the first may pass before the models are built
        began = time.monotonic()
        with pytest.raises(RunError, match=text) as late:
            run(make_small_net, timeout=timeout, engine=engine)
        assert timeout - 0.5 < time.monotonic() - began < timeout + SOON
        if "while executing time steps;" in str(late.value):
            break
    else:
        pytest.fail(str(late.value))
    assert segments


@pytest.mark.parametrize("engine", RUNTIME)
@pytest.mark.parametrize(
    ("action", "text"),
    [
        (raise_error, r"Lava process 'n1' raised ZeroDivisionError"),
        (leave, r"the process of 'n1' \(exit code 7\) ended without a word"),
        (sleep, r"passed its deadline while building the models"),
    ],
)
def test_model_that_fails_while_it_is_built(
    engine: str,
    action: Any,
    text: str,
    make_small_net: Any,
    segments: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PySpikePackFixed, "__init__", lambda self, _params: action(self))
    with pytest.raises(RunError, match=text):
        run(make_small_net, timeout=3.0 if action is sleep else 200.0, engine=engine)
    assert segments


@pytest.mark.parametrize("engine", RUNTIME)
def test_a_good_run_follows_a_failed_one(
    engine: str, make_small_net: Any, segments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run(make_small_net, engine="inline").membranes["out"]
    with monkeypatch.context() as patch:
        patch.setattr(PySpikePackFixed, "run_spk", in_step_9(raise_error))
        with pytest.raises(RunError):
            run(make_small_net, engine=engine)
    assert np.array_equal(run(make_small_net, engine=engine).membranes["out"], expected)


@pytest.mark.parametrize("engine", RUNTIME)
def test_low_limit_of_file_descriptors(engine: str, make_small_net: Any, segments: list[str]) -> None:
    """Lava hangs silently when descriptors run out; the limit is raised for the run and put back."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    low = len(os.listdir("/proc/self/fd")) + 16
    resource.setrlimit(resource.RLIMIT_NOFILE, (low, hard))
    try:
        result = run(make_small_net, engine=engine)
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (low, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert result.samples == SAMPLES


def test_start_method_of_the_host_program(make_small_net: Any, tmp_path: Path) -> None:
    """Lava insists on setting it; ``fork`` set before is fine, anything else is refused in one sentence."""
    path = tmp_path / "net.spk"
    exchange.save(make_small_net(), path)
    script = (
        "import multiprocessing, numpy, sys, lava_bridge\n"
        "multiprocessing.set_start_method(sys.argv[2])\n"
        "lava_bridge.simulate(sys.argv[1], numpy.zeros((2, 6)), engine='loihi', progress=False)\n"
        "print('fine')\n"
    )

    def start(method: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", script, str(path), method]
        return subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)

    fine, refused = start("fork"), start("spawn")
    assert fine.stdout.endswith("fine\n"), fine.stderr
    assert f"{EnvironmentMissingError.__name__}: Lava: needs multiprocessing's start method" in refused.stderr


SCRIPT = """
import signal, sys, numpy, lava_bridge
signal.signal(signal.SIGINT, signal.default_int_handler)  # a test run in the background ignores it
lava_bridge.simulate(sys.argv[1], numpy.zeros((20000, 6)), engine=sys.argv[2], batch=1, progress=False)
"""


@pytest.mark.parametrize(
    ("engine", "how"),
    [
        *((engine, how) for engine in RUNTIME for how in ("SIGKILL", "SIGTERM", "SIGINT to the group")),
        ("loihi", "SIGINT"),
        ("inline", "SIGKILL"),
        ("inline", "SIGTERM"),
        ("inline", "SIGINT to the group"),
    ],
)
def test_killed_host_program_leaves_nothing(
    engine: str, how: str, make_small_net: Any, watch: Any, tmp_path: Path
) -> None:
    path = tmp_path / "net.spk"
    exchange.save(make_small_net(), path)
    host = watch.start(SCRIPT, path, engine)
    if engine == "inline":
        watch.wait_for_file("record-*.rows")
    else:
        watch.wait_for_run(processes=7)
    if how.endswith("group"):
        os.killpg(host.pid, signal.SIGINT)
    else:
        os.kill(host.pid, getattr(signal, how))
    host.wait(60)
    # Killed outright, Python gets no chance to remove its temporary folder; the worker does that.
    watch.assert_nothing_left(files="SIGINT" in how)
