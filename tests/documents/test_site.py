"""The documentation site holds every page and every public name; its pictures are those of the equations."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[2]
#: Packages whose every public name stands in the reference.
PUBLIC = (
    "lava_bridge",
    "lava_bridge.fpga",
    "spikejelly_pack",
    "spikejelly_pack.analysis",
    "spikejelly_pack.bit_budget",
    "spikejelly_pack.bit_budget.plan",
    "spikejelly_pack.data",
    "spikejelly_pack.functional",
    "spikejelly_pack.spec.errors",
    "spikejelly_pack.spec.targets",
    "spikejelly_pack.train",
)


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
    docs = ROOT / "docs"
    assert sorted(listed) == sorted(str(path.relative_to(docs)) for path in docs.rglob("*.md"))


def documented() -> dict[str, Any]:
    """Objects of the API pages by the path that stands there."""
    pages = [page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs" / "api").glob("*.md"))]
    paths = [path for page in pages for path in re.findall(r"^::: (\S+)$", page, re.MULTILINE)]
    assert len(paths) == len(set(paths))
    return {
        path: getattr(importlib.import_module(path.rpartition(".")[0]), path.rpartition(".")[2])
        for path in paths
    }


@pytest.mark.parametrize("name", PUBLIC)
def test_reference_holds_every_public_name(name: str) -> None:
    found = {id(value) for value in documented().values()}
    package = importlib.import_module(name)
    assert [name for name in package.__all__ if id(getattr(package, name)) not in found] == []


def test_members_of_the_reference_exist() -> None:
    """A member that a class does not have would be left out in silence."""
    objects = documented()
    for page in (ROOT / "docs" / "api").glob("*.md"):
        named = re.findall(
            r"^::: (\S+)\n    options:\n      members: \[(.*)\]$", page.read_text(), re.MULTILINE
        )
        for path, members in named:
            assert [name for name in members.split(", ") if not hasattr(objects[path], name)] == [], path


def test_roles_become_links() -> None:
    """Docstrings name other objects by Sphinx's roles, which MkDocs does not know."""
    spec = importlib.util.spec_from_file_location("site_roles", ROOT / "tools" / "site_roles.py")
    assert spec is not None
    assert spec.loader is not None
    hook = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(hook)
    text = "see :class:<code>.Network</code> and :func:<code>.execute.run_packed</code>"
    assert hook.link_roles(text, {"Network": "a.b.Network"}) == (
        'see <autoref optional identifier="a.b.Network"><code>Network</code></autoref> '
        "and <code>run_packed</code>"
    )


def test_pictures_are_those_of_the_equations() -> None:
    script = ROOT / "tools" / "neuron_figures.py"
    done = subprocess.run(
        [sys.executable, str(script), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
