"""What is installed is what the tree holds, and its papers agree."""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points
from importlib.util import find_spec
from pathlib import Path

import pytest

PACKAGES = ("spikejelly_pack", "cupy_kernels", "lava_bridge")


@pytest.fixture(scope="module")
def installed() -> Distribution:
    """Return the installed distribution; tox installs the wheel, a run from the tree has none."""
    try:
        return distribution("spikejelly-pack")
    except PackageNotFoundError:
        pytest.skip("spikejelly-pack is not installed: this run takes the packages from the tree")


def pyproject_version(repository: Path) -> str:
    """Return the version by its line: Python 3.10 has no TOML reader."""
    found = re.findall(r'^version = "(.+)"$', (repository / "pyproject.toml").read_text(), flags=re.MULTILINE)
    assert len(found) == 1
    return found[0]


def test_wheel_holds_every_file_of_the_packages(
    installed: Distribution, tree: list[Path], repository: Path
) -> None:
    wanted = {p.relative_to(repository).as_posix(): p for p in tree}
    wanted = {name: p for name, p in wanted.items() if name.partition("/")[0] in PACKAGES}
    shipped = {f.as_posix(): Path(str(f.locate())) for f in installed.files or [] if f.suffix != ".pyc"}
    assert wanted
    assert sorted(set(wanted) - set(shipped)) == []
    assert [n for n, path in wanted.items() if path.read_bytes() != shipped[n].read_bytes()] == []
    extra = {name for name in shipped if name.partition("/")[0] in PACKAGES} - set(wanted)
    assert sorted(extra) == []


@pytest.mark.parametrize("package", PACKAGES)
def test_annotations_are_announced(package: str, repository: Path) -> None:
    assert (repository / package / "py.typed").is_file()


def test_versions_agree(installed: Distribution, repository: Path) -> None:
    assert installed.version == pyproject_version(repository)
    package = importlib.import_module("spikejelly_pack")
    assert getattr(package, "__version__", installed.version) == installed.version


def test_changelog_starts_with_this_version(repository: Path) -> None:
    text = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = text.split("\n## ")[1]
    assert latest.startswith(f"[{pyproject_version(repository)}] - ")
    assert "Compatible with SpikingJelly" in latest


def test_licence_is_apache_2(installed: Distribution, repository: Path) -> None:
    assert installed.metadata["License-Expression"] == "Apache-2.0"
    assert (repository / "LICENSE").read_text().lstrip().startswith("Apache License")


def test_command_is_installed(installed: Distribution) -> None:
    (command,) = entry_points(group="console_scripts", name="spikepack")
    assert command.value == "spikejelly_pack.cli:main"
    if find_spec("torch"):  # on the Lava side the command has nothing to run
        assert callable(command.load())


def test_interpreters_are_named_for_every_tox_environment(repository: Path) -> None:
    """Both pyenv and uv read the file; without it tox would look for a download of Python 3.10."""
    assert (repository / ".python-version").read_text().split() == ["3.11", "3.10", "3.12"]


def test_every_extra_is_tried(installed: Distribution, repository: Path) -> None:
    """``tox run -e extras`` installs each extra that the distribution offers."""
    spec = importlib.util.spec_from_file_location("spikepack_extras", repository / "tools" / "extras.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    assert set(module.USES) == set(installed.metadata.get_all("Provides-Extra") or [])
