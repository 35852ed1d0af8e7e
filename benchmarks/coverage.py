"""Every torchvision model of four groups through ``convert``: converted or why not, coverage, error, seconds.

Weights are random, but made to behave: BatchNorm takes its statistics from one batch, layers that start at
zero do not. Errors are against the source network on the calibration batch, ``||y' - y|| / ||y||`` over all
outputs: they show the coding, which halves with every time step. Other data leaves the ranges of a random
network, whose statistics hold for one batch. What a detector returns after non-maximum suppression is no
continuous function, so its error is that of its head. Inputs are smooth blobs: of white noise a deep network
keeps nothing but its mean. They are as small as the models allow, so that the walk fits a small machine.
Random networks amplify small changes; beside the error stands by how much: relative change of the output over
that of the input, for white noise at the input of the source network.

The walk goes from the cheapest model to the dearest, each in a process of its own. ``spikepack bench coverage
--json FILE`` writes the file after every model; called again it goes on with the models that are missing,
then tries again those that failed.
"""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import platform
import resource
import time
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
import torchvision

from benchmarks import coverage_models as zoo
from spikejelly_pack import convert
from spikejelly_pack.spec.atomic import write_text
from spikejelly_pack.spec.errors import ParameterError

__all__ = ["FAST", "STORES", "run", "table"]

# A smoke test, no measurement.
FAST: dict[str, Any] = {
    "names": ("squeezenet1_1", "mobilenet_v3_small", "lraspp_mobilenet_v3_large"),
    "isolate": False,
}
#: ``run`` writes to ``store`` as it goes and goes on where the file there ends.
STORES = True
# The source, its copy and what calibration holds.
COPIES = 4
# What may be wrong with one of a hundred models without ending the walk.
FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    MemoryError,
)
# Loaded once by the process from which the models' processes are forked.
PRELOAD = ["torch", "torchvision", "spikingjelly.activation_based.ann2snn", "spikejelly_pack.recipes"]
SETTINGS = ("time_steps", "side", "calibrator", "torchvision", "torch")


def _one(name: str, group: str, side: int, time_steps: int, calibrator: str) -> dict[str, Any]:
    """Convert one model; a row of the table."""
    model = zoo.build(name, group, zoo.side_of(name, side))
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size * COPIES > free:
        reason = f"skipped: {COPIES} copies of {size / 2**30:.1f} GiB do not fit {free / 2**30:.1f} GiB"
        return {"reason": reason}
    data = zoo.inputs(name, group, side, 1)
    zoo.settle(model, data)
    start = time.perf_counter()
    snn: Any = convert(model, [(data, None)], time_steps, calibrator=calibrator, progress=False)
    seconds = time.perf_counter() - start
    wanted, got = (zoo.answer(net, data, group) for net in (model, snn))
    shape = (len(data), *data[0].shape)
    return {
        "converted": True,
        "input": " x ".join(map(str, shape)),
        "route": snn.report.route,
        "coverage": snn.report.coverage,
        "analog": snn.report.analog,
        "synapses": len(snn.report.synapses),
        "nodes": len(snn.report.layers),
        "unused": len(snn.report.unused),
        "error": float((got - wanted).norm() / wanted.norm()),
        "amplification": zoo.amplification(model, data, wanted, group),
        "seconds": seconds,
    }


def _tried(name: str, group: str, settings: dict[str, Any]) -> dict[str, Any]:
    row: dict[str, Any] = {"name": name, "group": group, "converted": False}
    try:
        row |= _one(name, group, settings["side"], settings["time_steps"], settings["calibrator"])
    except FAILURES as error:
        row["reason"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return row


def _send(name: str, group: str, settings: dict[str, Any], sender: Connection) -> None:
    row = _tried(name, group, settings)
    row["peak_gib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    sender.send(row)


def _isolated(name: str, group: str, settings: dict[str, Any]) -> dict[str, Any]:
    """As :func:`_tried`, in a process of its own, whose memory and whose end are its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(name, group, settings, sender), daemon=True)
    process.start()
    sender.close()
    try:
        row: dict[str, Any] = receiver.recv()
        process.join()
    except EOFError:
        process.join()
        reason = f"its process ended with exit code {process.exitcode} (-9: out of memory)"
        row = {"name": name, "group": group, "converted": False, "reason": reason}
    return row


def run(
    progress: Callable[[str], Any] | None = None,
    names: Sequence[str] | None = None,
    groups: Sequence[str] = tuple(zoo.GROUPS),
    time_steps: int = 8,
    side: int = 64,
    calibrator: str = "mse",
    store: str | os.PathLike[str] | None = None,
    isolate: bool = True,
) -> dict[str, Any]:
    """Convert every model.

    Args:
        progress: Called with one line per model.
        names: Only these models.
        groups: Keys of ``GROUPS``.
        time_steps: T.
        side: Height and width of the inputs, where the model takes them.
        calibrator: As in ``convert``.
        store: File that gets the result after every model, and whose rows are kept.
        isolate: One process per model.

    Returns:
        ``{"models": [one dict per model], "converted": .., "complete": .., ...}``.

    Raises:
        ParameterError: ``store`` holds results of other settings.
    """
    settings = {
        "time_steps": time_steps, "side": side, "calibrator": calibrator,
        "torchvision": torchvision.__version__, "torch": torch.__version__,
    }  # fmt: skip
    listed = zoo.listed(tuple(groups), None if names is None else tuple(names))
    rows = {} if store is None else _stored(Path(store), settings)
    cheapest = sorted(listed, key=lambda model: zoo.size_of(model[0]))
    missing = [model for model in cheapest if model not in rows]
    failed = [model for model in cheapest if model in rows and not rows[model]["converted"]]
    for name, group in missing + failed:
        rows[name, group] = (_isolated if isolate else _tried)(name, group, settings)
        gc.collect()
        if store is not None:
            write_text(store, json.dumps(_result(settings, listed, rows), indent=2) + "\n")
        if progress is not None:
            progress(_line(rows[name, group]))
    return _result(settings, listed, rows)


Rows = dict[tuple[str, str], dict[str, Any]]


def _stored(path: Path, settings: dict[str, Any]) -> Rows:
    """The rows of an earlier run."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    found = json.loads(path.read_text("utf-8"))
    other = [f"{key}={found.get(key)!r}" for key in SETTINGS if found.get(key) != settings[key]]
    if other:
        raise ParameterError(
            f"bench coverage: {path} must hold results of this run's settings to go on with, got "
            f"{', '.join(other)}; name another file."
        )
    return {(row["name"], row["group"]): row for row in found["models"]}


def _result(settings: dict[str, Any], listed: list[tuple[str, str]], rows: Rows) -> dict[str, Any]:
    known = [model for model in zoo.listed(tuple(zoo.GROUPS)) if model in rows or model in listed]
    models = [rows[model] for model in known if model in rows]
    converted = [row for row in models if row["converted"]]
    return {
        **settings,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "listed": len(known),
        "total": len(models),
        "converted": len(converted),
        "complete": sum(row["coverage"] == 1.0 and not row["analog"] for row in converted),
        "models": models,
    }


def _line(row: dict[str, Any]) -> str:
    if not row["converted"]:
        return f"{row['name']}: {row['reason']}"
    return (
        f"{row['name']}: {row['route']}, coverage {row['coverage']:.1%}, error {row['error']:.4f}, "
        f"amplification {row['amplification']:.1f}, "
        f"{row['seconds']:.1f} s"
    )


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    error = f"error at T = {result['time_steps']}"
    lines = [
        f"| model | group | input | route | MACs on spikes | {error} | amplification | seconds |",
        "|---|---|---|---|---:|---:|---:|---:|",
    ]
    for row in result["models"]:
        if row["converted"]:
            measured = f"{row['error']:.4f} | {row['amplification']:.1f} | {row['seconds']:.1f}"
            cells = f"{row['input']} | {row['route']} | {row['coverage']:.1%} | {measured}"
        else:
            cells = f"no: {row['reason']} | | | | | "
        lines.append(f"| {row['name']} | {row['group']} | {cells} |")
    lines.append("")
    left = result["listed"] - result["total"]
    lines.append(
        f"{result['converted']} of {result['total']} converted, {result['complete']} with every "
        f"multiply-accumulate on spikes{f'; {left} not tried yet' if left else ''}."
    )
    return "\n".join(lines)
