"""The benchmarks of training and information: the smoke runs go through and show what they measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spikejelly_pack import cli


def test_bench_information(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    files = [str(tmp_path / "r.json"), str(tmp_path / "f.svg")]
    assert cli.main(["bench", "information", "--fast", "--json", files[0], "--figure", files[1]]) == 0
    result = json.loads(Path(files[0]).read_text())
    alone = result["alone"]["constant"]
    assert alone["SpikePack"]["2"]["exact"]
    assert alone["SpikePack"]["2"]["bits"] > 1.9
    assert alone["LIF"]["2"]["distinct"] <= 3
    assert [layer["kind"] for layer in result["network"]["LIF"]["layers"]] == ["LIFNode"] * 4
    assert "| SpikePack |" in capsys.readouterr().out
    assert "SpikePack" in Path(files[1]).read_text()


def test_bench_training(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    assert cli.main(["bench", "training", "--fast", "--json", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    assert set(result["accuracy"]) == {"digits", "events"}
    assert set(result["targets"]) == {
        "accuracy on digits",
        "accuracy on events",
        "step at T = 4",
        "step at T = 8",
    }
    # A sequence of T steps keeps T times the activations: a fact of the layout, not of the machine.
    assert result["steps"]["8"]["memory_ratios"]["LIF"] > 4
    shown = capsys.readouterr().out
    assert all(f"| {name} |" in shown for name in ("SpikePack", "LIF", "PLIF", "PSN"))


def test_bench_without_a_figure_says_so(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    assert cli.main(["bench", "neuron", "--fast", "--figure", str(tmp_path / "f.svg")]) == 2
    assert "--figure must be left out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
