"""``spikepack bench simulate``: what is compared is equal, and the smoke run shows what it measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lava_bridge.worker.find import Interpreter
from spikejelly_pack import cli


def test_smoke_run(
    lava: Interpreter,
    tmp_path: Path,
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(repository)
    assert cli.main(["bench", "simulate", "--fast", "--json", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    names = {
        f"{engine}, {spikes}" for engine in ("loihi", "async", "inline") for spikes in ("serial", "graded")
    }
    assert set(result["seconds_per_sample"]) == names | {
        f"{e}, serial, batch 32" for e in ("loihi", "inline")
    }
    assert set(result["conv_seconds_per_sample"]) == {"ours", "stock"}
    for ratio in result["ratios"].values():
        assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    assert "| engine `loihi` / engine `inline`, serial spikes |" in capsys.readouterr().out
