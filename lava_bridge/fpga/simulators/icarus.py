"""Icarus Verilog: slow, interpreted, and a second opinion on the language."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from spikejelly_pack.spec.graph.base import Array

from .. import tools
from ..streams import words_of
from ..testbench import testbench_text
from ..top import PROBES
from .bench import Bench, Engine

__all__ = ["ENGINE"]


def _compile(bench: Bench) -> list[str]:
    (bench.folder / "bench.sv").write_text(testbench_text(bench.design, bench.top, bench.probes), "utf-8")
    probes = [f"-D{PROBES}"] if bench.probes else []
    tools.run(
        tools.find("iverilog"),
        ["-g2012", *probes, "-s", "bench", "-o", "bench.vvp", *bench.sources, "bench.sv"],
        bench.folder,
        stage="compile for simulation",
        progress=bench.progress,
    )
    return [tools.find("vvp").command, "-n", "bench.vvp"]


def _arguments(values: Mapping[str, float]) -> list[str]:
    mille = {"gaps": 1000, "stalls": 1000}
    return [f"+{name}={round(value * mille.get(name, 1))}" for name, value in values.items()]


def _beats(folder: Path, name: str, bits: int) -> tuple[Array, Array]:
    lines = [line.split() for line in (folder / f"{name}.txt").read_text("utf-8").splitlines()]
    words = words_of(bits)
    raw = b"".join(int(beat, 16).to_bytes(4 * words, "little") for _, beat in lines)
    return np.frombuffer(raw, "<u4").reshape(-1, words), np.array(
        [int(cycle) for cycle, _ in lines], np.int64
    )


ENGINE = Engine(("iverilog", "vvp"), _compile, _arguments, _beats)
