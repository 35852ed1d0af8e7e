"""A bitstream for one board: pins by a constraints file, the routed configuration packed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from spikejelly_pack.spec.errors import ParameterError

from . import tools
from .design import Design
from .devices import Device
from .top import port_bits

__all__ = ["check_constraints", "copy_constraints", "pack_bitstream", "write_template"]

CONFIGURATION = "routed.config"
TEMPLATE = "pins-template"
# One line per pin, by the suffix of the file.
_LINES = {
    ".lpf": 'LOCATE COMP "{pin}" SITE "?"; IOBUF PORT "{pin}" IO_TYPE=LVCMOS33;',
    ".pcf": "set_io {pin} ?",
}


def write_template(design: Design, device: Device, folder: Path) -> None:
    """Write ``pins-template.lpf`` or ``.pcf``: every pin of the design, a board's sites to be filled in."""
    suffix = device.family.pins[1]
    lines = [_LINES[suffix].format(pin=pin) for pin in port_bits(design)]
    head = "# Put a site of your board in the place of each question mark, then: --constraints THIS_FILE"
    (folder / f"{TEMPLATE}{suffix}").write_text("\n".join([head, *lines]) + "\n", "utf-8")


def check_constraints(path: str | os.PathLike[str], device: Device, *, placed: bool) -> None:
    """Find out before a long run whether a bitstream can be made.

    Args:
        path: File of pins, ``.lpf`` for ECP5 and ``.pcf`` for iCE40.
        device: Where the design must run.
        placed: Whether the design will be placed and routed.

    Raises:
        ParameterError: There is no such file, it is one of another family, or nothing is placed.
        EnvironmentMissingError: The tool that packs is not installed.
    """
    suffix = device.family.pins[1]
    if not placed:
        raise ParameterError(
            "constraints: the design must be placed and routed, is not; leave out --no-synth and name seeds."
        )
    if not Path(path).is_file() or Path(path).suffix.lower() != suffix:
        raise ParameterError(
            f"constraints: must be an existing {suffix} file for {device.name}, got {os.fspath(path)!r}; "
            f"fill in {TEMPLATE}{suffix}."
        )
    tools.find(device.family.packer[0])


def copy_constraints(path: str | os.PathLike[str], device: Device, build: Path) -> str:
    """Copy the file of pins into the folder of the build, whose tools see no other; its name there."""
    name = f"pins{device.family.pins[1]}"
    shutil.copyfile(path, build / name)
    return name


def pack_bitstream(
    device: Device, build: Path, name: str, deadline: float, progress: Callable[[str], Any]
) -> str:
    """Pack ``routed.config`` of a build to ``NAME.bit`` or ``NAME.bin``; the file's name.

    Raises:
        RunError: The packer fails or passes the deadline, in seconds.
    """
    packed = f"{name}{device.family.bitstream}"
    tool = tools.find(device.family.packer[0])
    tools.run(tool, [CONFIGURATION, packed], build, stage="bitstream", deadline=deadline, progress=progress)
    return packed
