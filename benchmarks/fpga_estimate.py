"""How far the resource estimate is from synthesized and packed designs, and the coefficients that fit best.

The designs differ in shape, parallelism and T; the error is that of every design under coefficients fitted to
the others. ``lava_bridge/fpga/estimate.json`` holds the field ``coefficients`` of the stored result.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

from lava_bridge.fpga import tools
from lava_bridge.fpga.design import Design
from lava_bridge.fpga.devices import device
from lava_bridge.fpga.estimate import blocks, features
from lava_bridge.fpga.generate import write
from lava_bridge.fpga.options import Options
from lava_bridge.fpga.place import pack
from lava_bridge.fpga.planning import plan
from lava_bridge.fpga.synth import synthesize
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.atomic import write_text

__all__ = ["FAST", "STORES", "fit", "run", "table"]

STORES = True
FAST: dict[str, Any] = {"parts": ("ice40-up5k",), "most": 1}
RESOURCES = ("lut", "ff")


def dense(sizes: Sequence[int], bits: int, seed: int = 0) -> g.Network:
    """Dense layers of random 8-bit weights; the last size is that of the readout."""
    rng = np.random.default_rng(seed)
    ops: list[g.Op] = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(sizes[0],), time_steps=bits)
    ]
    for index, (before, after) in enumerate(pairwise(sizes)):
        weight = rng.integers(-127, 128, (after, before)).astype(np.int32)
        ops.append(g.Dense(name=f"w{index}", inputs=(ops[-1].name,), weight_bits=8, weight=weight))
        ops.append(_end(f"n{index}", after, bits, index == len(sizes) - 2, before, rng))
    return g.Network(ops, bits)


def conv(channels: Sequence[int], side: int, bits: int, classes: int = 10, seed: int = 0) -> g.Network:
    """Convolutions of 3 x 3 and a dense readout."""
    rng = np.random.default_rng(seed)
    shape = (channels[0], side, side)
    ops: list[g.Op] = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=shape, time_steps=bits)
    ]
    for index, (before, after) in enumerate(pairwise(channels)):
        weight = rng.integers(-127, 128, (after, before, 3, 3)).astype(np.int32)
        ops.append(
            g.Conv2d(name=f"w{index}", inputs=(ops[-1].name,), weight_bits=8, weight=weight, padding=(1, 1))
        )
        ops.append(_end(f"n{index}", after, bits, False, 9 * before, rng))
    ops.append(g.Flatten(name="flat", inputs=(ops[-1].name,)))
    count = channels[-1] * side * side
    weight = rng.integers(-127, 128, (classes, count)).astype(np.int32)
    ops.append(g.Dense(name="head", inputs=("flat",), weight_bits=8, weight=weight))
    ops.append(_end("out", classes, bits, True, count, rng))
    return g.Network(ops, bits)


def _end(name: str, count: int, bits: int, readout: bool, fan_in: int, rng: np.random.Generator) -> g.Op:
    inputs = (f"w{name[1:]}",) if name != "out" else ("head",)
    bias = rng.integers(-500, 500, count).astype(np.int32)
    if readout:
        return g.Readout(name=name, inputs=inputs, scale=np.ones(count, np.float64), bias=bias, state_bits=32)
    threshold = rng.integers(60 * int(fan_in**0.5), 90 * int(fan_in**0.5), count).astype(np.int32)
    return g.Neuron(name=name, inputs=inputs, threshold=threshold, bias=bias, time_steps=bits, state_bits=32)


def cases(part: str) -> Iterator[tuple[str, Design]]:
    """Designs to synthesize, small enough to take seconds each."""
    small = part.startswith("ice40")
    shapes: list[tuple[str, g.Network, list[Options]]] = [
        ("64-16-10 T4", dense((64, 16, 10), 4), [Options(lanes=16, fire=4), Options(lanes=4, fire=1)]),
        ("256-32-10 T4", dense((256, 32, 10), 4), [Options(lanes=16, fire=2), Options(lanes=8, fire=4)]),
        ("64-24-10 T2", dense((64, 24, 10), 2), [Options(lanes=12, fire=2, digits="binary")]),
        ("96-20-20-10 T6", dense((96, 20, 20, 10), 6), [Options(lanes=5, fire=1), Options(lanes=10, fire=2)]),
        ("conv 1-8 T4", conv((1, 8), 8, 4), [Options(lanes=4, fire=2), Options(lanes=2, fire=1)]),
    ]
    if not small:
        shapes += [
            ("256-64-10 T4", dense((256, 64, 10), 4), [Options(lanes=64, fire=8), Options(lanes=32, fire=4)]),
            ("784-96-10 T3", dense((784, 96, 10), 3), [Options(lanes=48, fire=8)]),
            (
                "conv 1-16-24 T4",
                conv((1, 16, 24), 8, 4),
                [Options(lanes=24, fire=4), Options(lanes=8, fire=1)],
            ),
            ("conv 3-16-32 T8", conv((3, 16, 32), 8, 8), [Options(lanes=16, fire=4)]),
            (
                "conv 2-12-16 T4, in LUTs",
                conv((2, 12, 16), 8, 4),
                [Options(lanes=8, fire=1, weight_memory="distributed")],
            ),
        ]
    for name, network, choices in shapes + _by_lines(small):
        for options in choices:
            yield f"{name}, {options.lanes} lanes, fire {options.fire}", plan(network, options)


def _by_lines(small: bool) -> list[tuple[str, g.Network, list[Options]]]:
    """Convolutions by line buffers, their tables in block memories and in LUTs."""

    def lines(*choices: tuple[int, int], **more: Any) -> list[Options]:
        return [Options(lanes=n, fire=fire, convolution="line", **more) for n, fire in choices]

    shapes = [("conv 2-8 T4 by lines", conv((2, 8), 8, 4), lines((4, 1), (8, 2)))]
    spread = {"weight_memory": "distributed"}
    if small:
        return [
            *shapes,
            ("conv 1-6 T2 by lines, in LUTs", conv((1, 6), 6, 2), lines((2, 1), (3, 1), **spread)),
        ]
    return [
        *shapes,
        ("conv 1-16-24 T4 by lines", conv((1, 16, 24), 8, 4), lines((24, 4), (8, 1))),
        ("conv 3-16-32 T8 by lines", conv((3, 16, 32), 8, 8), lines((16, 2))),
        ("conv 2-12 T3 by lines, in LUTs", conv((2, 12), 8, 3), lines((12, 2), (6, 1), **spread)),
    ]


def run(
    parts: Sequence[str] = ("ecp5-25f", "ice40-up5k"),
    most: int | None = None,
    store: str | None = None,
    progress: Callable[[str], Any] = str,
) -> dict[str, Any]:
    """Synthesize and pack every design, fit the coefficients.

    Args:
        parts: Devices, one per family.
        most: Only the first designs.
        store: File to write to as it goes; designs in it are not run again.
        progress: Gets a word on what runs now.
    """
    known = json.loads(Path(store).read_text("utf-8")) if store and Path(store).is_file() else {}
    result: dict[str, Any] = {"points": known.get("points", {}), "tools": tools.versions(("yosys",))}
    for part in parts:
        points = result["points"].setdefault(part, {})
        for name, design in list(cases(part))[:most]:
            entry = points.setdefault(name, {})
            if "used" not in entry:
                entry["used"] = _measured(design, part, lambda line, n=name: progress(f"{n}: {line}"))
            entry["features"] = features(design, device(part))
            entry["bram"] = blocks(design, device(part).family)
            if store:
                write_text(store, json.dumps(result, indent=2) + "\n")
    result["coefficients"] = {
        device(part).family.name: {name: fit(points.values(), name) for name in RESOURCES}
        for part, points in result["points"].items()
    }
    result["error"] = {
        part: {name: _left_out(list(points.values()), name) for name in RESOURCES}
        for part, points in result["points"].items()
    }
    return result


def _measured(design: Design, part: str, progress: Callable[[str], Any]) -> dict[str, int]:
    target = device(part)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(design, folder)
        sources = [path.name for path in sorted(folder.glob("*.sv"))]
        netlist = synthesize(sources, design.top, target, folder, progress=progress)
        return pack(netlist, target, folder, progress=progress)


def fit(points: Any, resource: str) -> dict[str, float]:
    """Weights that are not negative and give the least relative error."""
    rows = [(point["features"], point["used"][resource]) for point in points]
    names = sorted({name for counted, _ in rows for name in counted})
    matrix = np.array([[counted.get(name, 0.0) / max(1, used) for name in names] for counted, used in rows])
    weights, _ = nnls(matrix, np.ones(len(rows)))
    return {name: round(float(weight), 4) for name, weight in zip(names, weights, strict=True) if weight > 0}


def _left_out(points: list[Any], resource: str) -> dict[str, float]:
    """Relative error of each design under coefficients fitted to the others: median and largest."""
    if len(points) < 2:
        return {}
    errors = []
    for index, point in enumerate(points):
        weights = fit(points[:index] + points[index + 1 :], resource)
        guess = sum(weights.get(name, 0.0) * value for name, value in point["features"].items())
        errors.append(abs(guess / max(1, point["used"][resource]) - 1))
    return {"median": float(np.median(errors)), "largest": max(errors)}


def table(result: dict[str, Any]) -> str:
    """Designs, what they took and the error of the estimate as Markdown."""
    lines = ["| device | designs | LUT error, median (largest) | FF error | block memories, exact |"]
    lines.append("|---|---:|---:|---:|---:|")
    for part, points in result["points"].items():
        cells = [part, str(len(points))]
        for name in RESOURCES:
            error = result["error"][part][name]
            cells.append(f"{error['median']:.0%} ({error['largest']:.0%})" if error else "")
        right = sum(point["bram"] == point["used"]["bram"] for point in points.values())
        cells.append(f"{right} of {len(points)}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
