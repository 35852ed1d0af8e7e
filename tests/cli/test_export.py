"""``spikepack export``, then ``simulate``: a user's own model, and what is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import safetensors.torch
import torch

from spikejelly_pack import cli
from spikejelly_pack.spec import exchange

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    Done = subprocess.CompletedProcess[str]
    Run = Callable[..., Done]

MODEL = """
import torch
from torch import nn

def build():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2),
        nn.Flatten(), nn.Linear(64, 3),
    )

def frames():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2))

def gelu():
    return nn.Sequential(nn.Linear(4, 4), nn.GELU(), nn.Linear(4, 2))

def number():
    return 3

def events():
    from spikejelly_pack import SpikePackNode

    torch.manual_seed(1)
    encoder, node = SpikePackNode(4), SpikePackNode(4, leak=0.5, carry="membrane")
    return nn.Sequential(encoder, nn.Linear(4, 6), node, nn.Linear(6, 2))
"""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export")
    (folder / "model.py").write_text(MODEL)
    rng = np.random.default_rng(0)
    np.save(folder / "data.npy", rng.random((40, 1, 8, 8), np.float32))
    np.save(folder / "nan.npy", np.full((4, 1, 8, 8), np.nan, np.float32))
    np.save(folder / "events.npy", rng.random((3, 9, 4), np.float32))
    np.save(folder / "flat.npy", rng.random((9, 4), np.float32))
    return folder


def _export(
    spikepack: Run, files: Path, model: str = "model.py:build", data: str = "data.npy", *more: str
) -> Done:
    return spikepack("export", model, "--data", data, "--out", "net.spk", *more, cwd=files)


def test_export_then_simulate(spikepack: Run, files: Path) -> None:
    done = _export(spikepack, files, "model.py:build", "data.npy", "--time-steps", "3", "--json", "e.json")
    assert done.returncode == 0, done.stderr
    facts = json.loads((files / "e.json").read_text())
    network = exchange.load(files / "net.spk")
    assert facts["time_steps"] == network.time_steps == 3
    assert facts["populations"] == [op.name for op in network.neurons]
    assert facts["latency_windows"] == network.depth == 1
    done = spikepack("simulate", "net.spk", "--engine", "inline", "--json", "s.json", cwd=files)
    assert done.returncode == 0, done.stderr
    assert json.loads((files / "s.json").read_text())["samples"] == 4
    assert done.stdout.startswith("4 samples in Lava 0.10.0 (engine inline, ")
    assert "equal to the integer reference in every value: output" in done.stdout


def test_several_windows_a_sample(spikepack: Run, files: Path) -> None:
    done = _export(spikepack, files, "model.py:events", "events.npy", "--windows", "3")
    assert done.returncode == 0, done.stderr
    assert "3 windows a sample" in done.stdout
    network = exchange.load(files / "net.spk")
    assert network.windows == 3
    assert [op.leak_shift for op in network.neurons] == [1]
    golden = exchange.golden_samples(network, files / "net.spk")
    assert all(array.shape[:2] == (3, 4) for array in golden.values())
    converted = _export(spikepack, files, "model.py:frames", "events.npy", "--windows", "3")
    assert converted.returncode == 0, converted.stderr
    assert exchange.load(files / "net.spk").windows == 3
    refused = _export(spikepack, files, "model.py:events", "events.npy", "--windows", "4")
    assert refused.returncode == 2
    assert "must hold [4, N, *] with --windows 4, got shape (3, 9, 4)" in refused.stderr


def test_export_for_a_target(spikepack: Run, files: Path) -> None:
    done = _export(spikepack, files, "model.py:build", "data.npy", "--target", "loihi2", "--json", "t.json")
    assert done.returncode == 0, done.stderr
    assert "target 'loihi2': fits, worst case over all inputs" in done.stdout
    report = json.loads((files / "t.json").read_text())["target"]
    network = exchange.load(files / "net.spk")
    assert [row["name"] for row in report["populations"]] == [
        *(op.name for op in network.neurons), "output"
    ]  # fmt: skip
    assert all(row["observed"] <= row["magnitude"] < 2**23 for row in report["populations"])


def test_the_widths_of_a_target_file_are_used(
    spikepack: Run, files: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"name": "small", "weight_bits": 4, "state_bits": 16, "overflow": "wrap"}
    (files / "small.json").write_text(json.dumps(entries))
    done = _export(spikepack, files, "model.py:build", "data.npy", "--target", "small.json")
    assert done.returncode == 0, done.stderr
    network = exchange.load(files / "net.spk")
    assert {op.state_bits for op in (*network.neurons, *network.readouts)} == {16}
    assert {op.weight_bits for op in network.synapses} == {4}
    monkeypatch.chdir(files)
    (files / "net.spk").unlink()
    arguments = ["model.py:build", "--data", "data.npy", "--out", "net.spk", "--target", "small.json"]
    assert cli.main(["export", *arguments, "--weight-bits", "6"]) == 2
    (line,) = [text for text in capsys.readouterr().err.splitlines() if text.startswith("spikepack:")]
    assert "its widest weight needs 6 bits, but target 'small' has 4-bit weights; export with weight" in line
    assert not (files / "net.spk").exists()


@pytest.mark.parametrize("name", ["w.safetensors", "w.pt"])
def test_weights_are_loaded(spikepack: Run, files: Path, name: str) -> None:
    net = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.BatchNorm2d(4), torch.nn.ReLU(),
        torch.nn.AvgPool2d(2), torch.nn.Flatten(), torch.nn.Linear(64, 3),
    )  # fmt: skip
    if name.endswith(".pt"):
        torch.save(net.state_dict(), files / name)
    else:
        safetensors.torch.save_file(net.state_dict(), files / name)
    done = _export(spikepack, files, "model.py:build", "data.npy", "--weights", name)
    assert done.returncode == 0, done.stderr
    loaded = exchange.load(files / "net.spk")
    bias = next(op for op in loaded.readouts)
    expected = net[5].bias.detach().double().numpy()
    assert np.abs(bias.bias * bias.scale - expected).max() <= bias.scale.max() / 2


@pytest.mark.parametrize(
    ("model", "data", "more", "said"),
    [
        ("model.py:gelu", "flat.npy", (), "GELU has no conversion rule"),
        ("model.py:number", "data.npy", (), "must return an nn.Module, got int"),
        ("model.py:missing", "data.npy", (), "must be importable and callable"),
        ("nowhere.py:build", "data.npy", (), "the file must exist"),
        ("model.py", "data.npy", (), "must be torchvision:NAME, FILE.py:FUNCTION"),
        ("model.py:build", "nan.npy", (), "values must be finite, got NaN"),
        ("model.py:build", "model.py", (), "must be an .npy file of numbers"),
        ("model.py:build", "nowhere.npy", (), "--data nowhere.npy: must be an .npy file, got nothing there"),
        ("model.py:build", "data.npy", ("--time-steps", "0"), "must be an integer in 1..16, got 0"),
        ("model.py:build", "data.npy", ("--weight-bits", "17"), "must be an integer in 2..16, got 17"),
        ("model.py:build", "data.npy", ("--state-bits", "33"), "must be an integer in 8..32, got 33"),
        ("model.py:build", "data.npy", ("--target", "loihi9"), "must be one of ['generic_fpga', 'loihi2']"),
        ("model.py:build", "data.npy", ("--calibrator", "best"), "calibrator must be one of"),
        ("model.py:build", "data.npy", ("--weights", "model.py"), "must be a state dict"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    files: Path,
    model: str,
    data: str,
    more: tuple[str, ...],
    said: str,
) -> None:
    (files / "net.spk").unlink(missing_ok=True)
    before = sorted(path.name for path in files.iterdir() if path.is_file())
    monkeypatch.chdir(files)
    assert cli.main(["export", model, "--data", data, "--out", "net.spk", *more]) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("spikepack:")]
    assert len(lines) == 1
    assert said in lines[0]
    assert sorted(path.name for path in files.iterdir() if path.is_file()) == before
