"""The benchmarks of training and information: the smoke runs go through and show what they measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

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


def test_bench_scaling(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    files = [str(tmp_path / "r.json"), str(tmp_path / "f.svg")]
    assert cli.main(["bench", "scaling", "--fast", "--json", files[0], "--figure", files[1]]) == 0
    result = json.loads(Path(files[0]).read_text())
    assert set(result["axes"]) == {"time_steps", "batch", "width", "depth"}
    # What autograd keeps is a fact of the layout: T costs packed nothing, and LIF every step.
    slopes = result["axes"]["time_steps"]["memory_slopes"]
    assert slopes["packed"] == slopes["ann"] == 0
    assert slopes["lif"] == pytest.approx(1, abs=0.05)
    assert result["axes"]["batch"]["memory_slopes"]["packed"] == pytest.approx(1, abs=0.05)
    assert result["estimate"]["estimate"] is True
    assert {row["gpus"] for row in result["estimate"]["rows"]} == {8, 64}
    assert "estimate, not measured" in capsys.readouterr().out
    assert "residual blocks" in Path(files[1]).read_text()


def test_the_estimate_is_what_its_assumptions_say(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(repository)
    from benchmarks.scaling_estimate import estimates

    ratios = {"train": {"packed": {"4": {"median": 1.0}}, "lif": {"4": {"median": 4.0}}}}
    rows = {(r["network"], r["gpus"]): r for r in estimates(ratios)["rows"]}
    one = rows["ResNet-50", 64]
    # 128 images x 4.09 G x 2 x 3 at 62.4 TFLOP/s; 2 x 63 / 64 x 51.2 MB at 25 GB/s.
    compute, exchange = 128 * 4.09e9 * 6 / 62.4e12, 2 * 63 / 64 * 51.2e6 / 25e9
    steps = 1_281_167 * 90 / 8192
    assert one["hours"]["packed"] == pytest.approx(steps * (compute + exchange) / 3600)
    assert one["hours"]["lif"] == pytest.approx(steps * (4 * compute + exchange) / 3600)
    assert one["efficiency_packed"] == pytest.approx(compute / (compute + exchange))


def test_bench_cpu(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    assert cli.main(["bench", "cpu", "--fast", "--json", str(tmp_path / "r.json")]) == 0
    result = json.loads((tmp_path / "r.json").read_text())
    names = {"ann", "ann_channels_last", "ann_int8", "packed", "packed_channels_last", "integer"}
    assert set(result["results"]["1"]["seconds"]) == names
    assert set(result["machine"]) >= {"threads", "features", "capability"}
    assert "| integer form, `accelerate` |" in capsys.readouterr().out


def _zeros(_node: object, x_seq: torch.Tensor) -> torch.Tensor:
    return torch.zeros_like(x_seq)


def test_neurons_that_do_not_compute_their_formula_are_named(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(repository)
    from benchmarks import neuron_peers

    names = list(neuron_peers.peers())
    assert {"if", "lif", "plif", "psn", "ilif", "few_spikes"} <= set(names)
    assert neuron_peers.wrong(names, 4) == []
    for name in names:
        peer = neuron_peers.PEERS[name]
        other = neuron_peers.Peer(peer.title, peer.library, peer.make, _zeros)
        monkeypatch.setitem(neuron_peers.PEERS, name, other)
    assert neuron_peers.wrong(names, 4) == names
    found = neuron_peers.find_spec
    monkeypatch.setattr(neuron_peers, "find_spec", lambda name: None if name == "norse" else found(name))
    assert "norse" not in neuron_peers.peers()
    assert neuron_peers.versions()["norse"] == "not installed"


def test_bench_without_a_figure_says_so(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(repository)
    assert cli.main(["bench", "neuron", "--fast", "--figure", str(tmp_path / "f.svg")]) == 2
    assert "--figure must be left out" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
