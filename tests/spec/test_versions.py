"""Versions of the exchange file: old files are read for ever, the oldest version that will do is written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.exchange import golden_samples, load, save
from spikejelly_pack.spec.execute import run_packed, run_serial_multi_step
from spikejelly_pack.spec.stream import run_serial_single_step

FIRST = Path(__file__).parent / "data" / "version1.spk"  # written by the release that knew version 1 only


def version_of(path: Path) -> int:
    with safetensors.safe_open(path, framework="numpy") as file:
        return int(json.loads(file.metadata()["graph"])["version"])


def small(*ops: Any, shape: Any = (2, 4, 4)) -> Any:
    source = g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=shape)
    last = ops[-1].name
    tail = [
        g.Scale(name="w", inputs=(last,), weight_bits=8, multiplier=np.ones(2, np.int32)),
        g.Readout(name="out", inputs=("w",), scale=np.ones(2), bias=np.zeros(2, np.int32)),
    ]
    return g.Network([source, *ops, *tail], 4)


def test_a_file_of_version_1_reads_verifies_and_runs(tmp_path: Path) -> None:
    assert version_of(FIRST) == 1
    network = load(FIRST)
    kinds = "add avg_pool2d concat conv2d delay dense flatten input neuron readout scale"
    assert {op.kind for op in network.ops.values()} == set(kinds.split())
    samples = golden_samples(network, FIRST)
    assert list(samples) == ["x", "n1", "n2", "n3", "out"]
    for run in (run_packed, run_serial_multi_step, run_serial_single_step):
        for name, value in run(network, samples["x"]).items():
            np.testing.assert_array_equal(value, samples[name], strict=True)
    save(network, tmp_path / "again.spk", samples["x"])
    assert (tmp_path / "again.spk").read_bytes() == FIRST.read_bytes()


@pytest.mark.parametrize(
    "op",
    [g.MaxPool2d(name="new", inputs=("x",)), g.Upsample2d(name="new", inputs=("x",))],
    ids=lambda op: op.kind,
)
def test_newer_operations_make_a_newer_file(op: Any, tmp_path: Path, same: Any) -> None:
    network = small(op)
    path = tmp_path / "net.spk"
    save(network, path, np.arange(64).reshape(2, 2, 4, 4) % 16)
    assert version_of(path) == 2
    assert same(load(path), network)
    plain = small(g.Delay(name="old", inputs=("x",), windows=1))
    save(plain, path)
    assert version_of(path) == 1
