"""The SystemVerilog bench: reads beats, pauses at random, checks the rules of the streams, writes beats."""

from __future__ import annotations

from collections.abc import Iterator

from .design import Design
from .streams import words_of

__all__ = ["testbench_text"]


def _byte_bits(bits: int) -> int:
    return -(-bits // 8) * 8


def _source(index: int, bits: int, beats: int) -> tuple[str, str, str, str]:
    """Declarations, start, what happens at a falling edge, and before a rising edge."""
    words = words_of(bits)
    declare = (
        f"  integer i{index}_file, i{index}_next = 0, i{index}_word;\n  reg i{index}_valid = 1'b0;\n"
        f"  reg [31:0] i{index}_part;\n  reg [{32 * words - 1}:0] i{index}_data = '0;\n"
        f"  wire i{index}_ready;\n"
    )
    start = f'    i{index}_file = $fopen("in_{index}.bin", "rb");\n'
    drive = f"""      if (!i{index}_valid && i{index}_next < samples * {beats} && $unsigned($random(seed)) % 1000 >= gaps) begin
        for (i{index}_word = 0; i{index}_word < {words}; i{index}_word = i{index}_word + 1) begin
          status = $fread(i{index}_part, i{index}_file); // the file is little-endian, $fread is not
          i{index}_data[32*i{index}_word +: 32] = {{i{index}_part[7:0], i{index}_part[15:8], i{index}_part[23:16], i{index}_part[31:24]}};
        end
        i{index}_valid = 1'b1;
      end
"""  # noqa: E501
    sample = f"""      if (i{index}_valid && i{index}_ready) begin
        moved = 1; i{index}_next = i{index}_next + 1; i{index}_done = 1'b1;
        if (first < 0) first = cycle;
      end
"""
    return (
        declare + f"  reg i{index}_done = 1'b0;\n",
        start,
        f"      if (i{index}_done) begin i{index}_valid = 1'b0; i{index}_done = 1'b0; end\n" + drive,
        sample,
    )


def _sink(name: str, bits: int, beats: int, last: bool, port_bits: int) -> tuple[str, str, str, str]:
    """As :func:`_source`, for an output or a probe (no ``last``, always ready)."""
    declare = (
        f"  integer {name}_file, {name}_wanted, {name}_got = 0;\n"
        f"  reg {name}_ready = 1'b0, {name}_waiting = 1'b0;\n"
        f"  wire {name}_valid{f', {name}_last' if last else ''};\n"
        f"  wire [{port_bits - 1}:0] {name}_data;\n  reg [{port_bits - 1}:0] {name}_held;\n"
        f"  reg [{bits - 1}:0] {name}_right;\n"
    )
    start = f'    {name}_file = $fopen("{name}.txt", "w");\n'
    start += f'    {name}_wanted = check ? $fopen("{name}.expected", "r") : 0;\n'
    drive = f"      {name}_ready = {'$unsigned($random(seed)) % 1000 >= stalls' if last else '1'};\n"
    checks = f"""      if ({name}_waiting && !({name}_valid && {name}_data === {name}_held)) begin
        $display("error: {name}: valid or data changed before ready"); $finish;
      end
      {name}_waiting = {name}_valid && !{name}_ready; {name}_held = {name}_data;
"""
    tail = f"""        if ({name}_last !== ({name}_got % {beats} == 0)) begin
          $display("error: {name}: tlast is not at the end of a sample"); $finish;
        end
"""
    sample = f"""{checks if last else ""}      if ({name}_valid && {name}_ready) begin
        if ({name}_got >= samples * {beats}) begin
          $display("error: {name}: more beats than the samples have"); $finish;
        end
        moved = 1; {name}_got = {name}_got + 1;
        if ({name}_wanted != 0) begin
          status = $fscanf({name}_wanted, "%h", {name}_right);
          if (status != 1 || {name}_data[{bits - 1}:0] !== {name}_right) begin
            $display("error: {name}: beat %0d is %h, must be %h",
              {name}_got, {name}_data[{bits - 1}:0], {name}_right);
            $finish;
          end
        end
        $fwrite({name}_file, "%0d %h\\n", cycle, {name}_data[{bits - 1}:0]);
{tail if last else ""}      end
"""
    return declare, start, drive, sample


def _parts(design: Design, probes: bool) -> Iterator[tuple[tuple[str, str, str, str], str, str]]:
    """Pieces of every stream, its connections, and when it is done."""
    network = design.network
    for index, op in enumerate(network.inputs):
        stream, port = design.streams[op.name], design.port("s", op.name)
        wires = (
            f".{port}_tvalid(i{index}_valid), .{port}_tready(i{index}_ready), "
            f".{port}_tdata(i{index}_data[{_byte_bits(stream.data_bits) - 1}:0])"
        )
        yield (
            _source(index, stream.data_bits, stream.beats),
            wires,
            f"i{index}_next == samples * {stream.beats}",
        )
    for index, op in enumerate(network.readouts):
        population, port, name = design.populations[op.name], design.port("m", op.name), f"out_{index}"
        wires = ", ".join(f".{port}_t{what}({name}_{what})" for what in ("valid", "ready", "data", "last"))
        bits = population.out_bits
        pieces = _sink(name, bits, population.beats, True, _byte_bits(bits))
        yield pieces, wires, f"{name}_got == samples * {population.beats}"
    for index, op in enumerate(network.neurons if probes else []):
        population, name = design.populations[op.name], f"probe_{index}"
        wires = f".probe_{population.ident}({name}_valid), .probe_{population.ident}_data({name}_data)"
        bits = population.out_bits
        yield (
            _sink(name, bits, population.beats, False, bits),
            wires,
            f"{name}_got == samples * {population.beats}",
        )


def testbench_text(design: Design, top: str, probes: bool) -> str:
    """The bench of a design; what it writes is decimal cycles and hexadecimal beats, one a line."""
    parts = list(_parts(design, probes))
    pieces = [part[0] for part in parts]
    wires = ",\n    ".join([".aclk(aclk), .aresetn(aresetn)", *(part[1] for part in parts)])
    done = " && ".join(part[2] for part in parts)
    arguments = "".join(
        f'    status = $value$plusargs("{name}=%d", {name});\n'
        for name in ("samples", "gaps", "stalls", "seed", "patience", "check")
    )
    return f"""// Generated: streams beats through the network.
// Arguments: +samples= +gaps= +stalls= (per mille) +seed= +patience= +check=
`default_nettype none
`timescale 1ns/1ps
module bench;
  reg aclk = 1'b0, aresetn = 1'b0;
  integer samples = 0, gaps = 0, stalls = 0, seed = 1, patience = 200000, check = 0;
  integer cycle = 0, quiet = 0, after = 0, first = -1, status, moved;
{"".join(piece[0] for piece in pieces)}
  {top} dut (
    {wires});
  initial begin
{arguments}{"".join(piece[1] for piece in pieces)}
    repeat (8) begin #5 aclk = 1'b1; #5 aclk = 1'b0; end
    aresetn = 1'b1;
    while (after < 64) begin
{"".join(piece[2] for piece in pieces)}      #4 moved = 0;
{"".join(piece[3] for piece in pieces)}      #1 aclk = 1'b1; #5 aclk = 1'b0;
      cycle = cycle + 1;
      quiet = moved ? 0 : quiet + 1;
      if ({done}) after = after + 1;
      else if (quiet > patience) begin
        $display("error: stuck: no beat moved for %0d cycles", patience); $finish;
      end
    end
    $display("cycles %0d first %0d", cycle - after, first);
    if (check != 0) $display("PASS");
    $finish;
  end
endmodule
`default_nettype wire
"""
