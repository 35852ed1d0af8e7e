"""The exchange file: what comes back, and one sentence for every way a file can be wrong."""

from __future__ import annotations

import dataclasses
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from spikejelly_pack.spec.container import pack_file
from spikejelly_pack.spec.errors import BoundError, ExchangeFileError, OutputError
from spikejelly_pack.spec.exchange import golden_samples, load, save
from spikejelly_pack.spec.execute import run_packed


def test_round_trip(spk: Path, residual_net: Any, golden: Any, tmp_path: Path, same: Any) -> None:
    again = load(spk)
    assert same(again, residual_net)
    assert again.shapes == residual_net.shapes
    samples = golden_samples(again, spk)
    assert list(samples) == ["x", "n1", "n2", "n3", "out"]
    for name, value in run_packed(residual_net, golden).items():
        np.testing.assert_array_equal(samples[name], value, strict=True)
    save(again, tmp_path / "second.spk", {"x": samples["x"]})
    assert (tmp_path / "second.spk").read_bytes() == spk.read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["net.spk", "second.spk"]


def test_without_golden_samples(residual_net: Any, tmp_path: Path, same: Any) -> None:
    path = tmp_path / "net.spk"
    save(residual_net, path)
    again = load(path)
    assert same(again, residual_net)
    assert golden_samples(again, path) == {}
    save(again, tmp_path / "second.spk")
    assert (tmp_path / "second.spk").read_bytes() == path.read_bytes()


def test_bytes_do_not_depend_on_the_process(spk: Path, tmp_path: Path) -> None:
    """Nor on its hash seeds: equal networks give equal files."""
    code = (
        "import sys; from spikejelly_pack.spec.exchange import *\n"
        "n = load(sys.argv[1]); save(n, sys.argv[2], {'x': golden_samples(n, sys.argv[1])['x']})"
    )
    other = tmp_path / "other.spk"
    root = Path(__file__).parents[2]
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
        subprocess.run([sys.executable, "-c", code, str(spk), str(other)], check=True, env=environment)
        assert other.read_bytes() == spk.read_bytes()


def test_bytes_do_not_depend_on_the_order_of_keys(residual_net: Any, tmp_path: Path) -> None:
    ops = residual_net.ops.values()
    for name, provenance in {"a": {"x": "1", "y": "2"}, "b": {"y": "2", "x": "1"}}.items():
        save(type(residual_net)(ops, 4, provenance), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_no_graph_is_written_that_is_no_json() -> None:
    with pytest.raises(ValueError, match="JSON"):
        pack_file({}, {"scale": float("nan")})


def test_random_networks_round_trip(net_builder: Any, tmp_path: Path, same: Any) -> None:
    @settings(max_examples=40)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        builder = net_builder(data.draw)
        network = builder.network()
        path = tmp_path / "net.spk"
        save(network, path, builder.codes(network, 2))
        assert same(load(path), network)

    check()


def test_no_file_and_other_files_are_named(tmp_path: Path, refusal: Any) -> None:
    assert "must be a file, got nothing there; check the path" in refusal(tmp_path / "absent.spk")
    assert "must be a file, got something else; check the path" in refusal(tmp_path)
    for name, content in {"empty": b"", "text": b"hello, world\n" * 9, "zeros": bytes(4096)}.items():
        (tmp_path / name).write_bytes(content)
        assert "must be a whole safetensors file" in refusal(tmp_path / name)
    plain = struct.pack("<Q", 2) + b"{}"
    (tmp_path / "plain").write_bytes(plain)
    refusal(tmp_path / "plain")


def test_truncated_anywhere(spk: Path, refusal: Any) -> None:
    whole = spk.read_bytes()
    for length in {*range(0, len(whole), 101), *range(20), len(whole) - 1}:
        spk.write_bytes(whole[:length])
        refusal(spk)
    spk.write_bytes(whole + b"\0")
    refusal(spk)


def test_flipped_bytes_anywhere(spk: Path, residual_net: Any, same: Any, outcome: Any) -> None:
    """Whatever bytes change, the same network comes back or one sentence."""
    whole = spk.read_bytes()

    @settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), min_size=1, max_size=4))
    @example([(len(whole) - 1, 1)])
    @example([(0, 1)])
    @example([(9, 2)])
    def check(flips: list[tuple[int, int]]) -> None:
        data = bytearray(whole)
        for at, mask in flips:
            data[at] ^= mask
        spk.write_bytes(data)
        result = outcome(spk)
        assert result.startswith(f"{spk}: ") if isinstance(result, str) else same(result, residual_net)

    check()


def test_nothing_is_written_when_a_bound_fails(spk: Path, residual_net: Any, tmp_path: Path) -> None:
    before = spk.read_bytes()
    n1 = residual_net.ops["n1"]
    ops = [dataclasses.replace(op, state_bits=12) if op is n1 else op for op in residual_net.ops.values()]
    with pytest.raises(BoundError, match="neuron 'n1'"):
        save(type(residual_net)(ops, 4), spk)
    assert spk.read_bytes() == before
    assert os.listdir(tmp_path) == ["net.spk"]


def test_an_unwritable_folder_is_named(residual_net: Any, spk: Path) -> None:
    with pytest.raises(OutputError, match=r"net\.spk/a\.spk: the folder must be writable"):
        save(residual_net, spk / "a.spk")


def test_the_error_for_altered_files_is_one_type(spk: Path) -> None:
    spk.write_bytes(spk.read_bytes()[:-1])
    with pytest.raises(ExchangeFileError):
        load(spk)
