"""Altered files of yosys, nextpnr and simulators: what they say, or one sentence that names the stage."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lava_bridge.fpga import place, synth
from lava_bridge.fpga.devices import device
from lava_bridge.fpga.outputs import read_output
from lava_bridge.fpga.outreg import merge_output_registers
from lava_bridge.fpga.simulate import Simulator
from spikejelly_pack.spec.errors import RunError

EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(100_000, marks=pytest.mark.fuzz)])
DATA = Path(__file__).parent / "data"
FLIP_FLOP = {
    "type": "TRELLIS_FF", "parameters": {"CLKMUX": "CLK", "CEMUX": "1 ", "LSRMUX": "LSR", "REGSET": "RESET"},
    "connections": {"CLK": [1], "LSR": ["0"], "DI": [9], "Q": [10]},
    "port_directions": {"CLK": "input", "LSR": "input", "DI": "input", "Q": "output"},
}  # fmt: skip
HALVES = {"CEA": ["1"], "CEB": ["1"], "RSTA": ["0"], "RSTB": ["0"], "CLKA": [1], "CLKB": [1], "DOA0": [9]}
PARAMETERS = {"DATA_WIDTH_A": "10010", "DATA_WIDTH_B": "10010", "CLKAMUX": "CLKA", "CLKBMUX": "CLKB"}
MEMORY = {
    "type": "DP16KD", "parameters": {**PARAMETERS, "REGMODE_A": "NOREG", "REGMODE_B": "NOREG"},
    "connections": HALVES, "port_directions": {**dict.fromkeys(HALVES, "input"), "DOA0": "output"},
}  # fmt: skip
NETLIST = {"modules": {"top": {"cells": {"m": MEMORY, "f": FLIP_FLOP}, "ports": {"y": {"bits": [10]}}}}}


def short(name: str) -> Any:
    """A stored report; of its lists the first entries, of the cells of a design some."""
    found = json.loads((DATA / f"{name}.json").read_text("utf-8"))

    def cut(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: cut(inner) for key, inner in list(value.items())[:12]}
        return [cut(inner) for inner in value[:3]] if isinstance(value, list) else value

    return cut(found)


def registers_moved(found: Any) -> dict[str, int]:
    return merge_output_registers(found)


READERS: dict[str, tuple[Any, Any]] = {
    "timing": (short("nextpnr-ecp5"), lambda found: place._routed(found, device("ecp5-25f"), 1, 1.0)),
    "placed": (short("placed-ecp5"), lambda found: place.tiles(found, "top")),
    "statistics": (short("yosys-ecp5"), lambda found: synth.cells_of(found, "lif_dense")),
    "netlist": (NETLIST, registers_moved),
}


def test_the_examples_are_read() -> None:
    assert registers_moved(copy.deepcopy(NETLIST)) == {"TRELLIS_FF": 1}
    for name in ("timing", "placed", "statistics"):
        original, take = READERS[name]
        assert take(original)


@EXAMPLES
def test_altered_reports(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path, makes = tmp_path / "report.json", {}
    for name, (original, _) in READERS.items():
        makes[name] = fuzzing.altered_json(original)
        makes[f"{name} bytes"] = fuzzing.altered_bytes(json.dumps(original).encode())

    def check(made: tuple[str, Any]) -> None:
        fuzzing.put(path, made[1] if isinstance(made[1], bytes) else json.dumps(made[1]))
        take = READERS[made[0].removesuffix(" bytes")][1]
        found, said = fuzzing.outcome(lambda file: read_output(file, "synthesis", take), path, RunError)
        assert said or isinstance(found, dict | place.Routed)

    fuzzing.run(fuzzing.choice_of(makes), check, examples)


@EXAMPLES
@pytest.mark.parametrize("engine", ["cxxrtl", "icarus"])
def test_altered_beats(engine: str, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """What a bench writes about a stream of 3 samples of 2 beats."""
    beats, cycles = np.arange(6, dtype="<u4"), np.arange(6, dtype="<u8")
    files = {"out_0.bin": beats.tobytes(), "out_0.cycles": cycles.tobytes()}
    if engine == "icarus":
        files = {"out_0.txt": "".join(f"{n} {n:x}\n" for n in range(6)).encode()}
    bench: Any = SimpleNamespace(engine=engine, bench=SimpleNamespace(folder=tmp_path))

    def check(made: tuple[str, bytes]) -> None:
        for name, data in files.items():
            fuzzing.put(tmp_path / name, made[1] if name == made[0] else data)
        found, said = fuzzing.outcome(
            lambda place: Simulator._file(place, "out_0", 3, 2, 20), bench, RunError
        )
        assert said or (len(found[0]) == 6 and found[1].shape == (3, 2))

    fuzzing.run(fuzzing.choice_of({n: fuzzing.altered_bytes(d) for n, d in files.items()}), check, examples)
