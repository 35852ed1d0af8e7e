"""The notebook runs from its first cell to its last, and the streaming script streams."""

from __future__ import annotations

import importlib.util
import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat
import numpy as np
import pytest
from nbclient import NotebookClient

from lava_bridge.worker.find import find
from spikejelly_pack.spec.errors import EnvironmentMissingError
from spikejelly_pack.spec.execute import encode, outputs, run_packed
from spikejelly_pack.spec.graph import Dense, Input, Network, Readout


@pytest.fixture(scope="module", autouse=True)
def lava() -> None:
    """Leave these tests out where there is no Lava and nobody demands them."""
    try:
        find()
    except EnvironmentMissingError as error:
        if "examples" in os.environ.get("SPIKEPACK_ROOMS", "").split(","):
            raise
        pytest.skip(str(error))


def test_the_notebook_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = nbformat.read(repository / "examples" / "digits_to_lava.ipynb", as_version=4)
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)  # stored without results
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(repository), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.setenv("SPIKEPACK_LAVA_PYTHON", find().executable)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    client = NotebookClient(notebook, timeout=200, resources={"metadata": {"path": str(tmp_path)}})
    client.execute()
    printed = "".join(item.text for cell in code for item in cell.outputs if item.output_type == "stream")
    pictures = [item for cell in code for item in cell.outputs if "image/png" in item.get("data", {})]
    assert len(pictures) == 3
    assert "every code equals the reference" in printed
    shares = re.search(r"network ([\d.]+)%, SpikePack ([\d.]+)%, Lava ([\d.]+)%", printed)
    assert shares is not None
    assert all(float(share) > 85 for share in shares.groups())
    assert int(re.findall(r"(\d+) overflows", printed)[0]) > 0


def _script(repository: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{name}", repository / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_samples_stream_through(repository: Path) -> None:
    """Results come in order and before the source is exhausted; the chunk does not change them."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-128, 128, size=(3, 4)).astype(np.int32)
    ops = [
        Input("x", (), np.ones(1, np.float32), (4,)),
        Dense("w", ("x",), 8, weight),
        Readout("y", ("w",), np.full(3, 0.5), np.zeros(3, np.int32)),
    ]
    network = Network(ops, time_steps=4)
    x = rng.random((5, 4), np.float32)
    taken: list[int] = []

    def source() -> Iterator[Any]:
        for index, sample in enumerate(x):
            taken.append(index)
            yield sample

    results = _script(repository, "stream").stream(network, source(), chunk=2)
    first = next(results)
    assert taken == [0, 1]
    got = np.stack([first, *results])
    expected = outputs(network, run_packed(network, encode(network.inputs[0], x)))["y"]
    assert np.array_equal(got, expected)
