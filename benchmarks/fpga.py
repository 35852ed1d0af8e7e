"""What a dense SpikePack layer costs on a device beside a LIF layer and an integer MAC layer, in one flow.

Every design adds all its neurons in one cycle, reads weights from the same block memories and is checked word
for word against numpy before it is synthesized. Frequencies are nextpnr's estimates, medians over seeds.
SpikePack takes codes and finds its events itself; the other layers are given theirs by the bench.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from .fpga_layers import Array, Layer, Size, Stream
from .fpga_spikepack import spikepack, spikepack_stream
from .fpga_table import table

__all__ = ["FAST", "STORES", "run", "table"]

STORES = True
FAST: dict[str, Any] = {
    "sizes": ({"n_in": 64, "n_out": 8, "fire": 2},),
    "seeds": (1,),
    "samples": 4,
    "densities": (0.3,),
    "digits": False,
}
SIZES: tuple[dict[str, int], ...] = ({"n_out": 24, "fire": 8}, {"n_out": 24, "fire": 2})


def run(
    sizes: Sequence[dict[str, int]] = SIZES,
    part: str = "ecp5-25f",
    seeds: Sequence[int] = (1, 2, 3),
    densities: Sequence[float] = (0.1, 0.3, 0.5),
    samples: int = 60,
    digits: bool = True,
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
        digits: Also simulate with the codes of the trained digits network.
        store: File to write to as it goes; what it holds is not run again.
        progress: Gets a word on what runs now.
    """
    stored = json.loads(Path(store).read_text("utf-8")) if store and Path(store).is_file() else {}
    target = device(part)
    result: dict[str, Any] = {
        "part": part,
        "capacity": dict(target.capacity),
        "seeds": list(seeds),
        "samples": samples,
        "tools": stored.get("tools") or tools.versions(("yosys", target.family.tool, "iverilog")),
        "designs": stored.get("designs", {}),
    }
    for arguments in sizes:
        size = Size(**arguments)
        stimuli = _stimuli(size, densities, samples, digits, progress)
        for layer in designs(size):
            key = f"{layer.name} {size.n_in}x{size.n_out}, fire {size.fire}, {part}"
            entry = result["designs"].setdefault(key, {"layer": layer.name, "size": asdict(size)})
            tell = _named(progress, key)
            entry["parameters"] = layer.parameters | layer.facts
            entry["cycles"] = _cycles(layer, size, stimuli, entry.get("cycles", {}), tell)
            if "fmax_mhz" not in entry:
                entry |= implemented(layer, part, seeds, tell)
            if store:
                write_text(store, json.dumps(result, indent=2) + "\n")
    return result


def _named(progress: Callable[[str], Any], key: str) -> Callable[[str], Any]:
    return lambda line: progress(f"{key}: {line}")


def _stimuli(
    size: Size, densities: Sequence[float], samples: int, digits: bool, progress: Callable[[str], Any]
) -> dict[str, Array]:
    """Spike trains ``[samples, bits, n_in]`` by what they are."""
    found = {
        f"{density:.0%}": layers.bit_trains(np.random.default_rng(7), samples, size.bits, size.n_in, density)
        for density in densities
    }
    if digits:
        from .fpga_codes import digits_codes  # late: it needs torch

        progress("training the digits network")
        places = np.arange(size.bits - 1, -1, -1)[:, None]
        for name, codes in digits_codes(size.bits, size.n_in, samples).items():
            found[name] = codes.astype(np.int64)[:, None, :] >> places & 1
    return found


def designs(size: Size) -> Iterator[Layer]:
    """The designs compared at one size."""
    yield spikepack(size)
    yield layers.mac(size, skip=True, dsp=False)
    yield layers.mac(size, skip=True, dsp=True)
    yield layers.lif(size, size.bits)
    if size.bits <= 4 and size.fire > 2:  # a code of more bits would take hundreds of steps
        yield layers.lif(size, (1 << size.bits) - 1)
        yield layers.mac(size, skip=False, dsp=False)
        yield layers.mac(size, skip=False, dsp=True)


def _cycles(
    layer: Layer,
    size: Size,
    stimuli: Mapping[str, Array],
    known: Mapping[str, float],
    progress: Callable[[str], Any],
) -> dict[str, float]:
    """Cycles per sample by stimulus, from a simulation that equals numpy in every word."""
    found = dict(known)
    for name, trains in stimuli.items():
        if name not in found:
            progress(f"simulation, {name}")
            with tempfile.TemporaryDirectory() as folder:
                found[name] = layers.simulate(layer, stream_of(layer, size, trains), Path(folder))
    return found


def stream_of(layer: Layer, size: Size, trains: Array) -> Stream:
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
