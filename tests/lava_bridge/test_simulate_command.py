"""``spikepack simulate``: its arguments, its files and its verdict."""

from __future__ import annotations

import argparse
import json
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lava_bridge.simulation
from lava_bridge.worker.find import Interpreter
from spikejelly_pack.cli import main
from spikejelly_pack.cli import simulate as command
from spikejelly_pack.cli.simulate import job
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import DtypeError, OutputError, ParameterError, RunError, ShapeError
from spikejelly_pack.spec.execute import encode, run_packed


def run(*arguments: object) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    return command.run(parser.parse_args([str(argument) for argument in arguments]))


def test_golden_samples_by_default(lava: Interpreter, small_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "result.npz"
    report = run(small_file, "--out", out, "--record", "all", "--engine", "inline", "--spikes", "graded")
    assert report["bit_exact"] is True
    assert report["compared"] == ["n1", "out", "x"]
    assert report["samples"] == 2
    assert report["spikes"] == "graded"
    assert json.loads(json.dumps(report)) == report
    golden = exchange.golden_samples(exchange.load(small_file), small_file)
    with np.load(out, allow_pickle=False) as result:
        assert sorted(result.files) == [
            "codes/n1",
            "codes/x",
            "membranes/n1",
            "membranes/out",
            "outputs/out",
        ]
        assert np.array_equal(result["membranes/out"], golden["out"])
        assert np.array_equal(result["codes/n1"], golden["n1"])


def test_a_file_of_version_1(lava: Interpreter) -> None:
    """Written by the release that knew no other; its golden samples are the judge."""
    stored = Path(__file__).parents[1] / "spec" / "data" / "version1.spk"
    report = run(stored, "--engine", "inline", "--record", "all")
    assert report["bit_exact"] is True
    assert report["compared"] == ["n1", "n2", "n3", "out", "x"]


def test_values_codes_and_number_of_samples(lava: Interpreter, small_file: Path, tmp_path: Path) -> None:
    network = exchange.load(small_file)
    x = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    codes = encode(network.inputs[0], x)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "codes.npz", x=codes)
    expected = run_packed(network, codes)["out"]
    for given in (["--input", tmp_path / "x.npy"], ["--input", tmp_path / "codes.npz", "--codes"]):
        report = run(
            small_file,
            *given,
            "--samples",
            3,
            "--engine",
            "inline",
            "--batch",
            2,
            "--out",
            tmp_path / "o.npz",
            "--no-check",
        )
        assert (report["samples"], report["batch"]) == (3, 2)
        assert "bit_exact" not in report
        with np.load(tmp_path / "o.npz", allow_pickle=False) as result:
            assert np.array_equal(result["membranes/out"], expected[:3])


def test_registers_of_a_target(
    lava: Interpreter, small_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exact widths: equal to the reference; narrower ones: what did not fit is listed and the check fails."""
    report = run(small_file, "--engine", "inline", "--target", "generic_fpga")
    assert (report["model"], report["bit_exact"], report["ok"]) == ("fpga", True, True)
    assert "overflows" not in report
    path = tmp_path / "mine.json"
    path.write_text('{"name": "mine", "weight_bits": 8, "state_bits": 9, "overflow": "wrap"}')
    report = run(small_file, "--engine", "inline", "--target", path)
    assert (report["bit_exact"], report["ok"], report["compared"]) == (False, False, [])
    found = report["overflows"]
    assert found["count"] == sum(found["by_layer"].values()) > 0
    assert json.loads(json.dumps(report)) == report
    first = found["first"][0]
    assert not -256 <= first["value"] < 256
    assert -256 <= first["held"] < 256
    assert (first["value"] - first["held"]) % 512 == 0
    assert f"{found['count']} overflows in " in capsys.readouterr().out
    assert run(small_file, "--engine", "inline", "--model", "floating_pt")["bit_exact"] is True


def test_a_difference_is_a_failure(
    lava: Interpreter, small_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def altered(network: Any, codes: Any) -> Any:
        values = run_packed(network, codes)
        values["out"][0, 0] += 1
        return values

    monkeypatch.setattr(job, "run_packed", altered)
    with pytest.raises(
        RunError, match=r"readout 'out': Lava and the integer reference must agree, got 1 of 6 values"
    ):
        run(small_file, "--engine", "inline")


def test_bad_arguments(small_file: Path, make_small_net: Any, tmp_path: Path) -> None:
    bare = tmp_path / "bare.spk"
    exchange.save(make_small_net(), bare)
    np.savez(tmp_path / "other.npz", y=np.zeros(1))
    (tmp_path / "text.npy").write_text("no array")
    with pytest.raises(ParameterError, match="holds no golden samples; pass data with --input"):
        run(bare)
    with pytest.raises(ParameterError, match="--samples must be >= 1, got 0"):
        run(small_file, "--samples", 0)
    with pytest.raises(ShapeError, match=r"must hold an array for each input, got none for \['x'\]"):
        run(small_file, "--input", tmp_path / "other.npz")
    for name in ("text.npy", "missing.npy"):
        with pytest.raises(DtypeError, match=r"must be an \.npy or \.npz file of numbers") as caught:
            run(small_file, "--input", tmp_path / name)
        assert "\n" not in str(caught.value)


def test_unwritable_output(lava: Interpreter, small_file: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError):
        run(small_file, "--engine", "inline", "--out", tmp_path / "file" / "result.npz")


def test_a_request_to_terminate_removes_the_files_of_the_run(
    small_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before the worker is there, nobody else knows the folder."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))

    def terminated(*_: object, **__: object) -> None:
        assert list(folder.iterdir())  # the folder of the run
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)

    for name in ("_run_here", "_run_in_worker"):
        monkeypatch.setattr(lava_bridge.simulation, name, terminated)
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)  # without a handler of its own it would sleep
    try:
        monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("goes on"))
        assert main(["simulate", str(small_file)]) == 130
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
    assert capsys.readouterr().err == "spikepack: interrupted\n"
    assert list(folder.iterdir()) == []
