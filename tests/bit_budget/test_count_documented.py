"""docs/bit-budget.md: its code runs, its numbers are those that are printed."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

DOCUMENT = Path(__file__).parents[2] / "docs" / "bit-budget.md"
BLOCKS = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)


def numbers(text: str) -> list[float]:
    """Return the numbers of the lines of a table."""
    rows = [line for line in text.splitlines() if line[:1].isdigit()]
    return [
        float(word.replace(",", "").rstrip("%")) for row in rows for word in row.split() if word != "spikes"
    ]


@pytest.mark.parametrize("index", range(2))
def test_code(index: int) -> None:
    assert len(BLOCKS) == 2
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile(BLOCKS[index], f"{DOCUMENT.name}:{index}", "exec"), {})
    shown = re.search(r"```text\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert shown is not None
    if index == 0:
        found = out.getvalue().splitlines()[: len(shown[1].splitlines())]
        assert found[0] == shown[1].splitlines()[0]
        # A membrane at a rounding tie may fire otherwise on another machine: a few of 640 * 16 products.
        assert numbers("\n".join(found)) == pytest.approx(numbers(shown[1]), rel=1e-2)


def test_sums_in_the_text() -> None:
    assert 423_886_848 + 58_122_240 + 3_609_460_736 == 4_091_469_824
