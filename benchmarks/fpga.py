"""What a dense SpikePack layer costs on a device beside a LIF layer and an integer MAC layer, in one flow.

Every design adds all its neurons in one cycle, reads weights from the same block memories and is checked word
for word against numpy before it is synthesized. Frequencies are nextpnr's estimates, medians over seeds.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lava_bridge.fpga import tools
from lava_bridge.fpga.devices import device
from lava_bridge.fpga.place import place
from lava_bridge.fpga.synth import synthesize
from spikejelly_pack.spec.atomic import write_text

from . import fpga_layers as layers
from .fpga_layers import Layer, Size, Stream
from .fpga_spikepack import spikepack, spikepack_stream

__all__ = ["FAST", "STORES", "run", "table"]

STORES = True
FAST: dict[str, Any] = {
    "sizes": ({"n_in": 64, "n_out": 8, "fire": 2},),
    "seeds": (1,),
    "samples": 4,
    "densities": (0.3,),
}
SIZES: tuple[dict[str, int], ...] = ({"n_out": 24}, {"n_out": 24, "bits": 8})


def run(
    sizes: Sequence[dict[str, int]] = SIZES,
    part: str = "ecp5-25f",
    seeds: Sequence[int] = (1, 2, 3),
    densities: Sequence[float] = (0.1, 0.3, 0.5),
    samples: int = 60,
    store: str | None = None,
    progress: Callable[[str], Any] = str,
) -> dict[str, Any]:
    """Cycles, resources and frequency of every design.

    Args:
        sizes: Layers, as arguments of :class:`Size`.
        part: Device.
        seeds: Of place-and-route.
        densities: Of set bits; bits are independent.
        samples: Simulated per density.
        store: File to write to as it goes; designs in it are not run again.
        progress: Gets a word on what runs now.
    """
    result: dict[str, Any] = {"part": part, "seeds": list(seeds), "samples": samples, "designs": {}}
    if store and Path(store).is_file():
        result["designs"] = json.loads(Path(store).read_text("utf-8")).get("designs", {})
    result["tools"] = tools.versions(("yosys", device(part).family.tool, "iverilog"))
    for arguments in sizes:
        size = Size(**arguments)
        for layer in designs(size):
            key = f"{layer.name} {size.n_in}x{size.n_out} on {part}"
            if key not in result["designs"]:
                tell = _named(progress, key)
                entry = {
                    "layer": layer.name,
                    "size": asdict(size),
                    "parameters": layer.parameters | layer.facts,
                }
                entry["cycles"] = cycles(layer, size, densities, samples, tell)
                entry |= implemented(layer, part, seeds, tell)
                result["designs"][key] = entry
                if store:
                    write_text(store, json.dumps(result, indent=2) + "\n")
    return result


def _named(progress: Callable[[str], Any], key: str) -> Callable[[str], Any]:
    return lambda line: progress(f"{key}: {line}")


def designs(size: Size) -> Iterator[Layer]:
    """The designs compared at one size."""
    yield spikepack(size)
    yield layers.mac(size, skip=True, dsp=False)
    yield layers.mac(size, skip=True, dsp=True)
    yield layers.lif(size, size.bits)
    if size.bits <= 4:  # 2^T - 1 steps of a longer code are out of the question
        yield spikepack(size, "binary")
        yield layers.lif(size, (1 << size.bits) - 1)
        yield layers.mac(size, skip=False, dsp=False)
        yield layers.mac(size, skip=False, dsp=True)


def cycles(
    layer: Layer,
    size: Size,
    densities: Sequence[float],
    samples: int,
    progress: Callable[[str], Any],
) -> dict[str, float]:
    """Cycles per sample by density, from a simulation that equals numpy in every word."""
    found = {}
    for density in densities:
        progress(f"simulation at {density:.0%}")
        trains = layers.bit_trains(np.random.default_rng(7), samples, size.bits, size.n_in, density)
        with tempfile.TemporaryDirectory() as folder:
            stream = stream_of(layer, size, trains)
            found[f"{density:.0%}"] = layers.simulate(layer, stream, Path(folder))
    return found


def stream_of(layer: Layer, size: Size, trains: layers.Array) -> Stream:
    """Stimulus and answers of any of the layers."""
    if layer.top == "sp_dense":
        return spikepack_stream(size, layers.decoded(trains))
    return layers.stream_of(layer, size, trains)


def implemented(
    layer: Layer, part: str, seeds: Sequence[int], progress: Callable[[str], Any]
) -> dict[str, Any]:
    """Resources and frequency on a device."""
    target = device(part)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = layers.prepare(layer, folder)
        netlist = synthesize(
            sources, layer.top, target, folder, parameters=layer.parameters, dsp=layer.dsp, progress=progress
        )
        placed = place(netlist, target, folder, seeds=seeds, progress=progress)
    return {"cells": netlist.cells, **placed.to_json()}


def table(result: dict[str, Any]) -> str:
    """Resources, frequency and throughput of every design as Markdown."""
    densities = list(next(iter(result["designs"].values()))["cycles"])
    head = ["design", "LUT", "FF", "BRAM", "DSP", "Fmax, MHz", *(f"samples/s at {d}" for d in densities)]
    lines = [f"| {' | '.join(head)} |", "|---" + "|---:" * (len(head) - 1) + "|"]
    for key, entry in result["designs"].items():
        low, high = entry["fmax_spread_mhz"]
        used = [str(entry["used"][name]) for name in ("lut", "ff", "bram", "dsp")]
        speed = [f"{1e3 * entry['fmax_mhz'] / entry['cycles'][d]:.0f} k" for d in densities]
        cells = [key, *used, f"{entry['fmax_mhz']:.1f} ({low:.1f} to {high:.1f})", *speed]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Ratio of medians."""
    return statistics.median(values) / statistics.median(others)
