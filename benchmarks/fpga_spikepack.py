"""The dense SpikePack layer of ``spikepack bench fpga``: one population of the generated hardware."""

from __future__ import annotations

from typing import Any

import numpy as np

from lava_bridge.fpga.generate import rtl_sources
from lava_bridge.fpga.memories import memory_files
from lava_bridge.fpga.options import Options, PopulationOptions
from lava_bridge.fpga.planning import plan
from lava_bridge.fpga.streams import beats_of_codes
from spikejelly_pack.spec import graph as g

from .fpga_layers import Array, Layer, Size, Stream, code_words

__all__ = ["spikepack", "spikepack_stream"]

WIDTH = 24  # declared; the hardware takes the exact width
_TOP = """`default_nettype none
module sp_dense (
  input  wire clk, input wire rst,
  input  wire s_axis_tvalid, output wire s_axis_tready, input wire [{in_bits}-1:0] s_axis_tdata,
  output wire m_axis_tvalid, input wire m_axis_tready, output wire [{out_bits}-1:0] m_axis_tdata,
  output wire m_axis_tlast);
  wire op_valid, op_eow, op_ready, early_valid;
  wire [{address}-1:0] early_va;
  wire [{lanes}*{addend}-1:0] data;
  wire [{lanes}-1:0] carry;
  sp_project #({project}) u_project (
    .clk(clk), .rst(rst), .s_valid(s_axis_tvalid), .s_ready(s_axis_tready), .s_data(s_axis_tdata),
    .op_valid(op_valid), .op_eow(op_eow), .op_ready(op_ready), .early_valid(early_valid), .early_va(early_va),
    .data(data), .carry(carry));
  sp_population #({population}) u_population (
    .clk(clk), .rst(rst), .op_valid(op_valid), .op_eow(op_eow), .op_ready(op_ready),
    .early_valid(early_valid), .early_va(early_va), .data(data), .carry(carry),
    .m_valid(m_axis_tvalid), .m_ready(m_axis_tready), .m_data(m_axis_tdata), .m_last(m_axis_tlast));
endmodule
`default_nettype wire
"""


def _network(size: Size) -> g.Network:
    one = np.ones(1, np.float32)
    weights, step = size.weights().astype(np.int32), np.full(size.n_out, size.step, np.int32)
    zeros = np.zeros((1, size.n_out), np.int32)
    return g.Network(
        [
            g.Input(name="x", inputs=(), threshold=one, shape=(size.n_in,), time_steps=size.bits),
            g.Dense(name="w", inputs=("x",), weight_bits=size.weight_bits, weight=weights),
            g.Neuron(
                name="n", inputs=("w",), threshold=step, bias=size.bias().astype(np.int32),
                time_steps=size.bits, state_bits=WIDTH,
            ),
            g.Dense(name="head", inputs=("n",), weight_bits=size.weight_bits, weight=zeros),
            g.Readout(name="y", inputs=("head",), scale=np.ones(1), bias=zeros[:1, 0], state_bits=WIDTH),
        ],
        size.bits,
    )  # fmt: skip


def _options(size: Size, digits: str = "csd") -> Options:
    """A lane per neuron; codes arrive eight a beat however many fire."""
    return Options(lanes=size.n_out, fire=size.fire, digits=digits, per={"x": PopulationOptions(fire=8)})


def _values(parameters: dict[str, Any]) -> str:
    return ", ".join(f".{name}({value})" for name, value in parameters.items())


def spikepack(size: Size, digits: str = "csd") -> Layer:
    """The layer with a lane per neuron."""
    design = plan(_network(size), _options(size, digits))
    population, stream = design.populations["n"], design.streams["x"]
    (projection,) = population.projections
    project = {
        **projection.parameters,
        "WEIGHTS": f'"{projection.ident}_weights.mem"',
        "ROW_TABLE": f'"{projection.ident}_rows.mem"',
        "COL_TABLE": f'"{projection.ident}_cols.mem"',
    }
    fires = {
        "NP": 1, "L": population.lanes, "F": population.fire, "DW": population.data_bits,
        "ACC_W": population.acc_bits, "DEPTH": population.depth, "VA_W": projection.table_bits[2],
        "X_W": population.state_bits, "T": population.time_steps, "TH_W": population.threshold_bits,
        "ROWS": len(population.table), "TABLE": f'"{population.ident}_fire.mem"',
    }  # fmt: skip
    text = _TOP.format(
        in_bits=stream.data_bits, out_bits=population.out_bits, address=projection.table_bits[2],
        lanes=population.lanes, addend=population.data_bits, project=_values(project),
        population=_values(fires),
    )  # fmt: skip
    return Layer(
        name=f"spikepack{size.bits}_{digits}",
        top="sp_dense",
        sources=(),
        parameters={},
        memories={**rtl_sources(), "sp_dense.sv": text, **memory_files([population], [])},
        out_bits=population.out_bits,
        inputs=f".s_axis_tdata(s_word[0 +: {stream.data_bits}])",
        facts={"acc_bits": population.acc_bits, "addend_bits": population.data_bits},
    )


def spikepack_stream(size: Size, codes: Array) -> Stream:
    """What the layer must answer to codes ``[samples, n_in]``."""
    stream = plan(_network(size), _options(size)).streams["x"]
    words = beats_of_codes(stream, codes.astype(np.uint8)).astype(object)
    joined = (words * np.array([1 << (32 * k) for k in range(words.shape[-1])], dtype=object)).sum(-1)
    return Stream(joined.ravel(), code_words(codes, size), len(codes))
