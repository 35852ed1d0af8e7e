"""Synthesis through yosys: netlist and cells of a design on a device."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from spikejelly_pack.spec.atomic import write_text
from spikejelly_pack.spec.errors import RunError

from . import tools
from .devices import RESOURCES, Device
from .outputs import read_output
from .outreg import merge_output_registers

__all__ = ["Synthesis", "cells_of", "resources", "synthesize"]


@dataclass(frozen=True)
class Synthesis:
    """A synthesized design.

    Attributes:
        netlist: JSON netlist, a name in the folder.
        cells: Number of cells by type.
        used: Resources the cells take before packing, by the names of :data:`.devices.RESOURCES`.
        seconds: How long it took.
        tool: Version of yosys.
    """

    netlist: str
    cells: dict[str, int]
    used: dict[str, int]
    seconds: float
    tool: str


def cells_of(statistics: Mapping[str, Any], top: str) -> dict[str, int]:
    """Number of cells by type from what ``stat -json`` wrote.

    Raises:
        RunError: It holds no count of the design.
    """
    modules = statistics.get("modules", {})
    found = statistics.get("design") or modules.get(f"\\{top}") or modules.get(top)
    if not isinstance(found, Mapping) or "num_cells_by_type" not in found:
        raise RunError(f"synthesis of {top}: yosys must count its cells, did not; use yosys 0.23 or newer.")
    cells = cast("Mapping[str, Any]", found["num_cells_by_type"])
    return {name: int(count) for name, count in cells.items() if not name.startswith("$")}


def resources(cells: Mapping[str, int], device: Device) -> dict[str, int]:
    """What the cells of a netlist take on a device before they are packed."""
    used = dict.fromkeys(RESOURCES, 0)
    for name, count in cells.items():
        for resource, weight in device.family.cells.get(name, {}).items():
            used[resource] += weight * count
    return used


def synthesize(
    sources: Sequence[str],
    top: str,
    device: Device,
    folder: Path,
    *,
    parameters: Mapping[str, int] | None = None,
    dsp: bool = True,
    netlist: str = "netlist.json",
    deadline: float = 1800.0,
    progress: Callable[[str], Any] = str,
) -> Synthesis:
    """Synthesize a design for a device.

    Args:
        sources: SystemVerilog files, relative to ``folder``.
        top: Top module.
        device: Where it must run.
        folder: Holds the sources and the memories they read; gets the netlist, statistics and log.
        parameters: Of the top module.
        dsp: Whether multiplications may become DSP blocks.
        netlist: Name of the netlist.
        deadline: Seconds.
        progress: Gets the progress line.

    Raises:
        RunError: yosys refuses the design or passes the deadline.
    """
    tool = tools.find("yosys")
    command = device.family.synthesis if dsp else device.family.without_dsp
    settings = "".join(f" -chparam {name} {value}" for name, value in (parameters or {}).items())
    script = [
        f"read_verilog -sv -defer {' '.join(sources)}",
        f"hierarchy -check -top {top}{settings}",
        f"{command} -top {top} -json {netlist}",
        "tee -q -o statistics.json stat -json",
    ]
    done = tools.run(
        tool,
        ["-q", "-p", "; ".join(script)],
        folder,
        stage=f"synthesis of {top}",
        deadline=deadline,
        progress=progress,
    )
    stage = f"synthesis of {top}"
    cells = read_output(folder / "statistics.json", stage, lambda found: cells_of(found, top))
    if device.family.output_registers:
        cells = _with_output_registers(folder / netlist, cells, stage)
    return Synthesis(netlist, cells, resources(cells, device), done.seconds, tool.version)


def _with_output_registers(netlist: Path, cells: Mapping[str, int], stage: str) -> dict[str, int]:
    """Move registers into block memories; the cells that are left."""
    content, moved = read_output(netlist, stage, lambda found: (found, merge_output_registers(found)))
    if moved:
        write_text(netlist, json.dumps(content))
    return {name: count - moved.get(name, 0) for name, count in cells.items()}
