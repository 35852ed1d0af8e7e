"""Judges mutants of text: one forked child each, which runs the tests and ends."""

from __future__ import annotations

import importlib
import os
import resource
import shutil
import signal
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from .report import ROOT, Mutant

__all__ = ["judge", "mutated_copy", "run_pytest"]

# What runs longer never ends; a busy machine makes the second longer, not the first.
CPU_SECONDS, SECONDS = 60, 1200
NOT_RUN = 71
# How the emulation of the kernels ends the process where a barrier is not reached by all threads.
STOPPED = 70


def mutated_copy(mutant: Mutant, source: Path, target: Path) -> None:
    """Copy the folder ``source`` and change one line of the copy."""
    shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    path = target / (ROOT / mutant.file).relative_to(source)
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    line = lines[mutant.line - 1]
    if line.strip() != mutant.before:
        raise ValueError(f"{mutant.file}:{mutant.line}: expected {mutant.before!r}, found {line!r}")
    lines[mutant.line - 1] = line[: len(line) - len(line.lstrip())] + mutant.after + "\n"
    path.write_text("".join(lines), encoding="utf-8")


def run_pytest(folder: Path, tests: Sequence[Path]) -> int:
    """Run tests up to the first failure; return pytest's exit status."""
    pytest: Any = importlib.import_module("pytest")  # no need of it where the types are checked
    options = ["-x", "-q", "--rootdir", str(ROOT), "-p", "no:cacheprovider", f"--basetemp={folder / 'tests'}"]
    return int(pytest.main([*options, *map(str, tests)]))


def _start(run: Callable[[Mutant, Path], int], mutant: Mutant, folder: Path) -> int:
    """Fork a child that judges one mutant; its words go to ``folder/log``."""
    folder.mkdir(parents=True)
    child = os.fork()
    if child:
        return child
    status = NOT_RUN
    try:
        log = os.open(folder / "log", os.O_WRONLY | os.O_CREAT)
        os.dup2(log, 1)
        os.dup2(log, 2)
        resource.setrlimit(resource.RLIMIT_CPU, (CPU_SECONDS, CPU_SECONDS))  # inside a kernel too
        signal.alarm(SECONDS)
        status = run(mutant, folder)
    except BaseException:
        os.write(2, traceback.format_exc().encode())
        raise
    finally:
        os._exit(status)


def _verdict(status: int, log: str, not_built: str) -> str:
    """``killed``, ``survived`` or ``invalid`` of how a child ended; a signal kills, too."""
    if not_built and not_built in log:
        return "invalid"
    code = os.waitstatus_to_exitcode(status)
    # 2 to 4: the tests could not even be collected, because importing what they test failed.
    if code > 4 and code != STOPPED:
        raise RuntimeError(f"the tests did not run: exit status {code}: {log[-2000:]}")
    return "killed" if code else "survived"


def judge(
    run: Callable[[Mutant, Path], int], mutants: Sequence[Mutant], work: Path, jobs: int, not_built: str = ""
) -> dict[Mutant, str]:
    """Run the tests on every mutant.

    Args:
        run: Runs the tests on one mutant in a folder of its own, in a child; returns pytest's exit status.
        mutants: What to judge.
        work: Where the folders are made.
        jobs: Children at once.
        not_built: Words of the tests that say that the mutant cannot be built at all.

    Raises:
        RuntimeError: The tests did not run.
    """
    waiting = list(enumerate(mutants))[::-1]
    running: dict[int, tuple[Mutant, Path]] = {}
    verdicts: dict[Mutant, str] = {}
    start = time.monotonic()
    while waiting or running:
        while waiting and len(running) < jobs:
            number, mutant = waiting.pop()
            folder = work / f"mutant{number}"
            running[_start(run, mutant, folder)] = (mutant, folder)
        child, status = os.wait()
        mutant, folder = running.pop(child)
        log = (folder / "log").read_text(encoding="utf-8", errors="replace")
        verdict = verdicts[mutant] = _verdict(status, log, not_built)
        shutil.rmtree(folder)
        seconds = time.monotonic() - start
        print(f"{len(verdicts)}/{len(mutants)} {seconds:.0f} s {mutant.place}: {verdict}", flush=True)
    return verdicts
