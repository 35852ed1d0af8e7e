"""Size, syntax and wording of the files themselves."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

FILE_LINES = 300
TEST_FILE_LINES = 400
FUNCTION_LINES = 40  # of the body: signature and docstring are documentation
TEXT_SUFFIXES = {
    ".py",
    ".md",
    ".toml",
    ".ini",
    ".cfg",
    ".cu",
    ".sv",
    ".txt",
    ".json",
    ".yaml",
    ".yml",
    ".html",
    "",
}
FORBIDDEN = {
    "a path of one machine": re.compile(r"(?<![\w.>})])/(?:tmp|root|work|farm|home)/"),
    "unfinished work": re.compile(r"\b(?:TODO|FIXME|XXX|NotImplemented(?:Error))\b"),
    "a workplace document": re.compile(
        r"\b(?:HOUSE\.md|examples-to-follow|shared/(?:facts|prototypes|design))\b"
    ),
    "a workplace ticket": re.compile(r"\b[Ii]ssue \d|\bissues show\b"),
}


def code_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return the lines of a function's body after its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Yield every function and method of a file, nested ones too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_packages_have_sources(sources: list[Path], repository: Path) -> None:
    """The checks below look at something."""
    assert {p.relative_to(repository).parts[0] for p in sources} == {
        "spikejelly_pack",
        "cupy_kernels",
        "lava_bridge",
    }


def test_files_are_short(tree: list[Path], repository: Path) -> None:
    long = []
    for path in (p for p in tree if p.suffix == ".py"):
        limit = TEST_FILE_LINES if path.is_relative_to(repository / "tests") else FILE_LINES
        lines = len(path.read_text(encoding="utf-8").splitlines())
        if lines > limit:
            long.append(f"{path.relative_to(repository)}: {lines} lines, limit {limit}")
    assert long == []


def test_functions_are_short(sources: list[Path], repository: Path) -> None:
    long = [
        f"{path.relative_to(repository)}:{f.lineno} {f.name}: {code_lines(f)} lines, limit {FUNCTION_LINES}"
        for path in sources
        for f in functions(path)
        if code_lines(f) > FUNCTION_LINES
    ]
    assert long == []


def test_sources_are_python_310(sources: list[Path]) -> None:
    """One wheel serves both sides; on 3.10 this is the compiler itself, elsewhere its grammar switch."""
    for path in sources:
        text = path.read_text(encoding="utf-8")
        ast.parse(text, filename=str(path), feature_version=(3, 10))
        compile(text, str(path), "exec")


@pytest.mark.parametrize("what", FORBIDDEN)
def test_wording(what: str, tree: list[Path], repository: Path) -> None:
    found = []
    for path in (p for p in tree if p.suffix in TEXT_SUFFIXES and p != Path(__file__)):
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            if FORBIDDEN[what].search(line):
                found.append(f"{path.relative_to(repository)}:{number}: {line.strip()[:100]}")
    assert found == []
