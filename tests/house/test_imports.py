"""Heavy libraries stay out of what must be light, and every public name is really there."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

HEAVY = (
    "torch", "torchvision", "spikingjelly", "cupy", "lava", "matplotlib", "sklearn", "scipy", "lightning",
)  # fmt: skip
LIGHT = ("spikejelly_pack", "spikejelly_pack.spec", "lava_bridge", "cupy_kernels")
PROBE = "import json, sys; import {0}; print(json.dumps(sorted(m for m in sys.modules if '.' not in m)))"


def loaded_by(module: str, folder: Path) -> set[str]:
    """Return the top-level modules a fresh interpreter holds after importing one module."""
    answer = subprocess.run(
        [sys.executable, "-c", PROBE.format(module)],
        cwd=folder,  # not the working tree: what is installed answers
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 0, f"import {module} failed:\n{answer.stderr}"
    return set(json.loads(answer.stdout.splitlines()[-1]))


@pytest.mark.parametrize("module", LIGHT)
def test_import_is_light(module: str, tmp_path: Path) -> None:
    loaded = loaded_by(module, tmp_path)
    assert module.partition(".")[0] in loaded
    assert sorted(loaded & set(HEAVY)) == []


def test_top_level_and_help_import_hardly_anything(tmp_path: Path) -> None:
    """What makes ``import spikejelly_pack`` and ``spikepack --help`` quick: these modules stay out."""
    assert not loaded_by("spikejelly_pack", tmp_path) & {*HEAVY, "numpy", "safetensors", "tqdm"}
    loaded = loaded_by("spikejelly_pack.cli as cli; cli.main(['--help'])", tmp_path)
    assert "argparse" in loaded
    # email comes with importlib.metadata
    assert not loaded & {*HEAVY, "numpy", "safetensors", "tqdm", "email", "yaml"}


def test_probe_sees_a_heavy_library(tmp_path: Path) -> None:
    """The probe itself is no test that cannot fail: sklearn is installed everywhere and must be seen."""
    assert {"sklearn", "scipy"} <= loaded_by("sklearn", tmp_path)


@pytest.mark.parametrize("module", ["spikejelly_pack", "lava_bridge"])
def test_public_names_resolve(module: str) -> None:
    if module == "spikejelly_pack" and find_spec("torch") is None:
        pytest.skip("the plugin's own names need torch; this interpreter is the Lava side")
    loaded = importlib.import_module(module)
    assert loaded.__all__, f"{module}.__all__ is empty"
    assert sorted(loaded.__all__) == sorted(set(loaded.__all__)), "a public name is listed twice"
    for name in loaded.__all__:
        assert getattr(loaded, name) is not None
    assert set(loaded.__all__) <= set(dir(loaded))


def test_unknown_public_name_is_an_attribute_error() -> None:
    loaded = importlib.import_module("spikejelly_pack")
    with pytest.raises(AttributeError, match="no_such_name"):
        loaded.no_such_name  # noqa: B018 - the access is the test
