"""Mutants of single lines of text, made by universalmutator from a file of rules."""

from __future__ import annotations

import contextlib
import importlib
import io
from collections.abc import Container
from pathlib import Path
from typing import Any

from .report import ROOT, Mutant

__all__ = ["text_mutants"]


def text_mutants(path: Path, rules: str, wanted: Container[int]) -> list[Mutant]:
    """Every mutant of the ``wanted`` lines of a file by the rules of a file beside this one."""
    mutator: Any = importlib.import_module("universalmutator.mutator")
    lines: list[str] = path.read_text(encoding="utf-8").splitlines(keepends=True)
    # Blank lines for the others: the library takes what looks like the comment of some language for one.
    shown = [line if number in wanted else "\n" for number, line in enumerate(lines, start=1)]
    place = str(Path(__file__).with_name(rules))
    with contextlib.redirect_stdout(io.StringIO()):  # it tells which rules it reads
        made: list[Any] = mutator.mutants_regexp(shown, [place], ignorePatterns=[])
    name = path.relative_to(ROOT).as_posix()
    return [_mutant(name, lines, number, text) for number, text, *_ in made]


def _mutant(file: str, lines: list[str], number: int, text: str) -> Mutant:
    return Mutant(file, number, lines[number - 1].strip(), text.strip())
