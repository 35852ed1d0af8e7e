"""Engine ``inline``: Lava's compiler, builders and ProcessModels in one operating system process.

Only the channels between processes and the runtime service are replaced, by queues and a loop: no process, no
shared memory, an order of magnitude faster on small networks. Feed-forward networks only, as ours are.
"""

from __future__ import annotations

import time
import traceback
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from lava.magma.compiler.channels.pypychannel import CspRecvPort, CspSendPort
from lava.magma.core.process.ports.ports import create_port_id

from spikejelly_pack.spec.errors import RunError, SpikePackError

from ..alarm import alarm
from ..assembly import Assembly
from .configuration import compile_assembly

__all__ = ["run"]

Report = Callable[[int, int], None]


class _Queue:
    """Messages of one connection."""

    def __init__(self, shape: tuple[int, ...], dtype: Any) -> None:
        self.shape, self.dtype = tuple(shape), np.dtype(dtype)
        self.messages: deque[Any] = deque()


class _SendPort(CspSendPort):
    """Sending end; the shape and dtype checks are those of Lava's own channel."""

    def __init__(self, name: str, queue: _Queue) -> None:
        self._name, self._queue, self._shape, self._dtype = name, queue, queue.shape, queue.dtype

    def send(self, data: Any) -> None:
        """Copy a message into the queue."""
        if data.shape != self._shape:
            raise ValueError(f"a message of shape {data.shape} was sent to a port of shape {self._shape}")
        self._queue.messages.append(np.array(data, self._dtype))

    def join(self) -> None:
        """Nothing to wait for."""


class _ReceivePort(CspRecvPort):
    """Receiving end."""

    def __init__(self, name: str, queue: _Queue) -> None:
        self._name, self._messages, self._shape, self._dtype = name, queue.messages, queue.shape, queue.dtype

    def recv(self) -> Any:
        """Take the next message; the order of the loop guarantees there is one."""
        return self._messages.popleft()

    def join(self) -> None:
        """Nothing to wait for."""


def _build_models(executable: Any) -> list[tuple[str, Any]]:
    """Models with their process names, sources before what reads them."""
    builders = executable.proc_builders
    readers: dict[Any, set[Any]] = {process: set() for process in builders}
    for channel in executable.channel_builders:
        source, target = channel.src_port_initializer, channel.dst_port_initializer
        queue = _Queue(source.shape, source.d_type)
        receive = _ReceivePort(target.name, queue)
        builders[channel.src_process].set_csp_ports([_SendPort(source.name, queue)])
        builders[channel.dst_process].set_csp_ports([receive])
        builders[channel.dst_process].add_csp_port_mapping(
            create_port_id(channel.src_process.id, source.name), receive
        )
        readers[channel.dst_process].add(channel.src_process)
    order: list[Any] = []
    while len(order) < len(builders):
        ready = [p for p in builders if p not in order and readers[p].issubset(order)]
        order += ready
    return [(process.name, builders[process].build()) for process in order]


def _step(models: list[tuple[str, Any]]) -> None:
    for name, model in models:
        model.time_step += 1
        try:
            model.run_spk()
        except Exception as error:
            failure: Exception = error
            if not isinstance(error, SpikePackError):
                failure = RunError(f"Lava process {name!r} raised {type(error).__name__}: {error}.")
            failure.log = traceback.format_exc()  # type: ignore[attr-defined]
            raise failure from error


def run(assembly: Assembly, deadline: float, report: Report) -> float:
    """Execute all time steps of an assembly.

    Args:
        assembly: Connected Processes.
        deadline: ``time.monotonic()`` at which the run must be over.
        report: Called with samples done and samples in all, now and then.

    Returns:
        Wall time of the time steps in seconds.

    Raises:
        RunError: A model raised or the deadline passed.
        BoundError: A membrane left its declared width.
    """

    def late() -> RunError:
        done, samples = assembly.progress
        return RunError(
            f"Lava run: passed its deadline with {done} of {samples} samples done; "
            "give it more time or fewer samples."
        )

    executable = compile_assembly(assembly)
    with alarm(deadline, late):  # a model may hang
        models = _build_models(executable)
        start = time.perf_counter()
        for step in range(assembly.steps):
            _step(models)
            if step % assembly.window == 0:
                report(*assembly.progress)
            if time.monotonic() > deadline:
                raise late()
        seconds = time.perf_counter() - start
    report(*assembly.progress)
    return seconds
