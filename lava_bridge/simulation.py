"""Runs a network in Lava from any interpreter."""

from __future__ import annotations

import logging
import math
import os
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.bits import code_dtype
from spikejelly_pack.spec.errors import ParameterError, ShapeError, SpikePackError
from spikejelly_pack.spec.execute import as_inputs, encode, outputs
from spikejelly_pack.spec.graph import Network, Readout
from spikejelly_pack.spec.graph.base import Array
from spikejelly_pack.spec.targets import Target
from spikejelly_pack.spec.windows import by_window, in_order

from .batching import choose_batch
from .engines import check_engine
from .models import Model, choose_model
from .overflow import Overflows
from .result import Simulation
from .spikes import check_spikes

__all__ = ["has_lava", "simulate"]

_logger = logging.getLogger(__name__)
Report = Callable[[int, int], None]
Recorded = tuple[dict[str, Array], dict[str, Array], Overflows, dict[str, Any]]
FACTS = ("seconds", "steps", "processes", "lava")


@dataclass(frozen=True)
class _Request:
    """A checked call of :func:`simulate`: streams of input codes by name and what to do with them."""

    network: Network
    codes: dict[str, Array]
    record: list[str]
    engine: str
    spikes: str
    timeout: float
    folder: Path
    python: str | os.PathLike[str] | None
    model: Model
    batch: int


def has_lava() -> bool:
    """Whether this very interpreter can run Lava."""
    return sys.version_info[:2] == (3, 10) and find_spec("lava") is not None


def simulate(
    network: str | os.PathLike[str] | Network,
    x: Array | Mapping[str, Array],
    *,
    codes: bool = False,
    engine: str = "loihi",
    spikes: str = "serial",
    record: str | Sequence[str] = (),
    model: str = "fixed_pt",
    target: str | os.PathLike[str] | Target | None = None,
    batch: int | None = None,
    python: str | os.PathLike[str] | None = None,
    timeout: float = 600.0,
    progress: bool | Report = True,
) -> Simulation:
    """Run a network in Lava, every neuron a Lava Process, samples streamed back to back.

    Args:
        network: An exchange file (``.spk``) or a network.
        x: Real values ``[N, *shape]``, which the network's encoder turns into codes (a dict by input name
            where there are several inputs); ``[W, N, *shape]`` where a sample of the network has W windows.
        codes: ``x`` holds integer codes already.
        engine: ``"loihi"`` (Lava's runtime, the authority), ``"async"`` (the same without its barrier after
            each time step) or ``"inline"`` (same models in one process, the fastest).
        spikes: ``"serial"`` (a digit per time step, as the hardware runs) or ``"graded"`` (a code per time
            step, as the payload of a graded spike).
        record: Names of neurons and inputs whose codes to return, or ``"all"``; of neurons the membranes
            too. Readouts always are returned.
        model: ``"fixed_pt"`` (integers; a value beyond its declared width is an error), ``"floating_pt"``
            (Lava's floating point models, registers without a width) or ``"fpga"`` (registers of the
            target's width that wrap or saturate; the run goes on and ``overflows`` lists every such value).
        target: Device, name or file: the network is checked against its limits before the run; default
            with ``"fpga"``: ``"generic_fpga"``, exact widths.
        batch: Samples side by side, as one more axis of every message; the same integers in fewer time
            steps. Default: with engine ``"inline"`` up to 32, as far as the layers are small enough to gain,
            else 1, which keeps Lava's own ``Dense``.
        python: Python 3.10 with Lava (file or virtual environment); default: this interpreter if it
            has Lava, else looked for, see :func:`lava_bridge.info`.
        timeout: Seconds after which the run is given up.
        progress: True shows a progress bar on a terminal; a function is called with samples done and
            samples in all.

    Returns:
        Codes and membranes in the caller's layout, and the timing.

    Raises:
        ShapeError, DtypeError: ``x`` does not fit the network.
        ParameterError: A name to record, the engine or the time limit makes no sense.
        ExchangeFileError, BoundError, UnsupportedError: The network cannot run.
        EnvironmentMissingError: No usable Python 3.10 with Lava; says where it looked.
        RunError: A model raised, died or hung, or the time limit passed.
    """
    began = time.perf_counter()
    check_engine(engine)
    check_spikes(spikes)
    if not (isinstance(timeout, (int, float)) and math.isfinite(timeout) and timeout > 0):
        raise ParameterError(
            f"simulate: timeout must be a positive number of seconds, got {timeout!r}; pass e.g. 600."
        )
    if not isinstance(network, Network):
        network = exchange.load(network)
    inputs = _input_codes(network, x, codes)
    names = _names_to_record(network, record)
    given = {name: by_window(stream, network.windows) for name, stream in inputs.items()}
    chosen = choose_model(network, model, target, given, spikes)
    run = _run_here if python is None and has_lava() else _run_in_worker
    windows = network.windows
    samples = len(next(iter(inputs.values()))) // windows
    pipelines = choose_batch(network, engine, samples, batch)
    with (
        tempfile.TemporaryDirectory(prefix="spikepack-", ignore_cleanup_errors=True) as folder,
        _progress(progress, samples) as report,
    ):
        request = _Request(
            network, inputs, names, engine, spikes, timeout, Path(folder), python, chosen, pipelines
        )
        streams, membranes, overflows, facts = run(request, report)
    membranes = {name: by_window(stream, windows) for name, stream in membranes.items()}
    return Simulation(
        membranes=membranes,
        codes={name: by_window(stream, windows) for name, stream in streams.items()},
        outputs=outputs(network, membranes),
        samples=samples,
        time_steps=network.time_steps,
        total_seconds=time.perf_counter() - began,
        engine=engine,
        spikes=spikes,
        model=model,
        batch=pipelines,
        overflows=overflows,
        **facts,
    )


def _input_codes(network: Network, x: Array | Mapping[str, Array], codes: bool) -> dict[str, Array]:
    if codes:
        given = as_inputs(network, x)
    else:
        if not isinstance(x, Mapping):
            if len(network.inputs) != 1:
                names = [op.name for op in network.inputs]
                raise ShapeError(f"simulate: the network has inputs {names}; pass a dict of values by name.")
            x = {network.inputs[0].name: x}
        by_name = {op.name: op for op in network.inputs}
        if unknown := sorted(set(x) - set(by_name)):
            raise ShapeError(f"simulate: the network has inputs {sorted(by_name)}, got values for {unknown}.")
        given = as_inputs(network, {name: encode(by_name[name], value) for name, value in x.items()})
    streams = {name: in_order(array, network.windows) for name, array in given.items()}
    if len(next(iter(streams.values()))) == 0:
        raise ShapeError("simulate: x must hold at least one sample, got none; pass more data.")
    return {op.name: streams[op.name].astype(code_dtype(op.time_steps, op.signed)) for op in network.inputs}


def _names_to_record(network: Network, record: str | Sequence[str]) -> list[str]:
    known = [op.name for op in (*network.inputs, *network.neurons)]
    if record == "all":
        return known
    wanted = [record] if isinstance(record, str) else list(record)
    readouts = {name for name in wanted if isinstance(network.ops.get(name), Readout)}
    for name in wanted:
        if name not in known and name not in readouts:
            raise ParameterError(
                f"simulate: record must name neurons or inputs out of {known}, got {name!r}."
            )
    return [name for name in known if name in wanted]


@contextmanager
def _progress(progress: bool | Report, samples: int) -> Generator[Report]:
    if callable(progress):
        yield progress
        return
    if not progress:
        yield lambda _done, _samples: None
        return
    from tqdm import tqdm

    # disable=None: a bar on a terminal only
    with tqdm(total=samples, desc="Lava", unit="sample", disable=None, leave=False) as bar:

        def report(done: int, _samples: int) -> None:
            bar.update(done - bar.n)

        yield report


def _run_here(request: _Request, report: Report) -> Recorded:
    from .job import run_job

    deadline = time.monotonic() + request.timeout
    kind = request.engine, request.spikes
    try:
        outcome = run_job(
            request.network,
            request.codes,
            request.record,
            *kind,
            deadline,
            request.folder,
            report,
            request.model,
            request.batch,
        )
    except SpikePackError as error:
        _logger.info("%s\n%s", error, getattr(error, "log", ""))
        raise
    facts = {name: getattr(outcome, name) for name in FACTS}
    return outcome.codes, outcome.membranes, outcome.overflows, {**facts, "python": sys.executable}


def _run_in_worker(request: _Request, report: Report) -> Recorded:
    from .worker.client import Worker
    from .worker.find import find
    from .worker.protocol import load_arrays, save_arrays

    interpreter = find(request.python)
    folder = request.folder
    exchange.save(request.network, folder / "network.spk")
    job = {
        "folder": str(folder),
        "network": "network.spk",
        "codes": save_arrays(folder, "in", request.codes),
        "record": request.record,
        "engine": request.engine,
        "spikes": request.spikes,
        "timeout": request.timeout,
        "model": request.model.to_json(),
        "batch": request.batch,
    }
    with Worker(interpreter) as worker:
        result = worker.run(job, request.timeout, report)
    codes, membranes, tables = (load_arrays(folder, result[n]) for n in ("codes", "membranes", "overflows"))
    facts = {name: result[name] for name in FACTS}
    return codes, membranes, Overflows(tables), {**facts, "python": interpreter.executable}
