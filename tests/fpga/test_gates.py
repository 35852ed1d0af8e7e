"""Gate level: the netlist that synthesis makes for an iCE40, cell by cell, computes the same membranes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lava_bridge.fpga import Options, plan, simulator, tools
from lava_bridge.fpga.generate import rtl_sources, write
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.execute import run_packed


def tiny_net() -> g.Network:
    rng = np.random.default_rng(2)

    def weight(*shape: int) -> Any:
        return rng.integers(-7, 8, size=shape).astype(np.int32)

    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(5,), time_steps=3, signed=True),
        g.Dense(name="fc1", inputs=("x",), weight_bits=4, weight=weight(4, 5)),
        g.Neuron(name="n", inputs=("fc1",), threshold=np.full(4, 9, np.int32), bias=weight(4), time_steps=3),
        g.Dense(name="fc2", inputs=("n",), weight_bits=4, weight=weight(2, 4)),
        g.Readout(name="out", inputs=("fc2",), scale=np.ones(2), bias=weight(2)),
    ]
    return g.Network(ops, 3)


@pytest.mark.fpga
def test_netlist_computes_the_same_membranes(tmp_path: Path, corner_codes: Any) -> None:
    """Two lanes fold the layer, so memories, banks and forwarding are in the netlist too."""
    network = tiny_net()
    design = plan(network, Options(lanes=2, fire=2))
    write(design, tmp_path)
    sources = " ".join([*sorted(rtl_sources()), f"{design.top}.sv"])
    synthesis = [
        f"read_verilog -sv -defer {sources}",
        f"synth_ice40 -top {design.top}",
        "write_verilog -noattr cells.v",
        "design -reset",
        "read_verilog cells.v +/ice40/cells_sim.v",  # every cell becomes its vendor model
        f"hierarchy -top {design.top}",
        "proc",
        "flatten",
        "opt_clean",
        "write_verilog -noattr netlist.v",
    ]
    tools.run(tools.find("yosys"), ["-q", "-p", "; ".join(synthesis)], tmp_path, stage="synthesis")
    assert "SB_LUT4" in (tmp_path / "cells.v").read_text("utf-8")
    codes = corner_codes(network, 8)
    engine = "icarus" if tools.available("iverilog") and tools.available("vvp") else "auto"
    with simulator(design, engine=engine, netlist=("netlist.v",), folder=tmp_path) as bench:
        run = bench.run(codes, gaps=0.2, stalls=0.2)
    assert np.array_equal(run.values["out"], run_packed(network, codes)["out"])
