"""The demo's main line: stage after stage, then the report."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

import lava_bridge

from ...integer import export
from ...spec import exchange
from ...spec.atomic import check_writable, write_text
from ...spec.errors import EnvironmentMissingError
from ...spec.execute import encode, run_packed
from ...spec.parameters import check_time_steps
from . import digits, stages
from .report import summary, write_report
from .results import Picture, Results

__all__ = ["run_demo"]

SWEEP = [2, 3, 4, 6, 8]
RATE_SWEEP = [4, 8, 16, 32, 64]
LAVA_IMAGES = 64


def run_demo(time_steps: int, out: str, seed: int, fast: bool) -> dict[str, Any]:
    """Run every stage; write ``net.spk``, ``results.json`` and ``report.html`` to ``out``; print the table.

    Args:
        time_steps: T of the exported network.
        out: Folder of the results.
        seed: Seed of the training.
        fast: Fewer epochs, time steps and samples.

    Raises:
        ParameterError: ``time_steps`` is outside 1..16.
        OutputError: ``out`` cannot be written.
        EnvironmentMissingError: No Python 3.10 with Lava was found.
    """
    chosen = check_time_steps(time_steps, "demo")
    _require_lava()
    folder = Path(out)
    for name in ("net.spk", "results.json", "report.html"):
        check_writable(folder / name)
    results = Results(time_steps=chosen, seed=seed, versions=_versions())
    sweep = sorted({chosen, *([4] if fast else SWEEP)})
    data = digits.load()
    with results.timed("train"):
        net = digits.train(data, seed, epochs=6 if fast else 25)
    results.test_images = len(data.test_inputs)
    results.ann_accuracy = stages.accuracy(digits.predictions(net, data.test_inputs), data.test_classes)
    with results.timed("rate_coding"):
        rates = [4, 8] if fast else RATE_SWEEP
        results.rate_coding_accuracy = stages.rate_coding(net, data, rates, tuned=False)
        results.rate_coding_tuned_accuracy = stages.rate_coding(net, data, rates, tuned=True)
    for steps in tqdm(sweep, desc="SpikePack", unit="T", disable=None, leave=False):
        _one_time_steps(net, data, steps, folder, results)
    drawn = _from_file(folder / "net.spk", data, results, images=8 if fast else LAVA_IMAGES)
    results.float_flip_rate = results.float_flip_rates[chosen]
    write_text(folder / "results.json", json.dumps(results.to_json(), indent=2) + "\n")
    write_report(folder / "report.html", results, drawn)
    print(summary(results))
    print(f"written: {folder / 'report.html'}, {folder / 'results.json'}, {folder / 'net.spk'}")
    return results.to_json()


def _require_lava() -> None:
    found = lava_bridge.info()
    if not found["available"]:
        looked = "; ".join(f"{place['path']}: {place['reason']}" for place in found["places"])
        raise EnvironmentMissingError(
            f"demo: Lava needs a Python 3.10 with lava-nc, found none ({looked}); "
            "make one with `tox run -e lava --notest`, or name it in SPIKEPACK_LAVA_PYTHON."
        )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in ("spikejelly-pack", "spikingjelly", "torch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "source tree"
    return found


def _one_time_steps(net: Any, data: digits.Digits, steps: int, folder: Path, results: Results) -> None:
    """Convert for one T, compare the forms of the float network, build and compare the integer one."""
    with results.timed("convert"):
        snn = stages.convert(net, data, steps)
    logits = digits.predictions(snn, data.test_inputs)
    results.accuracy[steps] = stages.accuracy(logits, data.test_classes)
    with results.timed("float_forms"):
        flips, agreement = stages.compare_forms(snn, data.test_inputs, steps)
    results.float_flip_rates[steps], results.prediction_agreement[steps] = flips, agreement
    with results.timed("integer"):
        network, codes = stages.compare_integer(snn, data, steps, results)
    if steps == results.time_steps:
        results.firing_rate = stages.firing_rates(network, codes)
        export(snn, folder / "net.spk", data.test_inputs)


def _from_file(path: Path, data: digits.Digits, results: Results, images: int) -> Picture:
    """Read the exchange file back, run it in Lava, compare the membranes with the reference."""
    network = exchange.load(path)
    x = data.test_inputs[:images].numpy()
    with results.timed("lava"):
        run = lava_bridge.simulate(network, x, progress=True)
    (entry,) = network.inputs
    (readout,) = network.readouts
    reference = run_packed(network, encode(entry, x))
    results.bit_exact["lava"] = bool(np.array_equal(run.membranes[readout.name], reference[readout.name]))
    results.lava = {
        "samples": run.samples,
        "seconds_per_sample": run.seconds_per_sample,
        "engine": run.engine,
        "processes": run.processes,
        "steps": run.steps,
        "version": run.lava,
    }
    return stages.picture(network, reference)
