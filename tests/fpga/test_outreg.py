"""Registers that move into block memories: when they may, and that the netlist still computes the same."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lava_bridge.fpga import Options, plan, simulator, tools
from lava_bridge.fpga.devices import device
from lava_bridge.fpga.generate import rtl_sources, write
from lava_bridge.fpga.outreg import merge_output_registers
from lava_bridge.fpga.synth import synthesize
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.execute import run_packed

CLOCK, WIDTH = 2, 3
FLIP_FLOP = {"CEMUX": "1 ", "CLKMUX": "CLK", "LSRMUX": "LSR", "REGSET": "RESET", "GSR": "DISABLED"}


def cell(kind: str, parameters: dict[str, str], inputs: dict[str, Any], outputs: dict[str, Any]) -> Any:
    directions = dict.fromkeys(inputs, "input") | dict.fromkeys(outputs, "output")
    wires = {name: [bit] for name, bit in (inputs | outputs).items()}
    return {"type": kind, "parameters": parameters, "port_directions": directions, "connections": wires}


def flip_flop(data: int, out: int) -> Any:
    return cell("TRELLIS_FF", dict(FLIP_FLOP), {"CLK": CLOCK, "LSR": "0", "DI": data}, {"Q": out})


def netlist(wide: bool = False) -> Any:
    """A block memory whose half B (wide: whose halves) are read through flip-flops."""
    width = f"{36 if wide else 18:032b}"
    parameters = {f"DATA_WIDTH_{half}": width for half in "AB"}
    parameters |= {f"REGMODE_{half}": "NOREG" for half in "AB"}
    parameters |= {f"CLK{half}MUX": f"CLK{half}" for half in "AB"}
    wires = {"CE": "1", "OCE": "0", "RST": "0", "CLK": CLOCK}
    inputs = {f"{name}{half}": value for name, value in wires.items() for half in "AB"}
    read = {f"DO{half}{index}": 100 * (half == "B") + 100 + index for half in ("AB" if wide else "B")
            for index in range(WIDTH)}  # fmt: skip
    cells = {f"q{bit}": flip_flop(bit, bit + 1000) for bit in read.values()}
    cells["block"] = cell("DP16KD", parameters, inputs, {**read, "DOB17": 999})
    ports = {"y": {"direction": "output", "bits": [bit + 1000 for bit in read.values()]}}
    return {"modules": {"top": {"ports": ports, "cells": cells}}}


@pytest.mark.parametrize("wide", [False, True])
def test_plain_registers_move(wide: bool) -> None:
    given = netlist(wide)
    before = given["modules"]["top"]["ports"]["y"]["bits"]
    assert merge_output_registers(given) == {"TRELLIS_FF": len(before)}
    (block,) = given["modules"]["top"]["cells"].values()
    halves = "AB" if wide else "B"
    read = [block["connections"][f"DO{half}{index}"] for half in halves for index in range(WIDTH)]
    assert [bit for (bit,) in read] == before
    for half in "AB":
        used = half in halves
        assert block["parameters"][f"REGMODE_{half}"] == ("OUTREG" if used else "NOREG")
        assert block["connections"][f"OCE{half}"] == ["1" if used else "0"]
    assert merge_output_registers(given) == {}


def _block(kind: str, name: str, value: Any) -> Callable[[Any], None]:
    return lambda module: module["cells"]["block"][kind].__setitem__(name, value)


def _register(kind: str, name: str, value: Any) -> Callable[[Any], None]:
    return lambda module: module["cells"]["q201"][kind].__setitem__(name, value)


OBSTACLES: dict[str, Callable[[Any], None]] = {
    "the block pauses": _block("connections", "CEB", [7]),
    "the block is reset": _block("connections", "RSTB", [7]),
    "falling edge of the block": _block("parameters", "CLKBMUX", "INV"),
    "registered already": _block("parameters", "REGMODE_B", "OUTREG"),
    "half of another width": _block("parameters", "DATA_WIDTH_B", f"{36:032b}"),
    "another clock": _register("connections", "CLK", [7]),
    "enable": _register("parameters", "CEMUX", "CE"),
    "reset": _register("connections", "LSR", [7]),
    "inverted reset": _register("parameters", "LSRMUX", "INV"),
    "one at first": _register("parameters", "REGSET", "SET"),
    "falling edge": _register("parameters", "CLKMUX", "INV"),
    "no flip-flop": lambda module: module["cells"]["q201"].__setitem__("type", "LUT4"),
    "enable, not data": _register("connections", "DI", [7]),
    "a second reader": lambda module: module["cells"].__setitem__("other", flip_flop(201, 5)),
    "read as a port": lambda module: module["ports"]["y"]["bits"].append(201),
}


@pytest.mark.parametrize("obstacle", OBSTACLES)
def test_others_stay(obstacle: str) -> None:
    given = netlist()
    OBSTACLES[obstacle](given["modules"]["top"])
    if obstacle == "enable, not data":
        given["modules"]["top"]["cells"]["q201"]["connections"]["CE"] = [201]
        given["modules"]["top"]["cells"]["q201"]["port_directions"]["CE"] = "input"
    before = deepcopy(given)
    assert merge_output_registers(given) == {}
    assert given == before


def _bus(name: str, width: int) -> str:
    return ", ".join(f"{name}{index}" for index in reversed(range(width)))


def _port(half: str) -> str:
    inputs = [_bus(f"DI{half}", 18), _bus(f"AD{half}", 14), _bus(f"CS{half}", 3)]
    inputs += [f"{name}{half}" for name in ("CE", "OCE", "CLK", "WE", "RST")]
    return f"  input wire {', '.join(inputs)},\n  output wire {_bus(f'DO{half}', 18)}"


def _half(half: str, other: str) -> str:
    return f"""
  wire [13:0] a{half} = {{{_bus(f"AD{half}", 14)}}};
  wire [17:0] d{half} = {{{_bus(f"DI{half}", 18)}}};
  reg  [17:0] read{half}, kept{half};
  assign {{{_bus(f"DO{half}", 18)}}} = (REGMODE_{half} == "OUTREG") ? kept{half} : read{half};
  always @(posedge CLK{half}) if (!WIDE) begin
    if (CE{half} && WE{half} === 1'b1) case (DATA_WIDTH_{half})
      18: begin
        if (a{half}[0]) rows[a{half}[13:4]][8:0]  <= d{half}[8:0];
        if (a{half}[1]) rows[a{half}[13:4]][17:9] <= d{half}[17:9];
      end
      9: rows[a{half}[13:4]][a{half}[3] ? 9 : 0 +: 9] <= d{half}[8:0];
      4: rows[a{half}[13:4]][(a{half}[3] ? 9 : 0) + a{half}[2:0] +: 4] <= d{half}[3:0];
      2: rows[a{half}[13:4]][(a{half}[3] ? 9 : 0) + a{half}[2:0] +: 2] <= d{half}[1:0];
      1: rows[a{half}[13:4]][(a{half}[3] ? 9 : 0) + a{half}[2:0]] <= d{half}[0];
      default: $fatal(1, "width");
    endcase
    if (CE{half}) case (DATA_WIDTH_{half})
      18: read{half} <= rows[a{half}[13:4]];
      9: read{half} <= rows[a{half}[13:4]] >> (a{half}[3] ? 9 : 0);
      default: read{half} <= rows[a{half}[13:4]] >> ((a{half}[3] ? 9 : 0) + a{half}[2:0]);
    endcase
    if (CE{half} && CE{other} && WE{other} === 1'b1 && a{half}[13:4] === a{other}[13:4]) read{half} <= 'x;
    if (OCE{half}) kept{half} <= read{half};
  end"""


def model() -> str:
    """Verilog of the block memory as Lattice describes it, with what netlists use of it.

    Both ports are 1 to 18 bits wide, or A writes and B reads 36. A word that is read in the cycle of its
    write is unknown.
    """
    values = "\n".join(f"  parameter [319:0] INITVAL_{index:02X} = 320'h0;" for index in range(64))
    rows = "\n".join(
        f"    for (i = 0; i < 16; i = i + 1) rows[{16 * index} + i] = INITVAL_{index:02X}[20*i +: 18];"
        for index in range(64)
    )
    modes = "\n".join(
        f'  parameter REGMODE_{half} = "NOREG"; parameter DATA_WIDTH_{half} = 18;\n'
        f'  parameter WRITEMODE_{half} = "NORMAL"; parameter CSDECODE_{half} = "0b000";\n'
        f'  parameter CLK{half}MUX = "CLK{half}";'
        for half in "AB"
    )
    return f"""module DP16KD(
{_port("A")},
{_port("B")}
);
  parameter RESETMODE = "SYNC"; parameter ASYNC_RESET_RELEASE = "SYNC"; parameter GSR = "ENABLED";
{modes}
{values}
  localparam WIDE = (DATA_WIDTH_A == 36);
  reg [17:0] rows [0:1023];
  integer i;
  initial begin
{rows}
    #1 if (RSTA !== 1'b0 || RSTB !== 1'b0) $fatal(1, "reset");
  end
{_half("A", "B")}
{_half("B", "A")}
  // Both halves as one memory: rows in pairs, byte enables in the low bits of the address.
  always @(posedge CLKA) if (WIDE && CEA) begin
    if (aA[0]) rows[{{aA[13:5], 1'b0}}][8:0]  <= dA[8:0];
    if (aA[1]) rows[{{aA[13:5], 1'b0}}][17:9] <= dA[17:9];
    if (aA[2]) rows[{{aA[13:5], 1'b1}}][8:0]  <= dB[8:0];
    if (aA[3]) rows[{{aA[13:5], 1'b1}}][17:9] <= dB[17:9];
  end
  always @(posedge CLKB) if (WIDE) begin
    if (DATA_WIDTH_B != 36) $fatal(1, "mixed widths");
    if (CEB) begin
      readA <= rows[{{aB[13:5], 1'b0}}]; readB <= rows[{{aB[13:5], 1'b1}}];
      if (CEA === 1'b1 && aA[3:0] !== 4'b0 && aA[13:5] === aB[13:5]) begin
        readA <= 'x; readB <= 'x;
      end
    end
    if (OCEA) keptA <= readA;
    if (OCEB) keptB <= readB;
  end
endmodule
"""


def folded_net() -> g.Network:
    rng = np.random.default_rng(2)

    def weight(*shape: int) -> Any:
        return rng.integers(-7, 8, size=shape).astype(np.int32)

    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(2, 3, 3), time_steps=3),
        g.Conv2d(name="c", inputs=("x",), weight_bits=4, weight=weight(4, 2, 3, 3), padding=(1, 1)),
        g.Neuron(name="n", inputs=("c",), threshold=np.full(4, 30, np.int32), bias=weight(4), time_steps=3),
        g.Flatten(name="f", inputs=("n",)),
        g.Dense(name="d", inputs=("f",), weight_bits=4, weight=weight(2, 36)),
        g.Readout(name="y", inputs=("d",), scale=np.ones(2), bias=weight(2)),
    ]
    return g.Network(ops, 3)


@pytest.mark.fpga
def test_netlist_with_merged_registers_computes_the_same_membranes(tmp_path: Path, corner_codes: Any) -> None:
    """ECP5 cells and the model of the block memory, which holds weights and membranes."""
    if tools.available("iverilog") is None:
        pytest.skip(f"iverilog is not installed: {tools.TOOLS['iverilog'].install}")
    network = folded_net()
    options = Options(lanes=4, fire=2, weight_memory="block", membrane_memory="block")
    design = plan(network, options)
    write(design, tmp_path)
    done = synthesize([*sorted(rtl_sources()), f"{design.top}.sv"], design.top, device("ecp5-25f"), tmp_path)
    top = json.loads((tmp_path / done.netlist).read_text("utf-8"))["modules"][design.top]
    (tmp_path / "top.json").write_text(json.dumps({"modules": {design.top: top}}), "utf-8")
    blocks = [one for one in top["cells"].values() if one["type"] == "DP16KD"]
    assert len(blocks) >= 4
    assert all("OUTREG" in {block["parameters"][f"REGMODE_{half}"] for half in "AB"} for block in blocks)
    assert done.cells["TRELLIS_FF"] == sum(one["type"] == "TRELLIS_FF" for one in top["cells"].values())
    steps = [
        "read_json top.json",
        "read_verilog -D NO_INCLUDES +/ecp5/cells_sim.v",  # every cell but the block memory becomes its model
        f"hierarchy -top {design.top}",
        "proc",
        "flatten",
        "opt_clean",
        "write_verilog -noattr cells.v",
    ]
    tools.run(tools.find("yosys"), ["-q", "-p", "; ".join(steps)], tmp_path, stage="models")
    (tmp_path / "memory.v").write_text(model(), "utf-8")
    codes = corner_codes(network, 6)
    with simulator(design, engine="icarus", netlist=("cells.v", "memory.v"), folder=tmp_path) as bench:
        run = bench.run(codes, gaps=0.2, stalls=0.2)
    assert np.array_equal(run.values["y"], run_packed(network, codes)["y"])
