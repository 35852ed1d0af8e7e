"""The page on information: its code runs."""

from __future__ import annotations

import re
from pathlib import Path


def test_code_of_the_page_runs(repository: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (repository / "docs/information.md").read_text("utf-8"), re.S)
    assert blocks
    for block in blocks:
        exec(compile(block, "docs/information.md", "exec"), {})
