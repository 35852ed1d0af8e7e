"""What both Lava rooms share: networks of the spec room, and a watch on processes and shared memory."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from spikejelly_pack.spec import graph as g


def load_spec_room() -> ModuleType:
    """Import the conftest of the spec room: its networks and its independent interpreter."""
    path = Path(__file__).parents[1] / "spec" / "conftest.py"
    spec = importlib.util.spec_from_file_location("spikepack_tests_spec_room", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SPEC_ROOM = load_spec_room()
residual_net = SPEC_ROOM.residual_net
golden = SPEC_ROOM.golden
interpreter = SPEC_ROOM.interpreter


@pytest.fixture(scope="session")
def net_builder() -> Any:
    """Return the builder of random networks, which draws from the operations that have a rule here."""
    from lava_bridge.rules import RULES

    return type("Builder", (SPEC_ROOM.NetBuilder,), {"kinds": frozenset(RULES)})


def same(actual: dict[str, Any], expected: dict[str, Any], names: Any) -> None:
    """Compare integers of every name: values and shape."""
    for name in names:
        wanted = np.asarray(expected[name], dtype=np.int64)
        assert actual[name].shape == wanted.shape, name
        assert np.array_equal(actual[name].astype(np.int64), wanted), name


@pytest.fixture(scope="session")
def assert_same() -> Callable[..., None]:
    return same


def small_net(time_steps: int = 4, seed: int = 3, state_bits: int = 32) -> g.Network:
    """Return two dense layers on 6 inputs."""
    rng = np.random.default_rng(seed)
    w1 = rng.integers(-128, 128, size=(5, 6)).astype(np.int32)
    w2 = rng.integers(-128, 128, size=(3, 5)).astype(np.int32)
    theta = rng.integers(1, 90, size=5).astype(np.int32)
    bias = rng.integers(-300, 300, size=5).astype(np.int32)
    ops = [
        g.Input(
            name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(6,), time_steps=min(time_steps, 8)
        ),
        g.Dense(name="fc1", inputs=("x",), weight_bits=8, weight=w1),
        g.Neuron(
            name="n1",
            inputs=("fc1",),
            threshold=theta,
            bias=bias,
            time_steps=time_steps,
            state_bits=state_bits,
        ),
        g.Dense(name="fc2", inputs=("n1",), weight_bits=8, weight=w2),
        g.Readout(name="out", inputs=("fc2",), scale=np.ones(3), bias=bias[:3], state_bits=32),
    ]
    return g.Network(ops, time_steps)


def wide_net(side: int) -> g.Network:
    """Return an image of one channel through one neuron per pixel: large messages, few operations."""
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1, side, side), time_steps=2),
        g.Scale(name="a", inputs=("x",), weight_bits=8, multiplier=np.array([3], np.int32)),
        g.Neuron(
            name="n",
            inputs=("a",),
            threshold=np.array([2], np.int32),
            bias=np.zeros(1, np.int32),
            time_steps=2,
        ),
        g.Scale(name="b", inputs=("n",), weight_bits=8, multiplier=np.array([3], np.int32)),
        g.Readout(name="out", inputs=("b",), scale=np.ones(1), bias=np.zeros(1, np.int32)),
    ]
    return g.Network(ops, 2)


@pytest.fixture(scope="session")
def make_wide_net() -> Callable[[int], g.Network]:
    return wide_net


@pytest.fixture(scope="session")
def make_small_net() -> Callable[..., g.Network]:
    return small_net


def watched(network: g.Network) -> g.Network:
    """Return the network with a readout beside every neuron: the membrane that the neuron fires from."""
    beside = [
        g.Readout(
            name=f"{op.name}/membrane",
            inputs=op.inputs,
            scale=np.ones(len(op.bias)),
            bias=op.bias,
            state_bits=32,
        )
        for op in network.neurons
    ]
    return g.Network([*network.ops.values(), *beside], network.time_steps, windows=network.windows)


@pytest.fixture(scope="session")
def with_membranes() -> Callable[[g.Network], g.Network]:
    return watched


class Watch:
    """Finds the processes of a test by a mark in their environment, and the shared memory they map."""

    def __init__(self, folder: Path) -> None:
        self.mark = f"SPIKEPACK_TEST_MARK={os.getpid()}-{time.monotonic_ns()}"
        self.temporary = folder / "temporary"
        self.temporary.mkdir()
        self.segments: set[str] = set()
        self.started: list[subprocess.Popen[str]] = []

    def start(self, script: str, *arguments: object, prefix: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start a marked Python script in a session of its own, perhaps through another command."""
        name, _, value = self.mark.partition("=")
        environment = {**os.environ, name: value, "TMPDIR": str(self.temporary)}
        process = subprocess.Popen(
            [*prefix, sys.executable, "-c", script, *map(str, arguments)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def pids(self) -> list[int]:
        """Return the living marked processes."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if not entry.name.isdigit() or self.mark.encode() not in (entry / "environ").read_bytes():
                    continue
                if (entry / "stat").read_text().rpartition(")")[2].split()[0] != "Z":
                    found.append(int(entry.name))
            except (OSError, ProcessLookupError):
                continue
        return found

    def remember_segments(self) -> None:
        """Note the shared memory that marked processes map now."""
        for pid in self.pids():
            try:
                lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
            except OSError:
                continue
            self.segments |= {line.split()[-1] for line in lines if "/dev/shm/psm_" in line}

    def wait_for_run(self, processes: int, seconds: float = 60.0) -> None:
        """Return when that many marked processes run, map shared memory, and no more are made."""
        give_up = time.monotonic() + seconds
        while time.monotonic() < give_up:
            if len(self.pids()) >= processes:
                self.remember_segments()
                before = set(self.segments), self.pids()
                time.sleep(
                    0.3
                )  # in the midst of the run: between making memory and registering it, it is lost
                self.remember_segments()
                if self.segments and before == (self.segments, self.pids()):
                    return
            if self.started and self.started[-1].poll() is not None:
                break
            time.sleep(0.02)
        said = self.started[-1].communicate(timeout=5)[0] if self.started else "no process of its own"
        raise AssertionError(f"the run never started: {said}")

    def wait_for_file(self, pattern: str, seconds: float = 60.0) -> None:
        """Return when a marked process has made such a file, and a little later."""
        give_up = time.monotonic() + seconds
        while not list(self.temporary.rglob(pattern)):
            assert time.monotonic() < give_up
            assert not self.started or self.started[-1].poll() is None
            time.sleep(0.02)
        time.sleep(0.3)  # in the midst of the run

    def assert_nothing_left(self, seconds: float = 20.0, files: bool = True) -> None:
        """Fail unless all marked processes, their shared memory and their files are gone in time."""
        give_up = time.monotonic() + seconds
        while self.pids() and time.monotonic() < give_up:
            time.sleep(0.05)
        assert self.pids() == []
        assert [name for name in self.segments if Path(name).exists()] == []
        assert not files or list(self.temporary.iterdir()) == []

    def close(self) -> None:
        """End what a failed test left."""
        for pid in self.pids():
            os.kill(pid, signal.SIGKILL)
        for process in self.started:
            process.communicate(timeout=10)


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Watch]:
    watcher = Watch(tmp_path)
    yield watcher
    watcher.close()
