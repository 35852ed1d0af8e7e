"""Mutants of the equations and the integer core in ``spikejelly_pack/spec``, made and judged by mutmut.

mutmut works in a copy of what the tests of the equations need; ``[tool.mutmut]`` in ``pyproject.toml`` says
what is mutated and which tests run. The functions that mutmut leaves out are judged by :mod:`.lines`.
"""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .prose import cannot_matter
from .report import ROOT, Mutant

__all__ = ["SpecMutants"]

_NEEDED = (
    "pyproject.toml",
    "docs/targets.md",
    "spikejelly_pack",
    "tests/conftest.py",
    "tests/fuzzing.py",
    "tests/spec",
)
# One function, the smallest: mutmut makes all mutants of all files before it runs those it was asked for.
_FIRST = "spikejelly_pack.spec.equations.x_least_significant*"
_KILLED = {"killed", "timeout", "segfault", "suspicious"}
_SURVIVED = {"survived", "no tests"}


def _copy(work: Path) -> None:
    for name in _NEEDED:
        source, target = ROOT / name, work / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)


def _function_lines(path: Path) -> dict[str, int]:
    """Line of every function of a file, by ``name`` or ``Class.name``."""
    found: dict[str, int] = {}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        inner = node.body if isinstance(node, ast.ClassDef) else [node]
        lead = f"{node.name}." if isinstance(node, ast.ClassDef) else ""
        found.update({lead + f.name: f.lineno for f in inner if isinstance(f, ast.FunctionDef)})
    return found


class SpecMutants:
    """All mutants of the equations.

    Args:
        work: An empty folder, where the copy is made.
        jobs: Processes at once.
    """

    def __init__(self, work: Path, jobs: int) -> None:
        self.work, self.jobs = work, jobs
        self.names: dict[Mutant, list[str]] = {}
        self.left_out = 0
        _copy(work)
        self._mutmut(_FIRST)
        before = Path.cwd()
        os.chdir(work)  # mutmut's functions look for its files here
        try:
            for meta in sorted(Path("mutants").rglob("*.py.meta")):
                self._enter(meta)
        finally:
            os.chdir(before)

    def _mutmut(self, *names: str) -> None:
        command = [
            str(Path(sys.executable).with_name("mutmut")),
            "run",
            "--max-children",
            str(self.jobs),
            *names,
        ]
        with (self.work / "mutmut.log").open("a", encoding="utf-8") as log:
            done = subprocess.run(command, cwd=self.work, stdout=log, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            words = (self.work / "mutmut.log").read_text(encoding="utf-8")
            raise RuntimeError(f"mutmut ended with {done.returncode}: {words[-3000:]}")

    def _enter(self, meta: Path) -> None:
        """Read the mutants of one file."""
        diffs: Any = importlib.import_module("mutmut.mutation.diff_apply")
        formats: Any = importlib.import_module("mutmut.utils.format_utils")
        cst: Any = importlib.import_module("libcst")
        path = meta.relative_to("mutants").with_suffix("")
        lines = _function_lines(path)
        for name in json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]:
            function, owner = formats.orig_function_and_class_names_from_key(name)
            function = function.rpartition(".")[2]
            codes = [cst.Module([node]).code for node in diffs.read_functions_from_index(name, path)]
            if cannot_matter(function, *codes):
                self.left_out += 1
                continue
            first = lines[f"{owner}.{function}" if owner else function]
            mutant = _mutant(path.as_posix(), first, *(code.splitlines() for code in codes))
            self.names.setdefault(mutant, []).append(name)

    def judge(self, mutants: Sequence[Mutant]) -> dict[Mutant, str]:
        """Run the tests on some of the mutants."""
        self._mutmut(*[name for mutant in mutants for name in self.names[mutant]])
        status: Any = importlib.import_module("mutmut.stats").status_by_exit_code
        codes: dict[str, int | None] = {}
        for meta in (self.work / "mutants").rglob("*.py.meta"):
            codes |= json.loads(meta.read_text(encoding="utf-8"))["exit_code_by_key"]
        words = {mutant: {status[codes[name]] for name in self.names[mutant]} for mutant in mutants}
        strange = {mutant: found for mutant, found in words.items() if found - _KILLED - _SURVIVED}
        if strange:
            raise RuntimeError(f"mutmut judged {len(strange)} mutants as neither killed nor alive: {strange}")
        return {mutant: "survived" if found & _SURVIVED else "killed" for mutant, found in words.items()}


def _mutant(file: str, first: int, before: Sequence[str], after: Sequence[str]) -> Mutant:
    """The lines in which two writings of a function differ; its ``def`` is line ``first`` of the file."""
    shared = min(len(before), len(after))
    start = next(i for i in range(shared + 1) if before[i : i + 1] != after[i : i + 1])
    end = next(i for i in range(shared - start + 1) if before[-1 - i] != after[-1 - i] or i == shared - start)
    define = next(i for i, line in enumerate(before) if line.lstrip().startswith("def "))
    old, new = (" ".join(s.strip() for s in lines[start : len(lines) - end]) for lines in (before, after))
    return Mutant(file, first + start - define, old, new)
