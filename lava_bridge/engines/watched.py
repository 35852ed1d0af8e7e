"""Lava's own runtime, watched: one operating system process per Lava Process.

Stock Lava waits without a limit for children that have failed. Here the runtime is started without
blocking and watched: a child that raises, dies or hangs ends the run with one sentence, and whatever happens
no process and no shared memory is left.
"""

from __future__ import annotations

import math
import mmap
import multiprocessing
import os
import pickle
import queue
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from lava.magma.core.process.message_interface_enum import ActorType
from lava.magma.core.run_conditions import RunSteps
from lava.magma.runtime.runtime import Runtime

from spikejelly_pack.spec.errors import RunError, SpikePackError

from ..assembly import Assembly
from ..guard import guarded_children
from .configuration import CHANNEL_SIZE

__all__ = ["check_shared_memory", "run_watched"]

POLL_SECONDS = 0.005
REPORT_SECONDS = 0.2
SHARED_MEMORY = "/dev/shm"
# How long to wait for the traceback of a child that is known to have failed.
TRACEBACK_SECONDS = 1.0
_UNREADABLE = (EOFError, OSError, TypeError, AttributeError, ImportError, pickle.UnpicklingError)

Report = Callable[[int, int], None]


class _WatchedRuntime(Runtime):
    """Lava's runtime with every wait for a child bounded and watched."""

    def __init__(self, executable: Any, names: list[str], deadline: float) -> None:
        super().__init__(executable, ActorType.MultiProcessing)
        self.names, self.deadline = names, deadline

    def initialize(self, node_cfg_idx: int = 0) -> None:
        """As Lava's, but the wait for the models to build looks at the children and at the clock."""
        self._build_watchdog_manager()
        self._build_message_infrastructure()
        self._build_channels()
        self._build_sync_channels()
        self._build_processes()
        self._build_runtime_services()
        self._start_ports()
        for waiting in self.exception_q:
            while True:
                try:
                    error = waiting.get(timeout=0.05)
                    break
                except queue.Empty:
                    self.check("building the models")
            if error is not None:
                self.fail()
        self.exception_q.clear()
        self._is_initialized = True

    @property
    def actors(self) -> list[Any]:
        """Children that execute models and services (ended by now or not)."""
        return list(self._messaging_infrastructure.actors)

    def check(self, stage: str) -> None:
        """Raise if a child is gone or the deadline has passed."""
        if any(not _alive(actor) for actor in self.actors):
            self.fail()
        if time.monotonic() > self.deadline:
            raise RunError(
                f"Lava run: passed its deadline while {stage}; give it more time or fewer samples."
            )

    def fail(self) -> None:
        """Raise the error of the child that failed; its traceback is in the error's ``log``."""
        give_up = time.monotonic() + TRACEBACK_SECONDS
        while time.monotonic() < give_up:
            for name, actor in zip([*self.names, "runtime service"], self.actors, strict=False):
                if found := _error_of(actor):
                    error, trace = found
                    _raise_for(name, error, trace)
            time.sleep(POLL_SECONDS)
        ended = [
            f"{name!r} (exit code {actor.exitcode})"
            for name, actor in zip([*self.names, "runtime service"], self.actors, strict=False)
            if not _alive(actor)
        ]
        raise RunError(
            f"Lava run: the process of {', '.join(ended) or 'an unknown model'} ended without a word; "
            "look for a crash or a lack of memory."
        )

    def execute(self, steps: int, progress: Callable[[], None]) -> None:
        """All time steps, watched."""
        self.start(RunSteps(steps, blocking=False))
        while not all(port.probe() for port in self.service_to_runtime):
            self.check("executing time steps")
            progress()
            time.sleep(POLL_SECONDS)
        if any(int(port.peek()[0]) != 0 for port in self.service_to_runtime):
            self.fail()

    def destroy(self) -> None:
        """End every child and release all shared memory in any state; never blocks for long."""
        self._is_started = self._is_running = False
        infrastructure = self._messaging_infrastructure
        if infrastructure is None:
            return
        for actor in infrastructure.actors:
            if _alive(actor):
                actor.kill()  # rows are in files already; a child blocked in a channel hears nothing else
        for actor in infrastructure.actors:
            multiprocessing.Process.join(actor, 5)
        infrastructure.actors.clear()
        for port in self._open_ports:
            port.join()
        self._open_ports.clear()
        if infrastructure.smm is not None:
            _release(infrastructure.smm)


def _alive(actor: Any) -> bool:
    return actor.exitcode is None


def _error_of(actor: Any) -> tuple[BaseException, str] | None:
    try:
        return actor.exception
    except _UNREADABLE as error:  # the child's exception cannot be unpickled here
        return RuntimeError(f"an exception that cannot be transferred ({error})"), ""


def _raise_for(name: str, error: BaseException, trace: str) -> None:
    if isinstance(error, SpikePackError):
        failure: SpikePackError = error
    else:
        failure = RunError(f"Lava process {name!r} raised {type(error).__name__}: {error}.")
    failure.log = trace  # type: ignore[attr-defined]
    raise failure


def _release(memory: Any) -> None:
    handles = list(memory._shared_memory_handles)
    try:
        memory.shutdown()
    except (OSError, EOFError):  # its server is dead: remove the segments here
        for handle in handles:
            handle.close()
            try:
                handle.unlink()
            except FileNotFoundError:
                continue


def check_shared_memory(executable: Any, slots: int) -> None:
    """Raise if the messages of all channels do not fit ``/dev/shm``: a child would die of it in mid-run.

    Args:
        executable: Compiled network.
        slots: Messages a channel holds.

    Raises:
        RunError: They do not fit.
    """
    ports = [channel.src_port_initializer for channel in executable.channel_builders]
    sizes = [slots * math.prod(port.shape) * np.dtype(port.d_type).itemsize for port in ports]
    pages = sum(-(-size // mmap.PAGESIZE) for size in sizes) + len(executable.sync_channel_builders)
    needed = pages * mmap.PAGESIZE
    state = os.statvfs(SHARED_MEMORY)
    free = state.f_bavail * state.f_frsize
    if needed > free:
        raise RunError(
            f"Lava run: {SHARED_MEMORY} must hold {needed / 2**20:.1f} MB of messages, got "
            f"{free / 2**20:.1f} MB free; enlarge it (docker run --shm-size) or use engine 'inline'."
        )


def run_watched(assembly: Assembly, executable: Callable[[], Any], deadline: float, report: Report) -> float:
    """Execute all time steps of an assembly in Lava's runtime.

    Args:
        assembly: Connected Processes.
        executable: Compiles them, once the guard is open.
        deadline: As :func:`.inline.run`, as are result and errors.
        report: As there.
    """
    last = 0.0

    def progress() -> None:
        nonlocal last
        if time.monotonic() - last > REPORT_SECONDS:
            last = time.monotonic()
            report(*assembly.progress)

    with guarded_children():
        compiled = executable()
        names = [process.name for process in compiled.proc_builders]
        check_shared_memory(compiled, CHANNEL_SIZE)
        runtime = _WatchedRuntime(compiled, names, deadline)
        try:
            runtime.initialize()
            start = time.perf_counter()
            runtime.execute(assembly.steps, progress)
            seconds = time.perf_counter() - start
        except OSError as error:
            raise RunError(
                f"Lava run: {len(names)} Processes need more descriptors, processes or memory than the "
                f"system grants, got {error.strerror or error}; raise its limits (ulimit -n, -u) or use "
                "engine 'inline'."
            ) from error
        finally:
            runtime.destroy()
    report(*assembly.progress)
    return seconds
