"""Writes a design as a folder: fixed modules, top module, memories, manifest, Makefile."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.atomic import DISK_FULL
from spikejelly_pack.spec.errors import OutputError
from spikejelly_pack.spec.graph import Network

from .design import Design
from .memories import memory_files
from .options import Options
from .planning import plan
from .readme import readme_text
from .top import top_text
from .vectors import vector_files

__all__ = ["build", "replacing_folder", "rtl_sources", "write", "write_vectors"]

MANIFEST = "design.json"


def rtl_sources() -> dict[str, str]:
    """The fixed modules: file name to text."""
    folder = files("lava_bridge.fpga") / "rtl"
    return {item.name: item.read_text("utf-8") for item in folder.iterdir() if item.name.endswith(".sv")}


def build(
    network: str | os.PathLike[str] | Network,
    out: str | os.PathLike[str],
    options: Options | None = None,
    *,
    top: str = "spikepack_net",
) -> Design:
    """Turn a network into a folder of synthesizable SystemVerilog.

    Args:
        network: An exchange file (``.spk``) or a network.
        out: Folder to write. A folder that an earlier run wrote is replaced, another one is refused.
        options: Parallelism, memories, digits.
        top: Name of the top module.

    Returns:
        The design: widths, parallelism, memories.

    Raises:
        SpikePackError: The network has no hardware, a register would overflow, or ``out`` cannot be written.
    """
    if not isinstance(network, Network):
        network = exchange.load(network)
    design = plan(network, options, top)
    with replacing_folder(out) as folder:
        write(design, folder)
        write_vectors(design, folder)
    return design


def write(design: Design, folder: Path) -> None:
    """Write all files of a design into an existing folder."""
    sources = rtl_sources()
    memories = memory_files(design.populations.values(), design.pools.values())
    texts = {**sources, f"{design.top}.sv": top_text(design), **memories}
    texts[MANIFEST] = json.dumps(_manifest(design, sorted(sources)), indent=2) + "\n"
    texts["README.md"] = readme_text(design)
    for name, text in texts.items():
        (folder / name).write_text(text, "utf-8")


def write_vectors(design: Design, folder: Path) -> None:
    """Add a bench, samples with the beats they must give and a Makefile: ``make sim`` prints PASS."""
    for name, content in vector_files(design, [*sorted(rtl_sources()), f"{design.top}.sv"]).items():
        (folder / name).write_bytes(content)


def _manifest(design: Design, sources: list[str]) -> dict[str, Any]:
    return {
        "top": design.top,
        "sources": [*sources, f"{design.top}.sv"],
        "time_steps": design.network.time_steps,
        "inputs": {
            op.name: {
                "port": design.port("s", op.name),
                "codes_per_beat": design.streams[op.name].fire,
                "code_bits": design.streams[op.name].code_bits,
                "beats_per_sample": design.streams[op.name].beats,
            }
            for op in design.network.inputs
        },
        "outputs": {
            op.name: {
                "port": design.port("m", op.name),
                "membranes_per_beat": design.populations[op.name].fire,
                "membrane_bits": design.populations[op.name].state_bits,
                "beats_per_sample": design.populations[op.name].beats,
            }
            for op in design.network.readouts
        },
        "populations": design.summary(),
    }


@contextmanager
def replacing_folder(out: str | os.PathLike[str]) -> Generator[Path]:
    """Yield a temporary folder beside ``out``; it takes the place of ``out`` when the block succeeds.

    Raises:
        OutputError: ``out`` is no folder of ours, its parent cannot be written, or the disk gets full.
    """
    target = Path(out)
    if target.exists() and not _ours(target):
        raise OutputError(
            f"{target}: must be a new folder or one written before, got something else; choose another."
        )
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".{target.name[:32]}.{secrets.token_hex(8)}.part"
        temporary.mkdir()  # not tempfile, whose folders are private
    except (OSError, ValueError) as error:
        raise OutputError(f"{target}: the folder must be writable, got {error}; choose another.") from None
    try:
        yield temporary
        if target.exists():
            shutil.rmtree(target)
        temporary.rename(target)
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise OutputError(
            f"{target}: the disk must hold the folder, got {error.strerror}; choose another."
        ) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _ours(target: Path) -> bool:
    return target.is_dir() and ((target / MANIFEST).is_file() or not any(target.iterdir()))
