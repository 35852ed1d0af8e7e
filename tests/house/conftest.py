"""The files of the working tree, as the house rules see them."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

PACKAGES = ("spikejelly_pack", "cupy_kernels", "lava_bridge")


def _walk(root: Path) -> list[Path]:
    """Return all files outside hidden folders and caches: a tree without git, such as an unpacked sdist."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
        found += [Path(folder) / name for name in files]
    return found


@pytest.fixture(scope="session")
def tree(repository: Path) -> list[Path]:
    """Return the files git tracks or would track, as absolute paths."""
    command = ["git", "-C", str(repository), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    answer = (
        subprocess.run(command, capture_output=True, check=False) if (repository / ".git").exists() else None
    )
    if answer is None or answer.returncode != 0:
        return sorted(_walk(repository))
    paths = [repository / name for name in answer.stdout.decode().split("\0") if name]
    return sorted(path for path in paths if path.is_file())


@pytest.fixture(scope="session")
def sources(tree: list[Path], repository: Path) -> list[Path]:
    """Return the Python files of the packages."""
    inside = [p for p in tree if p.relative_to(repository).parts[0] in PACKAGES]
    return [p for p in inside if p.suffix == ".py"]
