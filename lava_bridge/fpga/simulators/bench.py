"""What every simulator's bench needs: the folder, the sources, the ports."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from spikejelly_pack.spec.graph.base import Array

from ..design import Design
from ..streams import words_of

__all__ = ["Bench", "Engine", "binary_beats", "in_order", "member_header"]


@dataclass(frozen=True)
class Bench:
    """A design's folder, in which it is compiled and run.

    Attributes:
        design: What is simulated.
        folder: Holds the sources and memories, and everything a run writes.
        sources: SystemVerilog files, the top last.
        top: Top module: the design's, or a netlist's.
        probes: Whether the top shows the codes of every population.
        progress: Gets a line now and then.
    """

    design: Design
    folder: Path
    sources: tuple[str, ...]
    top: str
    probes: bool
    progress: Callable[[str], Any]

    def add(self, name: str, as_name: str | None = None) -> None:
        """Copy a fixed file of the bench into the folder."""
        text = (files("lava_bridge.fpga") / "bench" / name).read_text("utf-8")
        (self.folder / (as_name or name)).write_text(text, "utf-8")


def in_order(values: Mapping[str, float]) -> list[str]:
    """Arguments of the C++ bench."""
    return [str(values[name]) for name in ("samples", "gaps", "stalls", "seed", "patience")]


def binary_beats(folder: Path, name: str, bits: int) -> tuple[Array, Array]:
    """Beats ``[n, words]`` (uint32) and their cycles ``[n]`` as the C++ bench writes them."""
    data = np.fromfile(folder / f"{name}.bin", "<u4").reshape(-1, words_of(bits))
    return data, np.fromfile(folder / f"{name}.cycles", "<u8").astype(np.int64)


@dataclass(frozen=True)
class Engine:
    """One simulator.

    Attributes:
        needs: Tools that must be installed.
        compile: Compiles a bench; returns the command that runs it in its folder.
        arguments: Arguments of that command from the run's values by name.
        beats: ``beats(folder, stream, bits)``: what a run wrote about one stream.
    """

    needs: tuple[str, ...]
    compile: Callable[[Bench], Sequence[str]]
    arguments: Callable[[Mapping[str, float]], list[str]] = in_order
    beats: Callable[[Path, str, int], tuple[Array, Array]] = binary_beats


def member_header(bench: Bench, member: Callable[[str], str]) -> str:
    """The C++ header that names the ports; ``member`` turns a port's name into the simulator's."""
    design, network = bench.design, bench.design.network
    lines = [f"#define TOP_RESETN {member('aresetn')}"]
    inputs: list[str] = []
    outputs: list[str] = []
    probes: list[str] = []
    for index, op in enumerate(network.inputs):
        stream, port = design.streams[op.name], design.port("s", op.name)
        names = [member(f"{port}_t{what}") for what in ("valid", "ready", "data")]
        inputs.append(f"X({index}, {', '.join(names)}, {words_of(stream.data_bits)}, {stream.beats})")
    for index, op in enumerate(network.readouts):
        population, port = design.populations[op.name], design.port("m", op.name)
        names = [member(f"{port}_t{what}") for what in ("valid", "ready", "data", "last")]
        outputs.append(f"X({index}, {', '.join(names)}, {words_of(population.out_bits)}, {population.beats})")
    for index, op in enumerate(network.neurons if bench.probes else []):
        population = design.populations[op.name]
        names = [member(f"probe_{population.ident}{end}") for end in ("", "_data")]
        probes.append(f"X({index}, {', '.join(names)}, {words_of(population.out_bits)}, {population.beats})")
    for name, entries in (("INPUTS", inputs), ("OUTPUTS", outputs), ("PROBES", probes)):
        lines.append(f"#define {name}(X) {' '.join(entries)}")
    return "\n".join([*lines, ""])
