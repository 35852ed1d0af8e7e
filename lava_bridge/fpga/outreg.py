"""Registers behind block memories move into the registers that the block has for its outputs.

Yosys leaves the output of an ECP5 block memory unregistered, 5.8 ns from clock to output, and puts a
register that follows it into the fabric. The block's own register takes 1 ns. Registers move only where
nothing changes: the block reads in every cycle and is never reset, all that is read of it goes to flip-flops
of its clock, a bit to one and nowhere else, and none of these has an enable, a reset or an initial one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["merge_output_registers"]

_MEMORY, _FLIP_FLOP = "DP16KD", "TRELLIS_FF"
_WIDE = 36  # both halves are one memory: port A writes, port B reads, both outputs hold what was read
_BITS = 18  # of an output
_CONSTANTS = frozenset("01xz")
Cell = dict[str, Any]


@dataclass(frozen=True)
class _Module:
    """Cells of a flat module and who reads each net; a port of the module is a reader without a name."""

    cells: dict[str, Cell]
    readers: Mapping[Any, list[tuple[str, str]]]


def merge_output_registers(netlist: Mapping[str, Any]) -> dict[str, int]:
    """Move registers into block memories.

    Args:
        netlist: Of ECP5 cells as Yosys writes it in JSON; changed in place.

    Returns:
        Flip-flops that moved, by the name of their cell.
    """
    moved: Counter[str] = Counter()
    for module in netlist["modules"].values():
        view = _Module(module["cells"], _readers(module))
        for cell in [cell for cell in view.cells.values() if cell["type"] == _MEMORY]:
            for halves in _halves(cell):
                registers = _registers(cell, halves, view)
                _absorb(cell, halves, registers, view)
                moved[_FLIP_FLOP] += len(registers)
    return {name: count for name, count in moved.items() if count}


def _readers(module: Mapping[str, Any]) -> dict[Any, list[tuple[str, str]]]:
    readers: dict[Any, list[tuple[str, str]]] = defaultdict(list)
    for name, cell in module["cells"].items():
        for port, bits in cell["connections"].items():
            if cell["port_directions"][port] != "output":
                for bit in bits:
                    readers[bit].append((name, port))
    for port in module["ports"].values():
        for bit in port["bits"]:
            readers[bit].append(("", ""))
    return readers


def _halves(cell: Cell) -> tuple[str, ...]:
    """Outputs that are read together: A and B, or AB of a wide memory."""
    width_a, width_b = (int(cell["parameters"][f"DATA_WIDTH_{half}"], 2) for half in "AB")
    if width_a == _WIDE:
        return ("AB",)
    return () if width_b == _WIDE else ("A", "B")


def _registers(cell: Cell, halves: str, module: _Module) -> dict[str, str]:
    """The flip-flop behind every output that is read; none if one of them must stay where it is."""
    if not _always_reads(cell, halves[-1]):
        return {}
    found: dict[str, str] = {}
    for output in (f"DO{half}{index}" for half in halves for index in range(_BITS)):
        (bit,) = cell["connections"].get(output) or ["x"]
        readers = module.readers.get(bit, [])
        if bit in _CONSTANTS or not readers:
            continue
        name, port = readers[0]
        if len(readers) > 1 or port != "DI" or not _plain(module.cells[name], _clock(cell, halves[-1])):
            return {}
        found[output] = name
    return found


def _clock(cell: Cell, half: str) -> list[Any]:
    wires: list[Any] = cell["connections"][f"CLK{half}"]
    return wires


def _always_reads(cell: Cell, half: str) -> bool:
    """Whether this half reads at every rising edge, is never reset and does not use its register yet."""
    wires, parameters = cell["connections"], cell["parameters"]
    return (
        wires[f"CE{half}"] == ["1"]
        and wires[f"RST{half}"] == ["0"]
        and parameters[f"CLK{half}MUX"] == f"CLK{half}"
        and parameters[f"REGMODE_{half}"] == "NOREG"
    )


def _plain(cell: Cell, clock: list[Any]) -> bool:
    """Whether this is a flip-flop of the clock's rising edge without enable, reset or initial one."""
    if cell["type"] != _FLIP_FLOP:
        return False
    wires, parameters = cell["connections"], cell["parameters"]
    return (
        wires["CLK"] == clock
        and wires["LSR"] == ["0"]
        and parameters["CLKMUX"] == "CLK"
        and parameters["CEMUX"].strip() == "1"  # what keeps Yosys from taking it for a number
        and parameters["LSRMUX"] == "LSR"
        and parameters["REGSET"] == "RESET"
    )


def _absorb(cell: Cell, halves: str, registers: Mapping[str, str], module: _Module) -> None:
    for output, name in registers.items():
        cell["connections"][output] = module.cells.pop(name)["connections"]["Q"]
    if registers:
        for half in halves:
            cell["parameters"][f"REGMODE_{half}"] = "OUTREG"
            cell["connections"][f"OCE{half}"] = ["1"]
