"""Run an exported network in Lava and compare it with the integer reference."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import lava_bridge
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.array_file import read_arrays
from spikejelly_pack.spec.atomic import check_writable, replacing
from spikejelly_pack.spec.errors import ParameterError, RunError, ShapeError
from spikejelly_pack.spec.execute import as_inputs, encode, run_packed
from spikejelly_pack.spec.firing import packed_code
from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.graph.base import Array
from spikejelly_pack.spec.windows import in_order

from ..termination import terminable

__all__ = ["run", "sample_codes"]

SHOWN = 20  # overflows listed in the report


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command; returns what it prints.

    Raises:
        SpikePackError: Bad input; :class:`RunError` when the run fails or Lava and the reference differ.
    """
    network = exchange.load(args.file)
    if args.out:
        check_writable(args.out)
    codes = sample_codes(network, args)
    result = _simulated(network, codes, args)
    if args.out:
        _write(args.out, result)
    report: dict[str, Any] = {
        "file": str(args.file),
        "engine": result.engine,
        "spikes": result.spikes,
        "model": result.model,
        "batch": result.batch,
        "samples": result.samples,
        **result.timing,
        "processes": result.processes,
        "python": result.python,
        "lava": result.lava,
    }
    if args.out:
        report["out"] = str(args.out)
    if result.overflows:
        report["overflows"] = _overflows(result)
    if args.check:  # registers that overflowed hold something else by design
        report["compared"] = [] if result.overflows else _compare(network, codes, result)
        report["bit_exact"] = report["ok"] = not result.overflows
    _print(report)
    return report


def _simulated(network: Network, codes: dict[str, Array], args: argparse.Namespace) -> lava_bridge.Simulation:
    with terminable():
        return lava_bridge.simulate(
            network,
            codes,
            codes=True,
            engine=args.engine,
            spikes=args.spikes,
            record="all" if args.record == ["all"] else args.record,
            model=args.model or ("fpga" if args.target else "fixed_pt"),
            target=args.target,
            batch=args.batch,
            python=args.python,
            timeout=args.timeout,
        )


def _print(report: dict[str, Any]) -> None:
    print(
        f"{report['samples']} samples in Lava {report['lava']} "
        f"(engine {report['engine']}, {report['spikes']} spikes), "
        f"{report['processes']} Processes, {report['steps']} time steps: "
        f"{1e3 * report['seconds_per_sample']:.1f} ms per sample"
    )
    if "overflows" in report:
        first = report["overflows"]["first"][0]
        print(
            f"{report['overflows']['count']} overflows in {', '.join(report['overflows']['by_layer'])}; the "
            f"first: {first['layer']}, neuron {first['neuron']}, sample {first['sample']}, time step "
            f"{first['time_step']}: {first['value']} is held as {first['held']}"
        )
    if report.get("compared"):
        print(f"equal to the integer reference in every value: {', '.join(report['compared'])}")
    if "out" in report:
        print(f"written: {report['out']}")


def _overflows(result: lava_bridge.Simulation) -> dict[str, Any]:
    """How many values did not fit, by layer, and the first of them."""
    return {
        "count": len(result.overflows),
        "by_layer": result.overflows.count_by_layer(),
        "first": [asdict(item) for item in result.overflows[:SHOWN]],
    }


def sample_codes(network: Network, args: argparse.Namespace) -> dict[str, Array]:
    """Input codes to run: the golden samples, or those of ``--input``, cut to ``--samples``."""
    if args.samples is not None and args.samples < 1:
        raise ParameterError(f"--samples must be >= 1, got {args.samples}; leave it out to use all.")
    if args.input is None:
        golden = exchange.golden_samples(network, args.file)
        if not golden:
            raise ParameterError(f"{args.file}: holds no golden samples; pass data with --input.")
        codes = {op.name: golden[op.name] for op in network.inputs}
    else:
        values = _read(network, args.input)
        codes = values if args.codes else {op.name: encode(op, values[op.name]) for op in network.inputs}
    first = (slice(None),) * (network.windows > 1)  # the axis of windows stands before that of samples
    return as_inputs(network, {name: array[(*first, slice(args.samples))] for name, array in codes.items()})


def _read(network: Network, path: str) -> dict[str, Array]:
    content = read_arrays(path, "an .npy or .npz file of numbers", "check the file")
    names = [op.name for op in network.inputs]
    if set(content) == {""}:
        if len(names) != 1:
            raise ShapeError(f"{path}: the network has inputs {names}; pass an .npz with one array for each.")
        return {names[0]: content[""]}
    if missing := sorted(set(names) - set(content)):
        raise ShapeError(f"{path}: must hold an array for each input, got none for {missing}; add it.")
    return {name: content[name] for name in names}


def _write(path: str, result: lava_bridge.Simulation) -> None:
    tables = {"codes": result.codes, "membranes": result.membranes, "outputs": result.outputs}
    arrays = {f"{table}/{name}": array for table, named in tables.items() for name, array in named.items()}
    with replacing(Path(path)) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def _compare(network: Network, codes: dict[str, Array], result: lava_bridge.Simulation) -> list[str]:
    """Names compared; raises where a single integer differs."""
    reference = run_packed(network, codes)
    values = result.codes | {op.name: result.membranes[op.name] for op in network.readouts}
    for name, value in values.items():
        _compare_one(network, name, value, reference[name])
    for op in network.neurons:  # the closed form of the recorded membrane is the reference's code
        if op.name in result.membranes:
            membranes, expected = (
                in_order(values[op.name], network.windows) for values in (result.membranes, reference)
            )
            _compare_one(network, op.name, packed_code(op, membranes), expected)
    return sorted(values)


def _compare_one(network: Network, name: str, value: Array, expected: Array) -> None:
    same_shape = value.shape == expected.shape
    differing = int((value != expected).sum()) if same_shape else value.size
    if differing or not same_shape:
        raise RunError(
            f"{network.ops[name].label}: Lava and the integer reference must agree, got {differing} of "
            f"{value.size} values that differ; please report it with the file."
        )
