"""Runs planted faults, one forked child each; prints what each led to as JSON. Argument: a job as JSON."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from cupy_kernels import EmulationBackend, Queue
from cupy_kernels.launcher import backward

CASES = 3


def load(room: Path, name: str) -> ModuleType:
    """Import a file of the test room."""
    spec = importlib.util.spec_from_file_location(f"faults_{name}", room / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def judge(rig: ModuleType, case: Any, backend: EmulationBackend) -> str | None:
    """Return what is wrong with one case; None where nothing is."""
    machine = rig.Machine(Queue(backend))
    result = case(machine)
    try:
        machine.check_guards()
    except AssertionError as words:
        return str(words)
    for name, (got, expected) in result.get("exact", result).items():
        if not rig.same_bits(got, expected):
            return f"{case}: {name} differ"
    if "theta" in result and result["theta"][0] is not None:
        got, expected = result["theta"]
        scale = result["given"]["grad"].double().abs().sum() / len(got)
        if bool(((got - expected).abs() > 1e-4 * scale).any()):
            return f"{case}: theta is wrong by {float((got - expected).abs().max())}"
    return None


def run(rig: ModuleType, cases: list[Any], text: str, replacement: str, folder: Path) -> str:
    """Run cases over edited source, lanes and warps in both orders."""
    recorded = rig.record(cases)
    for order in (0, 1):
        backend = EmulationBackend(order, ("-O0",), lambda source: source.replace(text, replacement), folder)
        backend.build(recorded)
        for case in cases:
            wrong = judge(rig, case, backend)
            if wrong:
                return wrong
    return f"{len(cases)} cases agree"


def forked(*arguments: Any) -> str:
    """Run in a child, whose words and end are the outcome: some faults end the process."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 2)
        os.write(2, run(*arguments).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        words = pipe.read()
    return f"{words[-800:]} exit {os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}"


def main() -> None:
    """Run every fault of the job, then the same modules unedited."""
    job = json.loads(sys.argv[1])
    room, folder = Path(job["room"]), Path(job["folder"])
    torch.set_num_threads(1)  # no pool of threads: a fork leaves them behind
    backward._MAX_CHANNEL_BLOCKS = 2  # a block works on several channels, one after another
    rig = load(room, "conftest")
    faults = {name: tuple(fault) for name, fault in job["faults"].items()}
    modules = {fault[0]: load(room, fault[0]) for fault in faults.values()}
    outcomes = {}
    for name, (module, pattern, text, replacement, _) in faults.items():
        cases = [case for case in modules[module].CASES if re.search(pattern, str(case))][:CASES]
        outcomes[name] = forked(rig, cases, text, replacement, folder)
    for name, module in modules.items():
        outcomes[f"unedited {name}"] = forked(rig, module.CASES[:CASES], "", "", folder)
    print(json.dumps(outcomes))


main()
