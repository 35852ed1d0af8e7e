"""Samples with the beats they must give, and a Makefile, for those who work on the folder without Python."""

from __future__ import annotations

import numpy as np

from spikejelly_pack.spec.execute import run_packed
from spikejelly_pack.spec.graph.base import Array

from .design import Design
from .streams import beats_of_codes, beats_of_membranes
from .testbench import testbench_text

__all__ = ["SAMPLES", "vector_files"]

SAMPLES = 8

_MAKEFILE = """# make sim: {samples} samples stream through the design, every beat is compared.
# make lint: Verilator's warnings, all of them.
TOP = {top}
SOURCES = {sources}

sim: bench.vvp
\tvvp -n bench.vvp +samples={samples} +gaps=200 +stalls=200 +check=1
bench.vvp: bench.sv $(SOURCES)
\tiverilog -g2012 -DSPIKEPACK_PROBES -s bench -o $@ $(SOURCES) bench.sv
lint:
\tverilator --lint-only -Wall --top-module $(TOP) $(SOURCES)
clean:
\trm -f bench.vvp out_*.txt probe_*.txt
.PHONY: sim lint clean
"""


def _text(beats: Array) -> str:
    """A beat a line, hexadecimal."""
    return "".join("".join(f"{word:08x}" for word in row[::-1]) + "\n" for row in beats.tolist())


def vector_files(design: Design, sources: list[str]) -> dict[str, bytes]:
    """Bench, inputs, expected beats of every population and the Makefile: name to content.

    The first samples are all zero, all one and (signed) all minus one, the rest random, half of them sparse.
    """
    network = design.network
    rng = np.random.default_rng(0)
    codes: dict[str, Array] = {}
    for op in network.inputs:
        low = -op.max_code if op.signed else 0
        values = rng.integers(low, op.max_code + 1, size=(SAMPLES, *op.shape))
        values[1::2] *= rng.random(values[1::2].shape) < 0.2
        values[:3] = np.array([0, op.max_code, low]).reshape(3, *[1] * len(op.shape))
        codes[op.name] = values
    result = run_packed(network, codes)
    files = {"bench.sv": testbench_text(design, design.top, probes=True).encode()}
    for index, op in enumerate(network.inputs):
        files[f"in_{index}.bin"] = beats_of_codes(design.streams[op.name], codes[op.name]).tobytes()
    for index, op in enumerate(network.neurons):
        beats = beats_of_codes(design.streams[op.name], result[op.name].astype(np.int64))
        files[f"probe_{index}.expected"] = _text(beats).encode()
    for index, op in enumerate(network.readouts):
        beats = beats_of_membranes(design.populations[op.name], result[op.name])
        files[f"out_{index}.expected"] = _text(beats).encode()
    makefile = _MAKEFILE.format(top=design.top, sources=" ".join(sources), samples=SAMPLES)
    return files | {"Makefile": makefile.encode()}
