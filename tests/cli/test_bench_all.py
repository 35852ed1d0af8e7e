"""``spikepack bench all``: one process each, one page, and what failed is neither hidden nor the end."""

from __future__ import annotations

import base64
import contextlib
import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from spikejelly_pack import cli
from spikejelly_pack.cli import bench, bench_all, bench_page


def test_two_benchmarks_and_their_page(
    tmp_path: Path, repository: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", "all", "--fast", "--only", "neuron", "information", "--out", str(tmp_path)]
    with contextlib.chdir(repository):
        assert cli.main([*arguments, "--json", str(tmp_path / "summary.json")]) == 0
    assert f"written: {tmp_path / 'report.html'}" in capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert {n: e["state"] for n, e in summary["benchmarks"].items()} == {
        "information": "measured",
        "neuron": "measured",
    }
    assert summary["machine"]["versions"]["torch"]
    assert summary["machine"]["cores"] >= 1
    for name in ("neuron", "information"):
        result = json.loads((tmp_path / f"{name}.json").read_text())
        with (tmp_path / f"{name}.csv").open(newline="") as file:
            table = {row["what"]: row["value"] for row in csv.DictReader(file)}
        leaves = dict(bench_all.rows(result))
        assert set(table) == set(leaves)
        assert all(table[path] == ("" if value is None else str(value)) for path, value in leaves.items())
    page = (tmp_path / "report.html").read_text()
    assert "Smoke test, no measurement." in page
    drawn = base64.b64encode((tmp_path / "information.svg").read_bytes()).decode()
    assert f"<img alt='information' src='data:image/svg+xml;base64,{drawn}'>" in page
    assert "<th>bits per trial, one neuron</th>" in page


def test_what_fails_is_reported_and_the_rest_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    codes = {"kernels": 2, "neuron": 1, "network": -9, "integer": 0}

    def run(command: list[str], **_: Any) -> Any:
        name = command[command.index("bench") + 1]
        assert command[0] == sys.executable
        Path(command[command.index("--json") + 1]).write_text("{}")
        said = "warning\nspikepack: it must equal the reference.\n" if codes[name] in (1, 2) else ""
        return subprocess.CompletedProcess(command, codes[name], "table <1>", said)

    monkeypatch.setattr(bench_all.subprocess, "run", run)
    path = tmp_path / "r.json"
    assert cli.main(["bench", "all", "--only", *codes, "--out", str(tmp_path), "--json", str(path)]) == 1
    states = {n: (e["state"], e["reason"]) for n, e in json.loads(path.read_text())["benchmarks"].items()}
    assert states == {
        "kernels": ("not run", "it must equal the reference."),
        "neuron": ("failed", "it must equal the reference."),
        "network": ("failed", "exit code -9"),
        "integer": ("measured", ""),
    }
    assert sorted(p.name for p in tmp_path.glob("*.csv")) == ["integer.csv"]
    assert "table &lt;1&gt;" in (tmp_path / "report.html").read_text()
    assert "network        failed: exit code -9" in capsys.readouterr().out


def test_the_page_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was measured before on this machine stays; of other versions nothing does."""

    def run(command: list[str], **_: Any) -> Any:
        Path(command[command.index("--json") + 1]).write_text("{}")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(bench_all.subprocess, "run", run)
    summary = tmp_path / "all.json"

    def names(*arguments: str) -> list[str]:
        assert cli.main(["bench", "all", "--out", str(tmp_path), "--only", *arguments]) == 0
        return list(json.loads(summary.read_text())["benchmarks"])

    assert names("neuron") == ["neuron"]
    assert names("integer") == ["integer", "neuron"]
    assert names("integer", "--fast") == ["integer"]
    assert names("cpu", "--fast") == ["cpu", "integer"]
    known = json.loads(summary.read_text())
    known["machine"]["versions"]["torch"] = "1.0"
    summary.write_text(json.dumps(known))
    assert names("cpu", "--fast") == ["cpu"]
    summary.write_text("[]")
    assert cli.main(["bench", "all", "--out", str(tmp_path), "--only", "cpu"]) == 2


def test_markup_of_tables_and_lists() -> None:
    text = "| a `x<1>` | b |\n|---|---:|\n| **1** | 2 |\n\nOne\nline\n- first\n- second\n"
    assert bench_page.markup(text) == (
        "<div class=scroll><table><tr><th>a <code>x&lt;1&gt;</code></th><th class=right>b</th></tr>"
        "<tr><td><b>1</b></td><td class=right>2</td></tr></table></div>\n"
        "<p>One<br>line</p>\n<ul><li>first</li><li>second</li></ul>"
    )


def test_bad_arguments(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["bench", "all"]) == 2
    assert "bench all: --out must name a folder, got none" in capsys.readouterr().err
    assert cli.main(["bench", "all", "--out", str(tmp_path), "--only", "speed"]) == 2
    assert "got 'speed'; choose from these" in capsys.readouterr().err


def test_every_benchmark_has_what_the_command_needs(repository: Path) -> None:
    for name in bench.BENCHMARKS:
        assert {"FAST", "run", "table"} <= bench.defined(repository / "benchmarks" / f"{name}.py"), name


def test_defined_names(repository: Path) -> None:
    """Figures are found wherever a benchmark keeps them."""
    names = bench.defined(repository / "benchmarks" / "budget.py")
    assert {"figure", "FAST", "MOST_BITS", "splits"} <= names
    assert "figure" not in bench.defined(repository / "benchmarks" / "neuron.py")
