"""What a design will take on a device, before synthesis: counted bits times fitted weights.

Block memories follow from the design; LUTs and flip-flops are sums of counted features, weighted by the
coefficients in ``estimate.json``, which ``spikepack bench fpga_estimate`` fits to synthesized designs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from .design import Design, Line, Population, Projection
from .devices import RESOURCES, Device, Family
from .line import tree_widths

__all__ = ["block_memories", "blocks", "coefficients", "estimate", "features", "in_blocks", "pins"]


@cache
def coefficients() -> dict[str, dict[str, dict[str, float]]]:
    """Fitted weights: family, resource, feature."""
    text = (files("lava_bridge.fpga") / "estimate.json").read_text("utf-8")
    found: dict[str, dict[str, dict[str, float]]] = json.loads(text)
    return found


def block_memories(width: int, depth: int, family: Family) -> int:
    """Block memories of a memory: the aspect ratio that takes the fewest."""
    counts: list[int] = []
    word = family.memory_width
    while word >= 1:
        words = family.memory_bits // family.memory_width * (family.memory_width // word)
        counts.append(-(-width // word) * -(-depth // words))
        word //= 2
    return min(counts)


def in_blocks(width: int, depth: int, style: str, family: Family, *, rom: bool) -> bool:
    """Whether synthesis puts a memory into block memories: what is asked for, else what costs less there.

    The costs are those of yosys: a block counts as ``block_cost``, a constant bit as a sixteenth, a written
    memory as 4 for 16 words of 4 bits where LUTs can be written, and half a bit for every bit that is
    selected among, or enabled in, further such 16 words; else as 1 a bit.
    """
    if style != "auto":
        return style == "block"
    if rom:
        otherwise = width * depth / 16
    elif family.lut_memory:
        rows = -(-depth // 16)
        otherwise = 4.0 * rows * -(-width // 4) + 0.5 * (rows - 1) * (width + 1)
    else:
        otherwise = float(width * depth)
    return block_memories(width, depth, family) * family.block_cost < otherwise


def _memories(population: Population, style: str) -> list[tuple[int, int, str, str]]:
    """Width, depth, style and kind of every memory of a population: ``constant``, ``table`` or ``stored``."""
    found = _line_memories(population, style) if population.line else []
    found += [
        (p.weight_bits * p.parameters["L"], p.parameters["DEPTH"], p.memory, "constant")
        for p in population.projections
    ]
    entry = population.state_bits + 2 * population.threshold_bits
    found.append((population.fire * entry, len(population.table), "auto", "constant"))
    if population.stored > 1:
        found += 2 * [(population.lanes * population.acc_bits, population.depth, style, "stored")]
    found += [
        (p.parameters["F"] * p.parameters["T"], p.buffer, "auto", "stored") for p in population.projections
    ]
    # What is on its way from the membranes through the firing stages must find room behind them.
    ahead = 1 if population.stored == 1 else 2
    waiting = 16 if population.time_steps + 3 + int(len(population.table) > 16) + ahead < 11 else 32
    found.append((population.out_bits + 1, waiting, "auto", "stored"))
    return found


def _line_memories(population: Population, style: str) -> list[tuple[int, int, str, str]]:
    """Tables, line buffers and the windows that wait to fire, as :func:`_memories`."""
    assert population.line is not None
    line, p = population.line, population.line.parameters
    tables = len(line.tables) * [(p["L"] * p["T_W"], line.tables.shape[1], line.memory, "table")]
    rows = p["NR"] * [(p["F"] * (p["T"] + p["SIGNED"]), p["COLS"] * p["BEATS"], style, "stored")]
    return [*tables, *rows, (p["L"] * population.acc_bits, p["HOLD"], "auto", "stored")]


def _line(line: Line) -> dict[str, float]:
    p = line.parameters
    digits = p["T"] + p["SIGNED"]
    return {
        "line": 1,
        "shift": p["L"] * p["DW"] * max(1, (digits - 1).bit_length()),
        "slice": (line.taps + p["NR"] * p["KH"] * p["F"]) * digits,
        "tree": p["L"] * sum(count * width for count, width in tree_widths(line)),
    }


def _projection(projection: Projection) -> dict[str, float]:
    p = projection.parameters
    digits = p["T"] + p["CSD"]
    addresses = p["WA_W"] + p["VA_W"]
    positions = len(projection.row_table) + len(projection.col_table)
    return {
        "projection": 1,
        "weight": p["L"] * p["W_W"],
        "shift": p["L"] * p["DW"] * max(1, (digits - 1).bit_length()),
        "scan": p["F"] * digits,
        "address": addresses * (1 + positions / 16),
    }


def features(design: Design, device: Device) -> dict[str, float]:
    """What is counted of a design; the names are those of the coefficients."""
    family = device.family
    total: dict[str, float] = {}

    def add(part: Mapping[str, float]) -> None:
        for name, value in part.items():
            total[name] = total.get(name, 0.0) + value

    for population in design.populations.values():
        membrane = population.lanes * population.acc_bits
        if population.line is not None:
            add(_line(population.line))
        add({"register" if population.stored == 1 else "memory": membrane})
        add({"fire": population.fire * population.state_bits * (population.time_steps + 2)})
        for projection in population.projections:
            add(_projection(projection))
        for width, depth, style, kind in _memories(population, design.options.membrane_memory):
            rom = kind != "stored"
            if not in_blocks(width, depth, style, family, rom=rom):
                add({kind: width * depth / 16 if rom else -(-width // 4) * -(-depth // 16)})
    return total


def estimate(design: Design, device: Device) -> dict[str, int]:
    """Resources by the names of :data:`.devices.RESOURCES`."""
    counted = features(design, device)
    weights = coefficients()[device.family.name]
    used: dict[str, int] = dict.fromkeys(RESOURCES, 0)
    for resource in ("lut", "ff"):
        used[resource] = round(sum(weights[resource].get(n, 0.0) * value for n, value in counted.items()))
    used["bram"] = blocks(design, device.family)
    used["io"] = pins(design)
    return used


def blocks(design: Design, family: Family) -> int:
    """Block memories of a design."""
    style = design.options.membrane_memory
    return sum(
        block_memories(width, depth, family)
        for population in design.populations.values()
        for width, depth, own, kind in _memories(population, style)
        if in_blocks(width, depth, own, family, rom=kind != "stored")
    )


def pins(design: Design) -> int:
    """Pins of the top module: clock, reset and streams, whose data are whole bytes."""
    inputs = [2 + _bytes(design.streams[op.name].data_bits) for op in design.network.inputs]
    outputs = [3 + _bytes(design.populations[op.name].out_bits) for op in design.network.readouts]
    return 2 + sum(inputs) + sum(outputs)


def _bytes(bits: int) -> int:
    return -(-bits // 8) * 8
