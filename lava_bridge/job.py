"""One run inside the interpreter that has Lava."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

from spikejelly_pack.spec.bits import code_dtype
from spikejelly_pack.spec.errors import EnvironmentMissingError
from spikejelly_pack.spec.execute import Codes
from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.graph.base import Array

from .engines import engine_runner
from .models import Model
from .overflow import Overflows

__all__ = ["Outcome", "run_job"]

Report = Callable[[int, int], None]


@dataclass(frozen=True)
class Outcome:
    """Recorded codes and membranes by name (streams ``[N * W, *]``), overflows, and how the run went."""

    codes: dict[str, Array]
    membranes: dict[str, Array]
    overflows: Overflows
    seconds: float
    steps: int
    processes: int
    lava: str


def run_job(
    network: Network,
    codes: Codes,
    record: Sequence[str],
    engine: str,
    spikes: str,
    deadline: float,
    folder: Path,
    report: Report,
    model: Model | None = None,
    batch: int = 1,
) -> Outcome:
    """Build the Processes of a network, execute them, collect what was recorded.

    Args:
        network: Integer network.
        codes: Input codes by name, checked, the stream ``[N * W, *]`` of all windows.
        record: Inputs and neurons to record besides the readouts, codes and membranes.
        engine: Name of the engine.
        spikes: ``"serial"`` or ``"graded"``.
        deadline: ``time.monotonic()`` at which the run must be over.
        folder: Existing folder for files of the run.
        report: Called with samples done and samples in all.
        model: The ProcessModels to run; default: tag ``fixed_pt``.
        batch: Samples side by side.

    Raises:
        EnvironmentMissingError: Lava cannot be imported here.
        RunError: A model raised, died or hung, or the deadline passed.
        BoundError: A membrane left its declared width.
    """
    runner, assemble = _lava(engine)
    root = logging.getLogger()
    handlers = list(root.handlers)  # every Lava Process adds one to the root logger
    processes: list[Any] = []
    try:
        assembly = assemble(network, codes, record, folder, processes, spikes == "graded", model, batch)
        seconds = runner(assembly, deadline, report)
    finally:
        root.handlers[:] = handlers
        _forget(processes)
    recorded: dict[str, Array] = {}
    for op in (*network.inputs, *network.neurons):
        if op.name in assembly.codes_of:
            rows = assembly.codes_of[op.name].values()
            recorded[op.name] = rows.astype(code_dtype(op.time_steps, op.signed))
    membranes = {name: item.values() for name, item in assembly.membranes_of.items()}
    return Outcome(
        recorded, membranes, assembly.overflows(), seconds, assembly.steps, len(processes), version("lava-nc")
    )


def _lava(engine: str) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The engine and the builder: the first import of Lava."""
    _free_start_method()
    try:
        runner = engine_runner(engine)
        from .build import assemble
    except ImportError as error:
        raise EnvironmentMissingError(
            f"Lava: cannot be imported here, got {error}; install lava-nc 0.10.0 on Python 3.10."
        ) from None
    return runner, assemble


def _free_start_method() -> None:
    """Let Lava set multiprocessing's start method on import; it fails if somebody did before."""
    method: Any = multiprocessing.get_start_method(allow_none=True)
    if method is None or "lava.magma.runtime.message_infrastructure.multiprocessing" in sys.modules:
        return
    if method != "fork":
        raise EnvironmentMissingError(
            f"Lava: needs multiprocessing's start method to be 'fork', got {method!r}; "
            "leave it alone, or name another interpreter with python=."
        )
    multiprocessing.set_start_method(None, force=True)


def _forget(processes: list[Any]) -> None:
    """Lava keeps every Process ever made in a list; those of a finished run are not needed again."""
    from lava.magma.core.process.process import ProcessServer  # pyright: ignore[reportUnknownVariableType]

    server = cast("Any", ProcessServer())
    mine = {id(process) for process in processes}
    server.processes = [process for process in server.processes if id(process) not in mine]
