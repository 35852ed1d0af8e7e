"""Every Python block of the README and of docs/ runs, page by page, in the order of the page.

A block with ``<!-- not run: REASON -->`` on the line before it does not run here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# Pages whose code needs a trained run or Lava have a test of their own.
ELSEWHERE = {
    "README.md": "tests/examples/test_examples.py",
    "bit-budget.md": "tests/bit_budget/test_count_documented.py",
    "information.md": "tests/analysis/test_docs.py",
    "training.md": "tests/train/test_docs.py",
}
REASONS = ("needs a GPU", "needs Lava", "needs torchao", "needs your data", "a template")
BLOCK = re.compile(
    r"(?:<!-- not run: ([^\n]*?) -->\n\s*)?^( *)```python\n(.*?)^ *```$", re.MULTILINE | re.DOTALL
)


def blocks_of(page: Path) -> list[tuple[str, str]]:
    """Reason not to run (or "") and code of each block, indentation removed."""
    text = page.read_text(encoding="utf-8")
    found = BLOCK.findall(text)
    assert len(found) == text.count("```python"), f"{page.name}: a block that is not closed"
    return [(reason, re.sub(f"^{indent}", "", code, flags=re.MULTILINE)) for reason, indent, code in found]


def runs(page: Path) -> bool:
    """Whether a block of the page runs."""
    return any(not reason for reason, _code in blocks_of(page))


@pytest.mark.parametrize(
    "page", [p for p in PAGES if p.name not in ELSEWHERE and runs(p)], ids=lambda p: p.name
)
def test_code_of_the_page_runs(
    page: Path, setting: Callable[[str], dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TQDM_DISABLE", "1")
    names = setting(page.name)
    for index, (reason, code) in enumerate(blocks_of(page)):
        if not reason:
            exec(compile(code, f"{page.name}, block {index + 1}", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_what_does_not_run_says_why(page: Path) -> None:
    reasons = [reason for reason, _code in blocks_of(page) if reason]
    assert [reason for reason in reasons if not reason.startswith(REASONS)] == []


@pytest.mark.parametrize(("page", "test"), ELSEWHERE.items())
def test_pages_with_a_test_of_their_own(page: str, test: str) -> None:
    assert page in (ROOT / test).read_text(encoding="utf-8")
