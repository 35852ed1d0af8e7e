"""Mutants of what mutmut leaves out of ``spikejelly_pack/spec``: properties, constants, what runs at import.

mutmut chooses a mutant when a function is called, so it has none of code that runs before that, and it leaves
decorated functions alone. Here every mutant is a copy of the package, imported anew in a forked child.
"""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from . import forks
from .prose import AT_IMPORT
from .report import ROOT, Mutant
from .text import text_mutants

__all__ = ["judge", "make"]

PACKAGE = ROOT / "spikejelly_pack"


def _after_docstring(function: ast.FunctionDef) -> int:
    first = function.body[0]
    return first.lineno if ast.get_docstring(function) is None else (first.end_lineno or 0) + 1


def _lines(body: Sequence[ast.stmt]) -> Iterator[int]:
    """Lines of a module or class that mutmut leaves out."""
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _lines(node.body)
        elif isinstance(node, ast.FunctionDef):
            names = [ast.unparse(item) for item in node.decorator_list]
            if node.name in AT_IMPORT or not set(names) <= {"staticmethod", "classmethod"}:
                yield from range(_after_docstring(node), (node.end_lineno or 0) + 1)
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
            yield from range(node.value.lineno, (node.end_lineno or 0) + 1)


def make() -> list[Mutant]:
    """Every mutant of those lines."""
    found: list[Mutant] = []
    for path in sorted((PACKAGE / "spec").rglob("*.py")):
        wanted = set(_lines(ast.parse(path.read_text(encoding="utf-8")).body))
        found += text_mutants(path, "lines.rules", wanted)
    return found


def _run(mutant: Mutant, folder: Path) -> int:
    """Run the tests of the equations on the copy, in the child."""
    forks.mutated_copy(mutant, PACKAGE, folder / PACKAGE.name)
    sys.path.insert(0, str(folder))
    tests = sorted((ROOT / "tests" / "spec").glob("test_*.py"))
    return forks.run_pytest(folder, [path for path in tests if "fuzz" not in path.name])


def judge(mutants: Sequence[Mutant], work: Path, jobs: int) -> dict[Mutant, str]:
    """See :func:`.forks.judge`; what the tests need besides the package is imported before the forks."""
    for name in ("hypothesis.extra.numpy", "pytest", "safetensors.numpy"):
        importlib.import_module(name)
    return forks.judge(_run, mutants, work, jobs)
