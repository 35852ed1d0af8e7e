"""The README's tables say what the stored results say."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest


@pytest.mark.skipif(find_spec("torch") is None, reason="the benchmarks that format their tables need torch")
def test_tables_match_the_stored_results(repository: Path) -> None:
    script = repository / "tools" / "readme_tables.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
