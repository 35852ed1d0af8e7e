"""Runs a generated design in a simulator: whole test sets stream through, every layer's codes come back."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikejelly_pack.spec.errors import ParameterError, RunError, ShapeError
from spikejelly_pack.spec.execute import as_inputs
from spikejelly_pack.spec.graph.base import Array

from . import tools
from .design import Design
from .generate import rtl_sources, write
from .outputs import whole
from .simulators import SIMULATORS, choose
from .simulators.bench import Bench
from .streams import beats_of_codes, codes_of_beats, membranes_of_beats

__all__ = ["Simulated", "Simulator", "simulator"]

PATIENCE = 200_000


@dataclass(frozen=True, eq=False)
class Simulated:
    """What came out of a run.

    Attributes:
        values: Codes of every neuron (as far as they were probed) and membranes of every readout by name.
        cycles: Cycle of every beat of them, ``[N, beats]``.
        first: Cycle of the first beat that went in.
        total: Cycles until the last beat was out.
    """

    values: dict[str, Array]
    cycles: dict[str, Array]
    first: int
    total: int


@dataclass(frozen=True)
class Simulator:
    """A compiled design, ready to run again and again.

    Attributes:
        bench: The design and its folder.
        engine: Which simulator.
        command: What runs it.
    """

    bench: Bench
    engine: str
    command: list[str]

    def run(
        self,
        codes: Mapping[str, Array] | Array,
        *,
        gaps: float = 0.0,
        stalls: float = 0.0,
        seed: int = 1,
        deadline: float = 3600.0,
    ) -> Simulated:
        """Stream samples through.

        Args:
            codes: Input codes ``[N, *shape]``, by input name where there are several.
            gaps: Chance that a source pauses in a cycle.
            stalls: Chance that a sink is not ready in a cycle.
            seed: Of the pauses.
            deadline: Seconds.

        Raises:
            ParameterError: A chance is not in [0, 1).
            RunError: The design got stuck, broke a rule of its streams or emitted too much.
        """
        for name, value in (("gaps", gaps), ("stalls", stalls)):
            if not 0 <= value < 1:
                raise ParameterError(f"simulate: {name} must be in [0, 1), got {value!r}; use e.g. 0.3.")
        design, folder = self.bench.design, self.bench.folder
        given = as_inputs(design.network, codes)
        samples = len(next(iter(given.values())))
        if samples == 0:
            raise ShapeError("simulate: codes must hold at least one sample, got none; pass more data.")
        for index, op in enumerate(design.network.inputs):
            beats = beats_of_codes(design.streams[op.name], given[op.name])
            (folder / f"in_{index}.bin").write_bytes(beats.tobytes())
        tool = tools.Tool(self.engine, self.command[0], "", "native")
        values = {"samples": samples, "gaps": gaps, "stalls": stalls, "seed": seed, "patience": PATIENCE}
        arguments = [*self.command[1:], *SIMULATORS[self.engine].arguments(values)]
        said = tools.run(
            tool, arguments, folder, stage="simulate", deadline=deadline, progress=self.bench.progress
        )
        words = said.text.split()
        if words[:1] != ["cycles"]:
            raise RunError(
                f"simulate: the bench must say its cycles, said {said.text[:200]!r}; please report it."
            )
        return self._collected(samples, int(words[3]), int(words[1]))

    def _collected(self, samples: int, first: int, total: int) -> Simulated:
        design, network = self.bench.design, self.bench.design.network
        values: dict[str, Array] = {}
        cycles: dict[str, Array] = {}
        for index, op in enumerate(network.neurons if self.bench.probes else []):
            stream = design.streams[op.name]
            beats, cycles[op.name] = self._file(f"probe_{index}", samples, stream.beats, stream.data_bits)
            values[op.name] = codes_of_beats(stream, beats, network.shapes[op.name])
        for index, op in enumerate(network.readouts):
            population = design.populations[op.name]
            beats, cycles[op.name] = self._file(
                f"out_{index}", samples, population.beats, population.out_bits
            )
            values[op.name] = membranes_of_beats(population, beats, network.shapes[op.name])
        return Simulated(values, cycles, first, total)

    def _file(self, name: str, samples: int, beats: int, bits: int) -> tuple[Array, Array]:
        with whole(name, "simulate"):
            data, cycles = SIMULATORS[self.engine].beats(self.bench.folder, name, bits)
            if len(data) != cycles.size:
                raise ValueError(f"{len(data)} beats in {cycles.size} cycles")
            return data, cycles.reshape(samples, beats)


@contextmanager
def simulator(
    design: Design,
    *,
    engine: str = "auto",
    probes: bool = True,
    netlist: tuple[str, ...] | None = None,
    folder: Path | None = None,
    progress: Callable[[str], Any] = str,
) -> Generator[Simulator]:
    """Compile a design for simulation.

    Args:
        design: From :func:`.plan.plan` or :func:`.generate.build`.
        engine: ``verilator``, ``cxxrtl``, ``icarus``, or ``auto``: the fastest that is installed.
        probes: Show the codes of every population, not only the readouts.
        netlist: Files that take the place of the generated sources (a synthesized netlist with its cells).
        folder: Where to work, kept afterwards; default a temporary one.
        progress: Gets a line now and then.

    Raises:
        EnvironmentMissingError: No simulator is installed; the sentence has the install line.
        RunError: The design does not compile.
    """
    name = choose(engine)
    with tempfile.TemporaryDirectory(prefix="spikepack-fpga-") as temporary:
        place = Path(temporary) if folder is None else folder
        place.mkdir(parents=True, exist_ok=True)
        write(design, place)
        sources = netlist or (*sorted(rtl_sources()), f"{design.top}.sv")
        bench = Bench(design, place, sources, design.top, probes and netlist is None, progress)
        yield Simulator(bench, name, list(SIMULATORS[name].compile(bench)))
