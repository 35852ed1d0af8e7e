"""``spikepack bench``: run a benchmark of the source tree's ``benchmarks/`` folder.

A benchmark is a module there with ``run(progress=..., **sizes) -> dict``, ``FAST`` (sizes of a smoke
test) and ``table(result) -> str``, plus its line in :data:`BENCHMARKS`. One with ``STORES = True`` gets the
file of ``--json`` as ``store``: it writes as it goes and goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import sys
from pathlib import Path
from typing import Any

from ..spec.atomic import check_writable, write_text
from ..spec.errors import EnvironmentMissingError, ParameterError

__all__ = ["BENCHMARKS", "HELP", "add_arguments", "run"]

HELP = "measure speed and memory, in pairs within one run"
BENCHMARKS = {
    "budget": "one Bit Budget split in every way, trained on digits and on event clips",
    "coverage": "every torchvision model through convert: coverage and output error",
    "cpu": "ResNet-18 on a CPU: the ANN, its int8 form, packed, integer form",
    "fpga": "a dense SpikePack layer on a device beside LIF and integer MAC layers",
    "fpga_conv": "the digits network's convolutions, event by event and by line buffers",
    "fpga_digits": "the demo's network on a device, end to end, all test images",
    "fpga_estimate": "the resource estimate against synthesized designs",
    "information": "bits a neuron transmits, alone and in a trained network's layers",
    "kernels": "the CUDA kernels: bandwidth, and time beside SpikingJelly's LIF; needs a GPU",
    "integer": "a residual network in integer form: accelerated, float64, packed float, ReLU",
    "neuron": "the packed node against nodes of SpikingJelly, snnTorch and Norse",
    "plan": "planned against uniform time steps and weight bits at equal S-ACE",
    "rounding": "adaptive against nearest rounding of the integer form's weights",
    "scaling": "cost against T, batch, width, depth and processes; an estimate for ImageNet",
    "simulate": "Lava: engines, serial and graded spikes, our convolution model and the stock one",
    "tasks": "accuracy, mAP and mIoU before and after conversion, trained here",
    "network": "SEW-ResNet-18, packed against LIF multi-step and the ANN",
    "training": "one network trained with each neuron: accuracy, time, memory, spikes",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    names = ", ".join(f"{name} ({what})" for name, what in BENCHMARKS.items())
    parser.add_argument("name", choices=[*sorted(BENCHMARKS), "all"], help=f"{names}; or all of them")
    parser.add_argument(
        "--fast", action="store_true", help="smaller sizes and fewer repeats: a smoke test, no measurement"
    )
    parser.add_argument(
        "--figure", metavar="FILE", type=Path, help="also draw the result as SVG, where the benchmark can"
    )
    parser.add_argument(
        "--out", metavar="FOLDER", type=Path, help="with all: where JSON, CSV, figures and report.html go"
    )
    parser.add_argument(
        "--only", metavar="NAME", nargs="+", help="with all: these alone, put onto the folder's page"
    )


def _folder() -> Path:
    candidates = [Path.cwd(), *Path.cwd().parents, Path(__file__).resolve().parents[2]]
    for folder in candidates:
        if (folder / "benchmarks" / "neuron.py").is_file():
            return folder / "benchmarks"
    raise EnvironmentMissingError(
        "bench: the benchmarks folder of the source tree was not found; run it inside a clone of the project."
    )


def defined(module: Path) -> set[str]:
    """Names that a module defines or imports at its top, read without running it."""
    names: set[str] = set()
    for statement in ast.parse(module.read_text("utf-8")).body:
        if isinstance(statement, ast.FunctionDef):
            names.add(statement.name)
        elif isinstance(statement, ast.ImportFrom):
            names.update(alias.asname or alias.name for alias in statement.names)
        elif isinstance(statement, (ast.Assign, ast.AnnAssign)):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            names.update(target.id for target in targets if isinstance(target, ast.Name))
    return names


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run one benchmark and print what it measured."""
    folder = _folder()
    if args.name == "all":
        from .bench_all import run_all

        drawn = {name for name in BENCHMARKS if "figure" in defined(folder / f"{name}.py")}
        return run_all(args, BENCHMARKS, drawn)
    sys.path.insert(0, str(folder.parent))
    spec = importlib.util.spec_from_file_location(f"benchmarks.{args.name}", folder / f"{args.name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    if args.figure is not None:
        if not hasattr(module, "figure"):
            raise ParameterError(f"bench {args.name}: --figure must be left out, it draws none; use --json.")
        check_writable(args.figure)
    options = dict(module.FAST) if args.fast else {}
    if getattr(module, "STORES", False) and args.json:
        options["store"] = args.json
    from tqdm import tqdm  # late: --help needs none

    with tqdm(bar_format="{desc} [{elapsed}]", disable=None, leave=False) as bar:
        result: dict[str, Any] = module.run(**options, progress=bar.set_description_str)
    print(module.table(result))
    if args.figure is not None:
        write_text(args.figure, module.figure(result))
    return result
