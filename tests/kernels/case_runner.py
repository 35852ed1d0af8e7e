"""Runs all cases of some modules over kernels built with given flags. Argument: a job as JSON."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import torch

from cupy_kernels import EmulationBackend, Queue


def load(room: Path, name: str) -> ModuleType:
    """Import a file of the test room."""
    spec = importlib.util.spec_from_file_location(f"runner_{name}", room / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def main() -> None:
    """Run and compare; a sanitizer ends the process by itself."""
    job = json.loads(sys.argv[1])
    room = Path(job["room"])
    torch.set_num_threads(1)
    rig = load(room, "conftest")
    text, replacement = job["fault"]

    def edit(source: str) -> str:
        return source.replace(text, replacement)

    count = 0
    for name in job["modules"]:
        cases = load(room, name).CASES[: job["cases"]]
        backend = EmulationBackend(job["order"], job["flags"], edit, Path(job["folder"]))
        backend.build(rig.record(cases))
        for case in cases:
            machine = rig.Machine(Queue(backend))
            result = case(machine)
            machine.check_guards()
            for what, (got, expected) in result.get("exact", result).items():
                assert rig.same_bits(got, expected), f"{case}: {what}"
            count += 1
    print(f"{count} cases clean")


main()
