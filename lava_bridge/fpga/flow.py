"""From a network to hardware files, proof by simulation, resources, frequency and a report: one folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from spikejelly_pack.spec.errors import RunError, UnsupportedError
from spikejelly_pack.spec.execute import run_packed
from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.graph.base import Array

from . import tools
from .activity import assumed
from .bitstream import CONFIGURATION, check_constraints, copy_constraints, pack_bitstream, write_template
from .cycles import loads
from .design import Design
from .devices import RESOURCES, Device, device
from .estimate import estimate
from .explore import check_fits, explore
from .floorplan import floor_plan
from .generate import replacing_folder, write, write_vectors
from .options import Options
from .outputs import read_output
from .page import as_html
from .performance import performance
from .place import Placed, place, tiles
from .planning import plan
from .simulate import Simulated, simulator
from .synth import Synthesis, synthesize

__all__ = ["Plan", "synth"]

BUILD = "build"
PLANNED = 8  # samples by which the parallelism is chosen
REPORT = "report.json"
PAGE = "report.html"


@dataclass(frozen=True)
class Plan:
    """What to do.

    Attributes:
        device: Name of the device.
        fit: ``speed`` or ``area`` choose the parallelism; None takes ``options`` as they are.
        options: Parallelism, memories, digits.
        seeds: Of place-and-route; none leaves it out.
        simulate: Whether all samples run through the design and every code is compared.
        engine: Simulator.
        synthesize: Whether yosys runs; without it resources are estimates.
        constraints: File of pins; with it a bitstream is made.
        deadline: Seconds, of each tool's run.
    """

    device: str = "ecp5-85f"
    fit: str | None = "speed"
    options: Options = Options()
    seeds: tuple[int, ...] = (1, 2, 3)
    simulate: bool = True
    engine: str = "auto"
    synthesize: bool = True
    constraints: str | None = None
    deadline: float = 3600.0


def synth(
    network: Network,
    out: str | os.PathLike[str],
    todo: Plan,
    *,
    name: str = "network",
    codes: Mapping[str, Array] | None = None,
    progress: Callable[[str], Any] = str,
) -> dict[str, Any]:
    """Write, simulate, synthesize, place and report; ``out`` appears when everything succeeded.

    Args:
        network: Integer network.
        out: Folder to write; one that was written before is replaced.
        todo: What to do.
        name: Of the network, for the report.
        codes: Input codes ``[N, *shape]`` to simulate, by input; None where there are none.
        progress: Gets a line for each stage.

    Returns:
        The report, as ``report.json`` holds it.

    Raises:
        EnvironmentMissingError: A tool is missing.
        UnsupportedError: The network does not fit the device or has no hardware.
        RunError: A tool failed, or a code differs from the reference.
    """
    target = device(todo.device)
    _check_tools(todo, target)
    used = codes or assumed(network)
    progress("choosing the parallelism")
    few = {name: array[:PLANNED] for name, array in used.items()}
    design, limit = _design(network, target, few, todo, progress)
    report: dict[str, Any] = {
        "network": {"file": name, "time_steps": network.time_steps},
        "device": {"name": target.name, "title": target.title},
        "fit": {"asked": todo.fit or "as given", "limit": limit},
        "options": _options(design),
        "design": design.summary(),
        "tools": tools.versions(("yosys", target.family.tool, "verilator", "iverilog", "c++")),
        "estimate": estimate(design, target),
    }
    with replacing_folder(out) as folder:
        write(design, folder)
        write_vectors(design, folder)
        write_template(design, target, folder)
        if todo.simulate and codes:
            report["simulation"] = _simulated(design, codes, todo, progress)
        plan_svg = ""
        if todo.synthesize:
            plan_svg = _implemented(design, folder, target, todo, report, progress)
        report["utilization"] = _utilization(report, target)
        if "simulation" in report and "place" in report:
            simulation = report["simulation"]
            report["performance"] = performance(
                simulation["cycles_per_sample"],
                simulation["latency_cycles"],
                sum(float(load.synaptic.mean()) for load in loads(design, used).values()),
                report["place"]["fmax_mhz"],
            )
        (folder / REPORT).write_text(json.dumps(report, indent=2) + "\n", "utf-8")
        (folder / PAGE).write_text(as_html(report, plan_svg), "utf-8")
    return report


def _check_tools(todo: Plan, target: Device) -> None:
    """Find out before a long run that a tool is missing."""
    if todo.constraints is not None:
        check_constraints(todo.constraints, target, placed=todo.synthesize and bool(todo.seeds))
    if todo.synthesize:
        tools.find("yosys")
        if todo.seeds:
            tools.find(target.family.tool)


def _design(
    network: Network,
    target: Device,
    codes: Mapping[str, Array],
    todo: Plan,
    progress: Callable[[str], Any],
) -> tuple[Design, str]:
    if todo.fit is None:
        design = plan(network, todo.options)
        check_fits(design, target, codes)
        return design, "as given"
    choice = explore(network, target, codes, todo.fit, todo.options, progress)
    return choice.design, choice.limit


def _options(design: Design) -> dict[str, Any]:
    return {
        "membrane_memory": design.options.membrane_memory,
        "digits": design.options.digits,
        "convolution": design.options.convolution,
        "per": {
            population.name: {"lanes": population.lanes, "fire": population.fire}
            for population in design.populations.values()
        },
    }


def _simulated(
    design: Design,
    codes: Mapping[str, Array],
    todo: Plan,
    progress: Callable[[str], Any],
) -> dict[str, Any]:
    """Stream all samples through, without and with stalls, and one alone; compare everything."""
    reference = run_packed(design.network, codes)
    with simulator(design, engine=todo.engine, progress=progress) as run:
        streamed = run.run(codes, deadline=todo.deadline)
        stalled = run.run(codes, gaps=0.3, stalls=0.3, deadline=todo.deadline)
        alone = run.run({name: array[:1] for name, array in codes.items()}, deadline=todo.deadline)
        engine = run.engine
    compared = _compare(design, streamed, reference)
    _compare(design, stalled, reference)
    samples = len(next(iter(codes.values())))
    return {
        "engine": engine,
        "samples": samples,
        "bit_exact": True,
        "compared": compared,
        "cycles_per_sample": _steady(design, streamed),
        "latency_cycles": float(_end(design, alone)[0] - alone.first + 1),
    }


def _end(design: Design, run: Simulated) -> Array:
    """Cycle in which each sample's last word left ``[N]``."""
    ends = [run.cycles[op.name][:, -1] for op in design.network.readouts]
    return max(ends, key=lambda cycles: int(cycles[-1]))


def _steady(design: Design, run: Simulated) -> float:
    """Cycles per sample once the pipeline is full; of a lone sample, those it took."""
    ends = _end(design, run)
    first = min(len(ends) - 1, len(ends) // 4)
    if first == len(ends) - 1:
        return float(ends[-1] - run.first + 1)
    return float(ends[-1] - ends[first]) / (len(ends) - 1 - first)


def _compare(design: Design, run: Simulated, reference: Mapping[str, Array]) -> list[str]:
    for name, value in run.values.items():
        wanted = reference[name]
        differing = int((value != wanted).sum()) if value.shape == wanted.shape else wanted.size
        if differing:
            raise RunError(
                f"{design.network.ops[name].label}: hardware and the integer reference must agree, got "
                f"{differing} of {wanted.size} values that differ; please report it with the file."
            )
    return sorted(run.values)


def _implemented(
    design: Design,
    folder: Path,
    target: Device,
    todo: Plan,
    report: dict[str, Any],
    progress: Callable[[str], Any],
) -> str:
    """Synthesize and place; the floor plan."""
    build = folder / BUILD
    build.mkdir()
    sources: list[str] = []
    for path in sorted(folder.iterdir()):
        if path.suffix in (".sv", ".mem"):
            shutil.copyfile(path, build / path.name)
            sources += [path.name] if path.suffix == ".sv" else []
    netlist = synthesize(sources, design.top, target, build, deadline=todo.deadline, progress=progress)
    _check_synthesis(netlist, target)
    report["synthesis"] = {"cells": netlist.cells, "used": netlist.used, "tool": netlist.tool}
    drawn = ""
    if todo.seeds:
        pins = copy_constraints(todo.constraints, target, build) if todo.constraints else None
        chosen = partial(place, seeds=todo.seeds, constraints=pins, deadline=todo.deadline)
        placed = chosen(netlist, target, build, progress=progress)
        report["place"] = placed.to_json()
        taken = partial(tiles, top=design.top)
        drawn = floor_plan(read_output(build / placed.design, "place and route", taken))
        _keep_median(build, placed)
        if pins:
            packed = pack_bitstream(target, build, design.top, todo.deadline, progress)
            report["bitstream"] = f"{BUILD}/{packed}"
    for name in (*sources, *(path.name for path in build.glob("*.mem"))):
        (build / name).unlink()
    return drawn


def _check_synthesis(netlist: Synthesis, target: Device) -> None:
    if netlist.used["dsp"]:
        raise RunError(
            f"synthesis: a SpikePack design must take no DSP block, takes {netlist.used['dsp']}; please "
            "report it with the file."
        )
    for name in RESOURCES:
        if netlist.used[name] > target.capacity[name]:
            raise UnsupportedError(
                f"network: must fit {target.name}, takes {netlist.used[name]} of {target.capacity[name]} "
                f"{name.upper()} after synthesis; use --fit area or a larger device."
            )


def _keep_median(build: Path, placed: Placed) -> None:
    """Keep the median's routed configuration; the placed netlists are large and no use to anybody."""
    seed = placed.design.removeprefix("placed-").removesuffix(".json")
    (build / f"routed-{seed}.config").replace(build / CONFIGURATION)
    for pattern in ("placed-*.json", "routed-*.config", "timing-*.json"):
        for path in build.glob(pattern):
            path.unlink()


def _utilization(report: Mapping[str, Any], target: Device) -> dict[str, dict[str, Any]]:
    used: Mapping[str, int] = report["estimate"]
    if "synthesis" in report:
        used = {**report["synthesis"]["used"], "io": used["io"]}
    if "place" in report:
        used = report["place"]["used"]
    return {
        name: {
            "used": used[name],
            "available": target.capacity[name],
            "share": used[name] / target.capacity[name],
        }
        for name in RESOURCES
    }
