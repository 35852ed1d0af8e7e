"""Place-and-route through nextpnr: frequency and resources of a routed design, and where its cells are."""

from __future__ import annotations

import re
import statistics
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from spikejelly_pack.spec.errors import ParameterError, RunError

from . import tools
from .devices import RESOURCES, Device
from .outputs import read_output
from .parallel import side_by_side
from .synth import Synthesis

__all__ = [
    "Placed",
    "Routed",
    "frequency",
    "pack",
    "place",
    "route",
    "tiles",
    "used_resources",
    "utilization",
]

_BEL = re.compile(r"X(\d+)/Y(\d+)/(\S+)")


@dataclass(frozen=True)
class Routed:
    """One run of place-and-route.

    Attributes:
        seed: Of the placer.
        fmax: MHz after routing, of the slowest clock.
        used: Resources in the report.
        path: The slowest path: end points and nanoseconds of logic and of wires.
        seconds: How long it took.
    """

    seed: int
    fmax: float
    used: dict[str, int]
    path: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class Placed:
    """Runs with several seeds.

    Attributes:
        runs: One per seed.
        fmax: Median MHz.
        used: Resources of the run with the median, flip-flops from the netlist where the report has none.
        tool: Version of nextpnr.
        design: Name of the placed netlist of the median's run, in the folder.
    """

    runs: tuple[Routed, ...]
    fmax: float
    used: dict[str, int]
    tool: str
    design: str

    def to_json(self) -> dict[str, Any]:
        """Numbers for a report."""
        spread = [run.fmax for run in self.runs]
        return {
            "fmax_mhz": self.fmax,
            "fmax_spread_mhz": [min(spread), max(spread)],
            "used": self.used,
            "tool": self.tool,
            "runs": [asdict(run) for run in self.runs],
        }


def frequency(report: Mapping[str, Any]) -> float:
    """MHz of the slowest clock in a report of nextpnr, which it writes after routing.

    Raises:
        RunError: The report holds no clock.
    """
    clocks = [float(clock["achieved"]) for clock in report.get("fmax", {}).values()]
    if not clocks:
        raise RunError("place and route: the report must hold a clock, has none; the design needs registers.")
    return min(clocks)


def used_resources(report: Mapping[str, Any], device: Device) -> dict[str, int]:
    """Resources used, by our names, from a report of nextpnr."""
    used: dict[str, int] = {}
    for name, entry in report.get("utilization", {}).items():
        if resource := device.family.used.get(name):
            used[resource] = used.get(resource, 0) + int(entry["used"])
    return used


def _slowest_path(report: Mapping[str, Any]) -> dict[str, Any]:
    paths = [one for one in report.get("critical_paths", []) if "<async>" not in (one["from"], one["to"])]
    if not paths:
        return {}
    steps = max(paths, key=lambda one: sum(float(step["delay"]) for step in one["path"]))["path"]
    logic = sum(float(step["delay"]) for step in steps if step["type"] != "routing")
    wires = sum(float(step["delay"]) for step in steps if step["type"] == "routing")
    return {
        "from": str(steps[0].get("from", {}).get("cell", "")),
        "to": str(steps[-1].get("to", {}).get("cell", "")),
        "logic_ns": round(logic, 3),
        "wire_ns": round(wires, 3),
        "levels": sum(step["type"] == "logic" for step in steps),
    }


def utilization(text: str, device: Device) -> dict[str, int]:
    """Resources used, by our names, from what nextpnr prints once a design is packed.

    Raises:
        RunError: It printed none.
    """
    lines = re.findall(r"^Info:\s+(\w+):\s*(\d+)/\s*\d+\s+\d+%", text, re.MULTILINE)
    used: dict[str, int] = {}
    for name, count in lines:
        if resource := device.family.used.get(name):
            used[resource] = used.get(resource, 0) + int(count)
    if not used:
        raise RunError("packing: nextpnr must print the utilisation, did not; use nextpnr 0.4 or newer.")
    return used


def pack(
    synthesis: Synthesis,
    device: Device,
    folder: Path,
    *,
    deadline: float = 900.0,
    progress: Callable[[str], Any] = str,
) -> dict[str, int]:
    """Resources that a netlist takes once its cells are packed, placed or not; arguments as :func:`place`."""
    done = tools.run(
        tools.find(device.family.tool),
        [*device.options, *_pins(device, None), "--json", synthesis.netlist, "--pack-only"],
        folder,
        stage="packing",
        deadline=deadline,
        progress=progress,
    )
    used = utilization(done.text, device)
    return {name: used.get(name, synthesis.used[name]) for name in RESOURCES}


def _pins(device: Device, constraints: str | None) -> list[str]:
    """A file that places every pin, or leave to place where none does."""
    option = device.family.pins[0]
    return [f"{option}-allow-unconstrained"] if constraints is None else [option, constraints]


def route(
    netlist: str,
    device: Device,
    folder: Path,
    seed: int,
    *,
    constraints: str | None = None,
    deadline: float = 1800.0,
    progress: Callable[[str], Any] = str,
) -> Routed:
    """Place and route a netlist once.

    Args:
        netlist: JSON netlist, relative to ``folder``.
        device: Where it must run.
        folder: Gets ``placed-SEED.json``, ``timing-SEED.json``, the routed configuration and the log.
        seed: Of the placer.
        constraints: File of pins, relative to ``folder``; every pin of the design must be in it.
        deadline: Seconds.
        progress: Gets the progress line.

    Raises:
        RunError: It does not fit, a pin is not constrained, nextpnr fails or passes the deadline.
    """
    _, option = device.family.packer
    report, stage = f"timing-{seed}.json", f"place and route, seed {seed}"
    done = tools.run(
        tools.find(device.family.tool),
        [
            *device.options,
            *_pins(device, constraints),
            *("--json", netlist, "--write", f"placed-{seed}.json", "--report", report),
            *("--seed", str(seed), "--freq", str(device.family.frequency)),
            *("--timing-allow-fail", option, f"routed-{seed}.config"),
        ],
        folder,
        stage=stage,
        deadline=deadline,
        progress=progress,
    )
    seconds = round(done.seconds, 1)
    return read_output(folder / report, stage, lambda found: _routed(found, device, seed, seconds))


def _routed(found: Mapping[str, Any], device: Device, seed: int, seconds: float) -> Routed:
    """What a report of nextpnr says."""
    used = used_resources(found, device)
    return Routed(seed, round(frequency(found), 2), used, _slowest_path(found), seconds)


def place(
    synthesis: Synthesis,
    device: Device,
    folder: Path,
    *,
    seeds: Sequence[int] = (1, 2, 3),
    constraints: str | None = None,
    deadline: float = 1800.0,
    progress: Callable[[str], Any] = str,
) -> Placed:
    """Place and route with several seeds at once; arguments and errors as :func:`route`, per seed."""
    if not seeds or len(set(seeds)) != len(seeds):
        raise ParameterError(f"seeds: must be different numbers, got {list(seeds)}; name each once.")

    def one(seed: int, tick: Callable[[str], Any]) -> Routed:
        return route(
            synthesis.netlist, device, folder, seed, constraints=constraints, deadline=deadline, progress=tick
        )

    tool = tools.find(device.family.tool)
    stage = f"place and route ({tool.name} {tool.version})"
    runs = side_by_side(one, seeds, stage, progress)
    middle = sorted(runs, key=lambda run: run.fmax)[(len(runs) - 1) // 2]
    used = {name: middle.used.get(name, synthesis.used[name]) for name in RESOURCES}
    return Placed(
        tuple(runs),
        round(statistics.median(run.fmax for run in runs), 2),
        used,
        tool.version,
        f"placed-{middle.seed}.json",
    )


def tiles(placed: Mapping[str, Any], top: str) -> dict[tuple[int, int, str], int]:
    """How many cells stand on each tile: ``(x, y, kind)`` to a count, kind as :func:`_kind_of` names it.

    Args:
        placed: JSON netlist with placement, as nextpnr writes it.
        top: Top module.
    """
    modules = placed["modules"]
    cells = modules[top if top in modules else next(iter(modules), "")]["cells"]
    count: Counter[tuple[int, int, str]] = Counter()
    for cell in cells.values():
        found = _BEL.search(cell.get("attributes", {}).get("NEXTPNR_BEL", ""))
        kind = _kind_of(cell["type"])
        if found and kind:
            count[int(found.group(1)), int(found.group(2)), kind] += 1
    return dict(count)


def _kind_of(cell: str) -> str | None:
    """lut, ff, bram, dsp or io; None for clocks and constants."""
    kinds = {
        "lut": ("TRELLIS_COMB", "ICESTORM_LC", "TRELLIS_RAMW"),
        "ff": ("TRELLIS_FF",),
        "bram": ("DP16KD", "ICESTORM_RAM", "ICESTORM_SPRAM"),
        "dsp": ("MULT18X18D", "ALU54B", "ICESTORM_DSP"),
        "io": ("TRELLIS_IO", "SB_IO"),
    }
    return next((kind for kind, names in kinds.items() if cell in names), None)
