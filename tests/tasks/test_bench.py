"""``spikepack bench tasks``: the smoke test runs, its result holds what its table shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from spikejelly_pack import cli


def test_bench_tasks(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    assert cli.main(["bench", "tasks", "--fast", "--json", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    shown = capsys.readouterr().out
    assert list(result["tasks"]) == ["classification", "detection", "segmentation"]
    assert result["tasks"]["classification"]["source"] > 60
    for entry in result["tasks"].values():
        packed, channels, rate = entry["conversions"]
        assert (packed["recipe"], rate["recipe"]) == ("SpikePack", "SpikingJelly rate coding")
        for row in (packed, channels):
            assert row["coverage"] == 1.0
            assert row["lost"] == entry["source"] - row["score"]
    assert "TraceError" in result["tasks"]["detection"]["conversions"][2]["refused"]
    assert len(result["goals"]) == 3
    assert all(goal in shown for goal in result["goals"])
