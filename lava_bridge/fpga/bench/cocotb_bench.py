"""A cocotb bench of a generated folder: streams its samples and compares every beat, without and with pauses.

Runs in the folder, beside ``design.json``, ``in_*.bin`` and ``out_*.expected``.
"""

# cocotb is no dependency: its names are unknown where types are checked.
# pyright: reportUnknownVariableType=false, reportUnknownMemberType=false, reportUnknownArgumentType=false
# pyright: reportUntypedFunctionDecorator=false

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import FallingEdge, ReadOnly

PATIENCE = 100_000


def _beats_in(index: int, bits: int) -> list[int]:
    size = 4 * -(-bits // 32)
    raw = Path(f"in_{index}.bin").read_bytes()
    return [int.from_bytes(raw[at : at + size], "little") for at in range(0, len(raw), size)]


def _beats_out(index: int) -> list[int]:
    return [int(line, 16) for line in Path(f"out_{index}.expected").read_text("utf-8").split()]


class _Port:
    """Handles of one AXI4-Stream port."""

    def __init__(self, dut: Any, prefix: str) -> None:
        self.valid, self.ready = getattr(dut, f"{prefix}_tvalid"), getattr(dut, f"{prefix}_tready")
        self.data: Any = getattr(dut, f"{prefix}_tdata")
        self.last: Any = getattr(dut, f"{prefix}_tlast", None)  # of an output


async def _send(dut: Any, port: _Port, beats: list[int], pauses: float, chance: random.Random) -> None:
    for beat in beats:
        while chance.random() < pauses:
            await FallingEdge(dut.aclk)
        port.valid.value, port.data.value = 1, beat
        await ReadOnly()
        while not int(port.ready.value):
            await FallingEdge(dut.aclk)
            await ReadOnly()
        await FallingEdge(dut.aclk)
        port.valid.value = 0


async def _receive(
    dut: Any, port: _Port, beats: list[int], each: int, bits: int, pauses: float, chance: random.Random
) -> None:
    got = quiet = 0
    while got < len(beats):
        port.ready.value = int(chance.random() >= pauses)
        await ReadOnly()
        quiet += 1
        assert quiet < PATIENCE, f"stuck after {got} beats"
        if int(port.valid.value) and int(port.ready.value):
            value = int(port.data.value) & ((1 << bits) - 1)
            assert value == beats[got], f"beat {got} is {value:x}, must be {beats[got]:x}"
            got, quiet = got + 1, 0
            assert bool(int(port.last.value)) == (got % each == 0), f"tlast of beat {got - 1}"
        await FallingEdge(dut.aclk)


async def _stream(dut: Any, manifest: dict[str, Any], pauses: float, chance: random.Random) -> None:
    inputs, outputs = manifest["inputs"].values(), manifest["outputs"].values()
    tasks = [
        cocotb.start_soon(
            _send(
                dut,
                _Port(dut, entry["port"]),
                _beats_in(index, entry["codes_per_beat"] * entry["code_bits"]),
                pauses,
                chance,
            )
        )
        for index, entry in enumerate(inputs)
    ]
    for index, entry in enumerate(outputs):
        bits = entry["membranes_per_beat"] * entry["membrane_bits"]
        port, each = _Port(dut, entry["port"]), entry["beats_per_sample"]
        tasks.append(cocotb.start_soon(_receive(dut, port, _beats_out(index), each, bits, pauses, chance)))
    for task in tasks:
        await task


@cocotb.test()
async def samples_stream_through(dut: Any) -> None:
    """Twice over: without a pause, then with random ones, and no reset in between."""
    manifest = json.loads(Path("design.json").read_text("utf-8"))
    for entry in manifest["inputs"].values():
        _Port(dut, entry["port"]).valid.value = 0
    for entry in manifest["outputs"].values():
        _Port(dut, entry["port"]).ready.value = 0
    dut.aresetn.value = 0
    Clock(dut.aclk, 10, unit="ns").start()
    for _ in range(8):
        await FallingEdge(dut.aclk)
    dut.aresetn.value = 1
    for pauses in (0.0, 0.3):
        await _stream(dut, manifest, pauses, random.Random(1))
