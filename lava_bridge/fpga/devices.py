"""Devices as data: capacity, and what yosys and nextpnr need to know. To add one: one entry."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from spikejelly_pack.spec.errors import ParameterError

__all__ = ["DEVICES", "FAMILIES", "RESOURCES", "Device", "Family", "device"]

RESOURCES: tuple[str, ...] = ("lut", "ff", "bram", "dsp", "io")


@dataclass(frozen=True)
class Family:
    """What the devices of one architecture share.

    Attributes:
        name: Of the architecture.
        synthesis: Pass of yosys; it makes DSP blocks of multiplications.
        without_dsp: The pass when it must not.
        tool: Place-and-route tool.
        frequency: MHz that place-and-route aims at, above what designs reach, so that it does not stop early.
        cells: Cells of a netlist, as weights per resource: what a cell takes before it is packed.
        used: Names of the resources in the report of place-and-route.
        packer: Makes the bitstream of the routed design, and the option that makes place-and-route write it.
        pins: Option of place-and-route that takes a file of pins, and the file's suffix.
        bitstream: Suffix of bitstreams.
        memory_bits: Bits of one block memory.
        memory_width: Widest word of one block memory.
        block_cost: LUTs that synthesis takes a block memory for, where it may choose.
        lut_memory: Whether LUTs can be written.
        output_registers: Whether block memories have registers for what they read, unused by synthesis.
    """

    name: str
    synthesis: str
    without_dsp: str
    tool: str
    frequency: int
    cells: Mapping[str, Mapping[str, int]]
    used: Mapping[str, str]
    packer: tuple[str, str]
    pins: tuple[str, str]
    bitstream: str
    memory_bits: int
    memory_width: int
    block_cost: int
    lut_memory: bool
    output_registers: bool


@dataclass(frozen=True)
class Device:
    """One device in one package.

    Attributes:
        name: As on the command line.
        title: As its maker calls it, with package and speed grade.
        family: Its architecture.
        options: Of place-and-route.
        capacity: Of each resource in :data:`RESOURCES`.
    """

    name: str
    title: str
    family: Family
    options: tuple[str, ...]
    capacity: Mapping[str, int]


_ICE40_FLIP_FLOPS = [
    f"SB_DFF{edge}{enable}{reset}"
    for edge in ("", "N")
    for enable in ("", "E")
    for reset in ("", "R", "S", "SR", "SS")
]

FAMILIES: dict[str, Family] = {
    "ecp5": Family(
        name="ecp5",
        synthesis="synth_ecp5",
        without_dsp="synth_ecp5 -nodsp",
        tool="nextpnr-ecp5",
        frequency=200,
        cells={
            "LUT4": {"lut": 1},
            "CCU2C": {"lut": 2},
            "TRELLIS_DPR16X4": {"lut": 6},
            "TRELLIS_FF": {"ff": 1},
            "DP16KD": {"bram": 1},
            "PDPW16KD": {"bram": 1},
            "MULT18X18D": {"dsp": 1},
            "ALU54B": {"dsp": 1},
        },
        used={
            "TRELLIS_COMB": "lut",
            "TRELLIS_FF": "ff",
            "DP16KD": "bram",
            "MULT18X18D": "dsp",
            "TRELLIS_IO": "io",
        },
        packer=("ecppack", "--textcfg"),
        pins=("--lpf", ".lpf"),
        bitstream=".bit",
        memory_bits=18432,
        memory_width=36,
        block_cost=128,
        lut_memory=True,
        output_registers=True,
    ),
    "ice40": Family(
        name="ice40",
        synthesis="synth_ice40 -device u -dsp",
        without_dsp="synth_ice40 -device u",
        tool="nextpnr-ice40",
        frequency=60,
        cells={
            "SB_LUT4": {"lut": 1},
            **{name: {"ff": 1} for name in _ICE40_FLIP_FLOPS},
            "SB_RAM40_4K": {"bram": 1},
            "SB_MAC16": {"dsp": 1},
        },
        used={"ICESTORM_LC": "lut", "ICESTORM_RAM": "bram", "ICESTORM_DSP": "dsp", "SB_IO": "io"},
        packer=("icepack", "--asc"),
        pins=("--pcf", ".pcf"),
        bitstream=".bin",
        memory_bits=4096,
        memory_width=16,
        block_cost=64,
        lut_memory=False,
        output_registers=False,
    ),
}

# In order of size: the smallest device that holds a network is the first that does.
DEVICES: dict[str, Device] = {
    one.name: one
    for one in (
        Device(
            "ice40-up5k",
            "Lattice iCE40UP5K-SG48",
            FAMILIES["ice40"],
            ("--up5k", "--package", "sg48"),
            {"lut": 5280, "ff": 5280, "bram": 30, "dsp": 8, "io": 39},
        ),
        Device(
            "ecp5-25f",
            "Lattice LFE5U-25F-6BG381",
            FAMILIES["ecp5"],
            ("--25k", "--package", "CABGA381", "--speed", "6"),
            {"lut": 24288, "ff": 24288, "bram": 56, "dsp": 28, "io": 197},
        ),
        Device(
            "ecp5-85f",
            "Lattice LFE5U-85F-6BG756",
            FAMILIES["ecp5"],
            ("--85k", "--package", "CABGA756", "--speed", "6"),
            {"lut": 83640, "ff": 83640, "bram": 208, "dsp": 156, "io": 365},
        ),
    )
}


def device(name: str) -> Device:
    """The device of a name; raises :class:`ParameterError` for an unknown one."""
    if name not in DEVICES:
        raise ParameterError(f"device: must be one of {', '.join(DEVICES)}, got {name!r}; choose one.")
    return DEVICES[name]
