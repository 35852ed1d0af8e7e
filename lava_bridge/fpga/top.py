"""The top module: streams between populations. The only SystemVerilog that is generated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from .design import Design, Line, Pool, Population, Projection, Stream

__all__ = ["PROBES", "port_bits", "top_text"]

PROBES = "SPIKEPACK_PROBES"


def _bytes(bits: int) -> int:
    """Width of a TDATA: whole bytes, as AXI4-Stream wants."""
    return -(-bits // 8) * 8


def _ports(design: Design) -> Iterator[str]:
    yield "input  wire aclk"
    yield "input  wire aresetn"
    for op in design.network.inputs:
        stream, port = design.streams[op.name], design.port("s", op.name)
        yield f"input  wire {port}_tvalid"
        yield f"output wire {port}_tready"
        yield f"input  wire [{_bytes(stream.data_bits) - 1}:0] {port}_tdata"
    for op in design.network.readouts:
        population, port = design.populations[op.name], design.port("m", op.name)
        yield f"output wire {port}_tvalid"
        yield f"input  wire {port}_tready"
        yield f"output wire [{_bytes(population.out_bits) - 1}:0] {port}_tdata"
        yield f"output wire {port}_tlast"


def port_bits(design: Design) -> list[str]:
    """Every pin of the top module, ``name`` or ``name[bit]``, in the order of its ports."""
    found: list[str] = []
    for port in _ports(design):
        *_, width, name = port.split()
        bits = int(width[1:].partition(":")[0]) + 1 if width.startswith("[") else 0
        found += [f"{name}[{bit}]" for bit in range(bits)] or [name]
    return found


def _probes(design: Design) -> Iterator[str]:
    for population in design.populations.values():
        if not population.readout:
            yield f"output wire probe_{population.ident}"
            yield f"output wire [{population.out_bits - 1}:0] probe_{population.ident}_data"


def _instance(module: str, name: str, parameters: Mapping[str, object], ports: Mapping[str, str]) -> str:
    values = ", ".join(f".{key}({value})" for key, value in parameters.items())
    wires = ", ".join(f".{key}({value})" for key, value in ports.items())
    return f"  {module} #({values}) {name} (\n    {wires});"


def _rom_style(memory: str) -> str:
    """The style of a constant memory: what is distributed among LUTs is logic to Yosys, not memory."""
    return '"logic"' if memory == "distributed" else f'"{memory}"'


def _input(design: Design, stream: Stream) -> Iterator[str]:
    port, ident, bits = design.port("s", stream.name), stream.ident, stream.data_bits
    yield f"  wire {ident}_valid = {port}_tvalid && !rst;"
    yield f"  wire [{bits - 1}:0] {ident}_data = {port}_tdata[{bits - 1}:0];"
    yield f"  wire {ident}_ready;"
    yield f"  assign {port}_tready = {ident}_ready && !rst;"
    if _bytes(bits) > bits:
        yield f"  wire {ident}_unused = &{{1'b0, {port}_tdata[{_bytes(bits) - 1}:{bits}]}};"


def _fork(design: Design, stream: Stream) -> Iterator[str]:
    ident, readers = stream.ident, design.readers(stream.name)
    if not readers:
        yield f"  assign {ident}_ready = 1'b1; // nobody reads these codes"
        return
    valid = ", ".join(f"{reader}_valid" for reader in reversed(readers))
    ready = ", ".join(f"{reader}_ready" for reader in reversed(readers))
    ports = {
        "clk": "aclk", "rst": "rst", "s_valid": f"{ident}_valid", "s_ready": f"{ident}_ready",
        "m_valid": f"{{{valid}}}", "m_ready": f"{{{ready}}}",
    }  # fmt: skip
    if len(readers) == 1:
        yield f"  assign {valid} = {ident}_valid;"
        yield f"  assign {ident}_ready = {ready};"
    else:
        yield _instance("sp_fork", f"{ident}_fork", {"N": len(readers)}, ports)


def _projection(design: Design, population: Population, index: int, projection: Projection) -> Iterator[str]:
    ident, owner = projection.ident, population.ident
    lanes, addend = population.lanes, population.data_bits
    address = projection.table_bits[2]
    parameters = dict(projection.parameters) | {
        "STYLE": _rom_style(projection.memory), "WEIGHTS": f'"{ident}_weights.mem"',
        "ROW_TABLE": f'"{ident}_rows.mem"', "COL_TABLE": f'"{ident}_cols.mem"',
    }  # fmt: skip
    ports = {
        "clk": "aclk", "rst": "rst", "s_valid": f"{ident}_valid", "s_ready": f"{ident}_ready",
        "s_data": f"{design.streams[projection.link.source].ident}_data",
        "op_valid": f"{owner}_op_valid[{index}]", "op_eow": f"{owner}_op_eow[{index}]",
        "op_ready": f"{owner}_op_ready[{index}]", "early_valid": f"{owner}_early_valid[{index}]",
        "early_va": f"{owner}_early_va[{index * address} +: {address}]",
        "data": f"{owner}_addends[{index * lanes * addend} +: {lanes * addend}]",
        "carry": f"{owner}_carry[{index * lanes} +: {lanes}]",
    }  # fmt: skip
    yield f"  // {projection.link.synapse}: {projection.link.source} -> {population.name}"
    yield _instance("sp_project", f"{ident}_project", parameters, ports)


def _line(design: Design, population: Population, line: Line) -> Iterator[str]:
    ident, owner = line.ident, population.ident
    source = design.streams[line.link.source]
    parameters = dict(line.parameters) | {
        "ACC_W": population.acc_bits, "FO": population.fire, "T_OUT": population.time_steps,
        "S_OUT": int(population.signed), "V_W": population.state_bits,
        "TH_W": max(1, population.threshold_bits), "ROWS": len(population.table),
        "STYLE": _rom_style(line.memory), "LINES": f'"{design.options.membrane_memory}"',
        "TABLES": f'"{ident}_sums"', "ROW_TABLE": f'"{ident}_rows.mem"', "COL_TABLE": f'"{ident}_cols.mem"',
        "TABLE": f'"{owner}_fire.mem"',
    }  # fmt: skip
    ports = {
        "clk": "aclk", "rst": "rst", "s_valid": f"{ident}_valid", "s_ready": f"{ident}_ready",
        "s_data": f"{source.ident}_data", "m_valid": f"{owner}_valid", "m_ready": f"{owner}_ready",
        "m_data": f"{owner}_data", "m_last": f"{owner}_last",
    }  # fmt: skip
    yield f"  // {population.name}: {line.link.synapse} by line buffers: {source.name}"
    yield f"  wire {owner}_valid, {owner}_ready, {owner}_last;"
    yield f"  wire [{population.out_bits - 1}:0] {owner}_data;"
    yield _instance("sp_conv", f"{owner}_conv", parameters, ports)


def _events(design: Design, population: Population) -> Iterator[str]:
    ident, count = population.ident, len(population.projections)
    address = population.projections[0].table_bits[2]
    yield f"  // {population.name}"
    yield f"  wire [{count - 1}:0] {ident}_op_valid, {ident}_op_eow, {ident}_op_ready, {ident}_early_valid;"
    yield f"  wire [{count * address - 1}:0] {ident}_early_va;"
    yield f"  wire [{count * population.lanes * population.data_bits - 1}:0] {ident}_addends;"
    yield f"  wire [{count * population.lanes - 1}:0] {ident}_carry;"
    for index, projection in enumerate(population.projections):
        yield from _projection(design, population, index, projection)
    yield f"  wire {ident}_valid, {ident}_ready, {ident}_last;"
    yield f"  wire [{population.out_bits - 1}:0] {ident}_data;"
    parameters = {
        "NP": count, "L": population.lanes, "F": population.fire, "DW": population.data_bits,
        "ACC_W": population.acc_bits, "DEPTH": population.depth, "VA_W": address,
        "X_W": population.state_bits,
        "T": population.time_steps, "SIGNED": int(population.signed),
        "TH_W": max(1, population.threshold_bits), "ROWS": len(population.table),
        "STYLE": f'"{design.options.membrane_memory}"',
        "TABLE": f'"{ident}_fire.mem"',
    }  # fmt: skip
    ports = {
        "clk": "aclk", "rst": "rst", "op_valid": f"{ident}_op_valid", "op_eow": f"{ident}_op_eow",
        "op_ready": f"{ident}_op_ready", "early_valid": f"{ident}_early_valid",
        "early_va": f"{ident}_early_va", "data": f"{ident}_addends", "carry": f"{ident}_carry",
        "m_valid": f"{ident}_valid", "m_ready": f"{ident}_ready", "m_data": f"{ident}_data",
        "m_last": f"{ident}_last",
    }  # fmt: skip
    yield _instance("sp_population", f"{ident}_population", parameters, ports)


def _population(design: Design, population: Population) -> Iterator[str]:
    if population.line is None:
        yield from _events(design, population)
    else:
        yield from _line(design, population, population.line)
    yield from _readout(design, population) if population.readout else _probe(population)


def _pool(design: Design, pool: Pool) -> Iterator[str]:
    stream, source = pool.stream, design.streams[pool.source]
    ident, word = stream.ident, pool.table_bits[2]
    tables = {"ROW_TABLE": f'"{ident}_rows.mem"', "COL_TABLE": f'"{ident}_cols.mem"'}
    parameters = dict(pool.parameters) | {"STYLE": f'"{design.options.membrane_memory}"'} | tables
    ports = {
        "clk": "aclk", "rst": "rst", "s_valid": f"{ident}_in_valid", "s_ready": f"{ident}_in_ready",
        "s_data": f"{source.ident}_data", "m_valid": f"{ident}_valid", "m_ready": f"{ident}_ready",
        "m_data": f"{ident}_data", "m_last": f"{ident}_last",
    }  # fmt: skip
    yield f"  // {pool.op}: {pool.source}, {word} address bits"
    yield f"  wire {ident}_valid, {ident}_ready, {ident}_last;"
    yield f"  wire [{stream.data_bits - 1}:0] {ident}_data;"
    yield _instance("sp_pool", f"{ident}_pool", parameters, ports)
    yield f"  wire {ident}_unused = &{{1'b0, {ident}_last}};"


def _readout(design: Design, population: Population) -> Iterator[str]:
    port, ident, bits = design.port("m", population.name), population.ident, population.out_bits
    pad = _bytes(bits) - bits
    data = f"{{{{{pad}{{{ident}_data[{bits - 1}]}}}}, {ident}_data}}" if pad else f"{ident}_data"
    yield f"  assign {port}_tvalid = {ident}_valid;"
    yield f"  assign {ident}_ready = {port}_tready;"
    yield f"  assign {port}_tdata = {data};"
    yield f"  assign {port}_tlast = {ident}_last;"


def _probe(population: Population) -> Iterator[str]:
    ident = population.ident
    yield f"  wire {ident}_unused = &{{1'b0, {ident}_last}};"
    yield f"`ifdef {PROBES}"
    yield f"  assign probe_{ident} = {ident}_valid && {ident}_ready;"
    yield f"  assign probe_{ident}_data = {ident}_data;"
    yield "`endif"


def top_text(design: Design) -> str:
    """The top module; with the macro ``SPIKEPACK_PROBES`` it shows the codes of every population."""
    lines = ["// Generated: one integer SpikePack network. Codes in, membranes of the readouts out.",
             "`default_nettype none", f"module {design.top} ("]  # fmt: skip
    lines.append("  " + ",\n  ".join(_ports(design)))
    probes = list(_probes(design))
    if probes:
        lines += [f"`ifdef {PROBES}", *(f"  , {probe}" for probe in probes), "`endif"]
    lines += [");", "  reg rst;", "  always @(posedge aclk) rst <= !aresetn;"]
    for op in design.network.inputs:
        lines += _input(design, design.streams[op.name])
    for population in design.populations.values():
        lines += [f"  wire {p.ident}_valid, {p.ident}_ready;" for p in population.inputs]
    for name, pool in design.pools.items():
        lines.append(f"  wire {design.streams[name].ident}_in_valid, {design.streams[name].ident}_in_ready;")
        lines += _pool(design, pool)
    for population in design.populations.values():
        lines += _population(design, population)
    for stream in design.streams.values():
        lines += _fork(design, stream)
    return "\n".join([*lines, "endmodule", "`default_nettype wire", ""])
