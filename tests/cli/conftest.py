"""Runs the command as a user does: another process, its exit code, its streams."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Done = subprocess.CompletedProcess[str]
Run = Callable[..., Done]


@pytest.fixture(scope="session")
def spikepack(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """``spikepack(*arguments, **environment)``, run in ``cwd``, by default an empty folder."""
    elsewhere = tmp_path_factory.mktemp("cwd")  # not the repository: what is installed must run

    def run(*arguments: str, cwd: Path | None = None, timeout: float = 240, **environment: str) -> Done:
        return subprocess.run(
            [sys.executable, "-m", "spikejelly_pack", *arguments],
            cwd=cwd or elsewhere,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return run


@pytest.fixture(scope="session")
def refused() -> Callable[[Done], str]:
    """The one sentence on stderr of a run that bad input ended with exit code 2."""

    def sentence(done: Done) -> str:
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        lines = [line for line in done.stderr.splitlines() if line.startswith("spikepack:")]
        assert len(lines) == 1, done.stderr
        return lines[0]

    return sentence
