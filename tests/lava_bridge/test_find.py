"""Which interpreter answers, and what is said about those that will not do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lava_bridge
from lava_bridge.fingerprint import SHARED_PACKAGES, fingerprint
from lava_bridge.worker.find import VARIABLE, Interpreter, candidates, find, look
from spikejelly_pack.spec.errors import EnvironmentMissingError

ROOT = Path(lava_bridge.__file__).parents[1]


def script(path: Path, *lines: str) -> Path:
    path.write_text("#!/bin/sh\n" + "\n".join(lines) + "\n")
    path.chmod(0o755)
    return path


def reason(path: Path) -> str | None:
    (candidate,) = look(path)
    return candidate.reason


def refuse(path: Path) -> str:
    with pytest.raises(EnvironmentMissingError) as caught:
        find(path)
    text = str(caught.value)
    assert "\n" not in text
    assert str(path) in text
    assert "run `tox run -e lava --notest`" in text
    return text


def environment(folder: Path, lava: Interpreter, *first: Path) -> Path:
    """A Python 3.10 environment that sees some folders before those of the Lava environment."""
    subprocess.run([lava.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=60)
    code = "import json, sys; print(json.dumps([p for p in sys.path if p]))"
    answer = subprocess.run([lava.executable, "-I", "-c", code], capture_output=True, check=True, timeout=60)
    rest = [path for path in json.loads(answer.stdout) if path.endswith("site-packages") or path == str(ROOT)]
    (site,) = folder.glob("lib/python3.10/site-packages")
    (site / "first.pth").write_text("\n".join(map(str, [*first, *rest])) + "\n")
    return folder


def copy_of_the_code(folder: Path) -> Path:
    for package in ("spikejelly_pack", "lava_bridge"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def answering(path: Path, lava: str | None) -> Path:
    """A program that answers the probe as a Python 3.10 without this package would."""
    answer = json.dumps({"version": [3, 10, 1], "lava": lava, "fingerprint": None})
    return script(path, f"echo '{answer}'")


def test_places_that_will_not_do(tmp_path: Path) -> None:
    assert reason(tmp_path / "nothing") == "does not exist"
    assert reason(tmp_path) == "does not exist"  # a folder without bin/python
    here = ".".join(map(str, sys.version_info[:3]))
    assert reason(Path(sys.executable)) == f"is Python {here}, not 3.10"
    shim = script(tmp_path / "shim", "echo no such version >&2", "exit 127")
    assert reason(shim) == "fails: no such version"
    assert reason(script(tmp_path / "mute", "exit 3")) == "fails: exit code 3"
    assert reason(script(tmp_path / "chatty", "echo hello")) == "is not a Python interpreter"
    assert reason(script(tmp_path / "latin", r"printf '\377\n'")) == "is not a Python interpreter"
    latin = script(tmp_path / "latin_error", r"printf 'f\374r\n' >&2", "exit 1")
    assert reason(latin) == "fails: f\N{REPLACEMENT CHARACTER}r"
    assert reason(answering(tmp_path / "old", "0.9.0")) == "has lava-nc 0.9.0, not 0.10.0"
    assert reason(answering(tmp_path / "bare", None)) == "has no lava-nc"
    assert reason(answering(tmp_path / "foreign", "0.10.0")) == "has no spikejelly-pack"
    text = tmp_path / "text"
    text.write_text("not a program")
    assert "does not start" in (reason(text) or "")


def test_interpreter_or_its_environment_may_be_named(lava: Interpreter) -> None:
    assert find(lava.executable) == find(Path(lava.executable).parents[1]) == find(lava.executable)


def test_changed_code_is_refused(lava: Interpreter, tmp_path: Path) -> None:
    """A real second environment with one changed line; the version is the same, the answer is not."""
    code = copy_of_the_code(tmp_path / "code")
    folder = environment(tmp_path / "venv", lava, code)
    assert find(folder).lava == "0.10.0"  # an equal copy will do
    equations = code / "spikejelly_pack" / "spec" / "equations.py"
    equations.write_text(equations.read_text().replace("membrane >= threshold", "membrane > threshold"))
    assert "is stale: it holds other code of spikejelly-pack than the caller" in refuse(folder)
    with pytest.raises(EnvironmentMissingError, match="is stale"):
        lava_bridge.simulate(_net(), np.zeros((1, 1)), python=folder, progress=False)


def _net() -> object:
    from spikejelly_pack.spec import graph as g

    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1,)),
        g.Scale(name="w", inputs=("x",), weight_bits=8, multiplier=np.ones(1, np.int32)),
        g.Readout(name="out", inputs=("w",), scale=np.ones(1), bias=np.zeros(1, np.int32)),
    ]
    return g.Network(ops, 4)


def test_fingerprint_sees_every_change(tmp_path: Path) -> None:
    from lava_bridge.fingerprint import fingerprint_of

    code = copy_of_the_code(tmp_path)
    folders = {name: code.joinpath(*name.split(".")) for name in SHARED_PACKAGES}
    assert fingerprint_of(folders) == fingerprint()
    (code / "lava_bridge" / "added.py").touch()
    added = fingerprint_of(folders)
    assert added != fingerprint()
    (code / "lava_bridge" / "added.py").rename(code / "lava_bridge" / "moved.py")
    assert fingerprint_of(folders) not in {added, fingerprint()}


def test_order_of_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "project" / "below"
    below.mkdir(parents=True)
    (tmp_path / "project" / ".venv-lava").mkdir()
    (tmp_path / "project" / ".tox" / "lava").mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    shim = script(tmp_path / "python3.10", "exit 127")
    paths = [path for _, path in candidates() if tmp_path in path.parents or path == Path(sys.executable)]
    assert paths == [
        tmp_path / "project" / ".venv-lava" / "bin" / "python",
        tmp_path / "project" / ".tox" / "lava" / "bin" / "python",
        tmp_path / "cache" / "spikepack" / "lava-py310" / "bin" / "python",
        Path(sys.executable),
        shim,
    ]
    monkeypatch.setenv(VARIABLE, "elsewhere")
    assert list(candidates()) == [(f"${VARIABLE}", Path("elsewhere"))]
    assert list(candidates("named")) == [("argument", Path("named"))]


def test_no_interpreter_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence that lists every place with its reason."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(EnvironmentMissingError) as caught:
        lava_bridge.simulate(_net(), np.zeros((1, 1)), progress=False)
    text = str(caught.value)
    assert "\n" not in text
    cache = tmp_path / "cache" / "spikepack" / "lava-py310" / "bin" / "python"
    assert f"cache {cache} (does not exist)" in text
    assert f"this interpreter {sys.executable} (is Python 3." in text
    assert "PATH python3.10 (does not exist)" in text
    information = lava_bridge.info()
    assert not information["available"]
    assert information["python"] is None
    assert [place["reason"] for place in information["places"]][-1] == "does not exist"
    in_clone, anywhere = information["commands"]
    assert in_clone == "tox run -e lava --notest"
    assert anywhere.startswith(
        f"uv venv --python 3.10 {cache.parents[1]} && uv pip install --python {cache} "
    )


def test_info_names_the_interpreter(lava: Interpreter) -> None:
    information = lava_bridge.info()
    assert information["available"]
    assert information["python"] == lava.executable
    assert information["lava"] == "0.10.0"
    assert information["python_version"].startswith("3.10.")
    assert information["places"][-1]["reason"] is None
    assert information["commands"] == []
    assert information["fingerprint"] == fingerprint()
    assert json.loads(json.dumps(information)) == information


def test_callers_python_settings_stay_out(
    lava: Interpreter, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The caller's PYTHONPATH must not reach the other interpreter."""
    (tmp_path / "lava_bridge").mkdir()
    (tmp_path / "lava_bridge" / "__init__.py").write_text("raise SystemExit('the wrong package')")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    assert find(lava.executable).lava == "0.10.0"
