"""Altered files of numbers give numbers or the documented error: never anything else."""

from __future__ import annotations

import argparse
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikejelly_pack.cli import bench_all
from spikejelly_pack.cli.inputs import load_data
from spikejelly_pack.cli.simulate.job import sample_codes
from spikejelly_pack.spec.array_file import MOST_BYTES, read_arrays
from spikejelly_pack.spec.errors import DtypeError, ParameterError, SpikePackError
from spikejelly_pack.spec.graph import Dense, Input, Network, Readout

EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(100_000, marks=pytest.mark.fuzz)])


def npy(array: Any, version: Any = None) -> bytes:
    held = io.BytesIO()
    np.lib.format.write_array(held, array, version, allow_pickle=True)
    return held.getvalue()


def npz(save: Any, **arrays: Any) -> bytes:
    held = io.BytesIO()
    save(held, **arrays)
    return held.getvalue()


@EXAMPLES
def test_altered_data(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """``--data FILE.npy``: the three versions of the format, numbers of several kinds."""
    path, numbers = tmp_path / "data.npy", np.arange(12).reshape(3, 4)
    makes = {
        "float": npy(numbers.astype(np.float32)), "int": npy(numbers, (2, 0)),
        "bool": npy(numbers > 3, (3, 0)), "fortran": npy(np.asfortranarray(numbers)),
        "archive": npz(np.savez, a=numbers),
    }  # fmt: skip

    def check(made: tuple[str, bytes]) -> None:
        fuzzing.put(path, made[1])
        found, said = fuzzing.outcome(lambda file: load_data(str(file)), path, SpikePackError)
        assert said or bool(torch.isfinite(found).all())

    fuzzing.run(fuzzing.choice_of({k: fuzzing.altered_bytes(v) for k, v in makes.items()}), check, examples)


@pytest.fixture(scope="module")
def network() -> Network:
    return Network(
        [
            Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(4,)),
            Dense(name="fc", inputs=("x",), weight_bits=8, weight=np.ones((2, 4), np.int32)),
            Readout(name="out", inputs=("fc",), scale=np.ones(2), bias=np.zeros(2, np.int32)),
        ],
        4,
        {},
    ).balanced()


@EXAMPLES
def test_altered_inputs(network: Network, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """``spikepack simulate --input``: real values or codes, one array or an archive."""
    path, numbers = tmp_path / "x.npz", np.arange(8).reshape(2, 4)
    makes = {
        "array": npy(numbers / 8), "codes": npy(numbers.astype(np.int8)),
        "plain": npz(np.savez, x=numbers / 8, y=numbers),
        "compressed": npz(np.savez_compressed, x=numbers / 8),
    }  # fmt: skip

    def check(made: tuple[str, bytes]) -> None:
        fuzzing.put(path, made[1])
        args = argparse.Namespace(samples=None, input=str(path), codes=made[0] == "codes", file="net.spk")
        found, said = fuzzing.outcome(lambda given: sample_codes(network, given), args, SpikePackError)
        assert said or found["x"].shape[1:] == (4,)

    fuzzing.run(fuzzing.choice_of({k: fuzzing.altered_bytes(v) for k, v in makes.items()}), check, examples)


@EXAMPLES
def test_altered_report_of_an_earlier_run(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """``spikepack bench all`` goes on from ``all.json``."""
    path = tmp_path / "all.json"
    entry = {"state": "measured", "reason": "", "begun": "now", "seconds": 1.5, "table": "a", "figure": False}
    report = {
        "fast": True,
        "machine": {"cores": 2, "load": 0.5},
        "benchmarks": {"neuron": entry, "cpu": entry},
    }
    content, damage = fuzzing.altered_json(report), fuzzing.altered_bytes(json.dumps(report).encode())
    makes = {"content": lambda random: json.dumps(content(random)), "bytes": damage}

    def check(made: tuple[str, Any]) -> None:
        fuzzing.put(path, made[1])
        found, said = fuzzing.outcome(lambda file: bench_all._earlier(file, report), path, ParameterError)
        assert said or all(set(one) == set(entry) for one in found.values())

    fuzzing.run(fuzzing.choice_of(makes), check, examples)


class Trap:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("kind", ["npy", "npz"])
def test_no_object_of_a_file_is_made(kind: str, tmp_path: Path) -> None:
    path, mark = tmp_path / f"x.{kind}", tmp_path / "mark"
    trap = np.array([Trap(mark)], object)
    path.write_bytes(npy(trap) if kind == "npy" else npz(np.savez, a=trap))
    with pytest.raises(DtypeError, match="Object arrays cannot be loaded"):
        read_arrays(path, "numbers", "check it")
    assert not mark.exists()


def test_an_archive_that_no_memory_holds_is_refused(tmp_path: Path) -> None:
    """A few kilobytes of it unpack to more than the limit."""
    path, left = tmp_path / "x.npz", MOST_BYTES + 1
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("a.npy", npy(np.zeros(4)))
        with archive.open("b.npy", "w", force_zip64=True) as entry:
            entry.write(npy(np.zeros(4)))
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x01\x02")  # the directory's entry of the second array: what it claims to unpack to
    data[at + 24 : at + 28] = min(left, 0xFFFFFFFF).to_bytes(4, "little")
    path.write_bytes(data)
    with pytest.raises(DtypeError, match=f"arrays of .* bytes where {MOST_BYTES} may be read"):
        read_arrays(path, "numbers", "check it")


def test_an_array_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(npy(np.zeros(4)).replace(b"(4,), }" + b" " * 12, b"(" + b"9" * 16 + b",), }"))
    with pytest.raises(DtypeError, match="must be numbers"):
        read_arrays(path, "numbers", "check it")
