"""Altered NIR files and graphs give a network or the documented error: never anything else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from torch import fx

from spikejelly_pack import read_nir
from spikejelly_pack.spec.errors import ExchangeFileError, ShapeError, SpikePackError

EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(100_000, marks=pytest.mark.fuzz)])
KINDS = (b"Conv2d", b"LIF", b"Flatten", b"NIRGraph", b"Delay", b"Input", b"same", b"valid")
WHAT = ("replace", "replace", "remove", "add")


def example() -> nir.NIRGraph:
    """One node of most kinds that are read."""
    rng = np.random.default_rng(0)
    conv = nir.Conv2d((4, 4), rng.normal(size=(2, 1, 3, 3)), 1, 1, 1, 1, np.zeros(2))
    fires = nir.IF(np.full((2, 4, 4), 1e4), np.ones((2, 4, 4)), np.zeros((2, 4, 4)))
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    flatten = nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1)
    affine = nir.Affine(rng.normal(size=(3, 8)), np.zeros(3))
    chain = [nir.Input({"input": np.array([1, 4, 4])}), conv, fires, pool, flatten, affine]
    return nir.NIRGraph.from_list(*chain, nir.Threshold(np.ones(3)), nir.Output({"output": np.array([3])}))


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    path = tmp_path / "net.nir"
    nir.write(path, example())
    assert isinstance(read_nir(path), fx.GraphModule)
    return path


def reads_or_refuses(path: Path, fuzzing: Any) -> None:
    network, said = fuzzing.outcome(read_nir, path, SpikePackError)
    assert said or isinstance(network, fx.GraphModule)
    assert "\n" not in said


def entries(group: Any) -> Iterator[str]:
    found: list[str] = []
    group.visit(found.append)
    return iter(found)


def value(random: Random) -> Any:
    """What an entry may become: a number, text, a kind of node, a small array."""
    kind = random.randrange(6)
    if kind == 0:
        return random.choice((0, 1, -1, random.randrange(-(2**31), 2**31)))
    if kind == 1:
        return random.choice((0.0, 1e-320, 1e308, float("inf"), float("nan"), random.gauss(0, 10)))
    if kind == 2:
        return random.choice(("", "a", "if", "é", "input", "9" * 300))
    if kind == 3:
        return [random.uniform(-8, 8) for _ in range(random.randrange(4))]
    if kind == 4:
        return [[random.randint(-3, 3) for _ in range(2)] for _ in range(random.randrange(3))]
    return random.choice(KINDS)


def changes(names: list[str]) -> Any:
    """Up to three entries of the file removed or replaced, or given a sibling."""

    def make(random: Random) -> list[tuple[str, str, Any]]:
        count = random.randint(1, 3)
        return [(random.choice(names), random.choice(WHAT), value(random)) for _ in range(count)]

    return make


def change(file: Any, name: str, what: str, value: Any) -> None:
    if name not in file:  # an earlier change removed it
        return
    where = name.rpartition("/")[0] or "/"
    if what == "add":
        name = f"{where}/added"
    if name in file:
        del file[name]
    if what != "remove":
        file.create_dataset(name, data=value)


@EXAMPLES
def test_altered_entries(stored: Path, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """The file is well-formed HDF5; what NIR keeps in it is not."""
    content, path = stored.read_bytes(), tmp_path / "changed.nir"
    with h5py.File(stored) as file:
        names = list(entries(file))

    def check(drawn: list[tuple[str, str, Any]]) -> None:
        fuzzing.put(path, content)
        with h5py.File(path, "r+") as file:
            for name, what, value in drawn:
                change(file, name, what, value)
        reads_or_refuses(path, fuzzing)

    fuzzing.run(changes(names), check, examples)


NAMES = ["if", "a-b", 'a"b', "a\nb", "größe", "\ufb01", "1", "..", "", "forward", 'a", 0) or 1 / 0  # ']


@pytest.mark.parametrize("name", NAMES)
def test_names_are_data_not_code(name: str) -> None:
    """The network's code is generated; names of nodes come from files."""
    ends = {"input": nir.Input({"input": np.array([2])}), "output": nir.Output({"output": np.array([2])})}
    nodes = {**ends, name: nir.Threshold(np.full(2, 0.5))}
    network = read_nir(nir.NIRGraph(nodes, [("input", name), (name, "output")]))
    assert network(torch.tensor([[0.25, 0.75]])).tolist() == [[0.0, 1.0]]
    assert all(re.fullmatch(r"\w+", path, re.ASCII) for path, _ in network.named_children())


@EXAMPLES
def test_altered_bytes(stored: Path, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """The container itself is damaged: what libhdf5 refuses is told in one sentence."""
    path = tmp_path / "changed.nir"

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        reads_or_refuses(path, fuzzing)

    fuzzing.run(fuzzing.altered_bytes(stored.read_bytes()), check, examples)


def test_arrays_that_no_memory_holds(stored: Path) -> None:
    """The header claims terabytes, of which the file holds nothing."""
    with h5py.File(stored, "r+") as file:
        (name,) = [entry for entry in entries(file) if entry.endswith("affine/weight")]
        del file[name]
        file.create_dataset(name, (1 << 20, 1 << 20), "f8", chunks=(1, 1 << 10))
    with pytest.raises(ExchangeFileError, match="must be a NIR file, got ValueError: arrays of 8796"):
        read_nir(stored)


def test_padding_that_no_memory_holds() -> None:
    conv = nir.Conv2d((4, 4), np.ones((2, 1, 3, 3)), 1, 1 << 16, 1, 1, np.zeros(2))
    ends = nir.Input({"input": np.array([1, 4, 4])}), nir.Output({"output": np.array([2, 4, 4])})
    graph = nir.NIRGraph.from_list(ends[0], conv, ends[1], type_check=False)
    with pytest.raises(ShapeError, match=r"NIR: node 'conv2d.*one sample may hold at most"):
        read_nir(graph)


def test_stride_of_zero() -> None:
    conv = nir.Conv2d(None, np.ones((2, 1, 3, 3)), 0, 1, 1, 1, np.zeros(2))
    ends = nir.Input({"input": np.array([1, 4, 4])}), nir.Output({"output": np.array([2, 4, 4])})
    graph = nir.NIRGraph.from_list(ends[0], conv, ends[1], type_check=False)
    with pytest.raises(SpikePackError, match=r"NIR: node 'conv2d"):
        read_nir(graph)


@pytest.mark.parametrize("heap", [b"HEAP\x00", b"GCOL\x01"])
def test_heaps_that_no_memory_holds(heap: bytes, stored: Path) -> None:
    """The library allocates what the heap of a group or of texts claims to hold."""
    data = bytearray(stored.read_bytes())
    at = data.index(heap) + 8
    data[at : at + 8] = (1 << 33).to_bytes(8, "little")
    stored.write_bytes(data)
    with pytest.raises(ExchangeFileError, match="a heap of 8589934592 bytes in a file of"):
        read_nir(stored)
