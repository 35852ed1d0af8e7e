"""The documentation site holds every page and every public name; its pictures are those of the equations."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import lava_bridge
import spikejelly_pack

ROOT = Path(__file__).parents[2]


def pages_of(navigation: Any) -> Iterator[str]:
    if isinstance(navigation, str):
        yield navigation
    elif isinstance(navigation, dict):
        yield from pages_of(list(navigation.values()))
    else:
        for part in navigation:
            yield from pages_of(part)


def test_navigation_holds_every_page() -> None:
    navigation = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    listed = list(pages_of(navigation))
    assert sorted(listed) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


def documented() -> dict[str, Any]:
    """Objects of the API page by the path that stands there."""
    paths = re.findall(r"^::: (\S+)$", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert len(paths) == len(set(paths))
    return {
        path: getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2])
        for path in paths
    }


@pytest.mark.parametrize("package", [spikejelly_pack, lava_bridge], ids=lambda package: package.__name__)
def test_reference_holds_every_public_name(package: Any) -> None:
    found = {id(value) for value in documented().values()}
    assert [name for name in package.__all__ if id(getattr(package, name)) not in found] == []


def test_pictures_are_those_of_the_equations() -> None:
    script = ROOT / "tools" / "neuron_figures.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
