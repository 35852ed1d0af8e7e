"""``spikepack budget`` by what it prints, writes and refuses."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spikejelly_pack import convert, export
from spikejelly_pack.cli import main

NET = """
from torch import nn

def build():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(32, 3)).eval()
"""
MACS = (2 * 16 * 9, 32 * 3)


@pytest.fixture
def model(tmp_path: Path) -> str:
    """Write a network of one's own; return its reference."""
    path = tmp_path / "mine.py"
    path.write_text(NET)
    return f"{path}:build"


def test_a_network_as_it_is(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = [str(tmp_path / f"cost{suffix}") for suffix in (".csv", ".json", ".html", ".svg")]
    result = tmp_path / "result.json"
    assert main(["budget", model, "--shape", "1,6,6", "--out", *out, "--json", str(result)]) == 0
    said = capsys.readouterr().out
    assert f"S-ACE {sum(MACS) * 1024:,}" in said
    assert "horowitz-45nm" in said
    rows = list(csv.DictReader(Path(out[0]).read_text().splitlines()))
    assert [int(row["s_ace"]) for row in rows] == [macs * 1024 for macs in MACS]
    assert [row["layer"] for row in rows] == ["0", "3"]
    assert json.loads(Path(out[1]).read_text()) == json.loads(result.read_text())
    page = Path(out[2]).read_text()
    assert page.count("<svg") == 1
    assert f"{MACS[0] * 1024:,}" in page
    assert Path(out[3]).read_text().startswith("<svg")


def test_bits_and_conversion(model: str, tmp_path: Path) -> None:
    result = tmp_path / "result.json"
    common = ["budget", model, "--shape", "1,6,6", "--json", str(result)]
    assert main([*common, "--weight-bits", "4", "--activation-bits", "8", "--strict"]) == 0
    assert json.loads(result.read_text())["totals"]["s_ace"] == sum(MACS) * 32
    data = tmp_path / "x.npy"
    np.save(data, np.random.default_rng(0).random((4, 1, 6, 6), dtype=np.float32))
    assert (
        main([*common, "--data", str(data), "--time-steps", "3", "--weight-bits", "8", "--rate", "word"]) == 0
    )
    found = json.loads(result.read_text())
    assert found["totals"]["s_ace"] == sum(MACS) * 24
    assert found["rate"] == "word"
    assert found["layers"][0]["reads"] == "spikes"


def test_comparison(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, result = tmp_path / "all.html", tmp_path / "result.json"
    assert (
        main(["budget", model, "--shape", "1,6,6", "--compare", "--out", str(page), "--json", str(result)])
        == 0
    )
    names = [row["network"] for row in json.loads(result.read_text())["comparison"]]
    assert [name.split(",")[0] for name in names] == ["ANN", "QANN", "QANN", "LIF", "SpikePack"]
    said = capsys.readouterr().out
    assert all(name in said and name in page.read_text() for name in names)


def test_an_exchange_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(6, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)).eval()
    data, file, result = torch.rand(8, 6), tmp_path / "net.spk", tmp_path / "result.json"
    export(convert(net, [data], 4, progress=False), str(file), data)
    assert main(["budget", str(file), "--json", str(result)]) == 0
    found = json.loads(result.read_text())
    assert found["totals"]["s_ace"] == (30 + 10) * 4 * 8
    assert all(0 < row["digit_rate"] < 1 for row in found["layers"])
    capsys.readouterr()
    assert main(["budget", str(file), "--time-steps", "3"]) == 2
    assert "is an integer network, leave out --time-steps" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "cost.txt"], "--out must end in one of .csv, .html, .json, .svg, got 'cost.txt'"),
        (["--shape", "1,six"], "--shape must be positive integers such as 3,224,224, got '1,six'"),
        (["--samples", "0"], "--samples must be at least 1, got 0"),
        (["--weight-bits", "0"], "--weight-bits must be at least 1, got 0"),
        (["--energy", "nowhere.json"], "energy table: must be a JSON file or one of horowitz_45nm"),
        ([], "measure: the network must accept its input, got shapes [(2, 3, 224, 224)]: Given groups=1"),
        (["--time-steps", "17", "--shape", "1,6,6"], "time_steps must be an integer in 1..16, got 17"),
    ],
)
def test_refusals(options: list[str], message: str, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", model, *options]) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said


def test_an_output_is_none_of_the_inputs(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, source = tmp_path / "x.csv", tmp_path / "mine.py"
    data.write_text("precious")
    (tmp_path / "link.csv").symlink_to(data)
    for out in (
        ["--out", str(data)],
        ["--out", "new.csv", str(tmp_path / "link.csv")],
        ["--json", str(data)],
    ):
        assert main(["budget", model, "--data", str(data), *out]) == 2
        assert f"must be another file than {data}, which the command reads" in capsys.readouterr().err
    assert main(["budget", model, "--json", str(source)]) == 2
    assert f"must be another file than {source}" in capsys.readouterr().err
    assert (data.read_text(), source.read_text()) == ("precious", NET)
    assert main(["budget", model, "--shape", "1,6,6", "--json", str(tmp_path / "again.json")]) == 0
    assert main(["budget", model, "--shape", "1,6,6", "--json", str(tmp_path / "again.json")]) == 0


def test_the_plan_is_a_command_of_its_own(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["budget", "plan", "--help"]) == 0
    said = capsys.readouterr().out
    assert "usage: spikepack budget plan" in said
    assert "--max-sace" in said
