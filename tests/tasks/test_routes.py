"""``spikepack convert`` on the FX route: its file rebuilds to equal outputs, and what the options do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from spikingjelly.activation_based import functional

from spikejelly_pack import build_integer, cli, set_form
from spikejelly_pack.recipes import convert
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.tasks.evaluation import evaluate
from spikejelly_pack.tasks.folders import Preprocessing, open_data
from spikejelly_pack.tasks.models import build_model
from spikejelly_pack.tasks.saved import load_conversion
from spikejelly_pack.tasks.sweep import draw_sweep, sweep_table, sweep_time_steps
from spikejelly_pack.tasks.weights import load_weights, read_weights


def run(place: Path, out: Path, *more: str) -> Any:
    facts = out.parent / "facts.json"
    code = cli.main([
        "convert", "--model", f"{place / 'nets.py'}:classifier", "--weights", str(place / "classifier.pth"),
        "--data", str(place / "classes"), "--task", "classification", "--out", str(out), "--batch", "5",
        "--json", str(facts), *more,
    ])  # fmt: skip
    assert code == 0
    return json.loads(facts.read_text())


@pytest.fixture(scope="module")
def source(place: Path) -> Any:
    reference = f"{place / 'nets.py'}:classifier"
    network = build_model(reference)
    load_weights(network, read_weights(str(place / "classifier.pth"), reference))
    return network


@pytest.fixture(scope="module")
def data(place: Path) -> Any:
    return open_data(place / "classes", "classification", Preprocessing(), batch=5)


@torch.no_grad()
def test_file_of_the_fx_route(
    place: Path, tmp_path: Path, source: Any, data: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rebuilt without the source's code; serial, exported and compared with the source."""
    out = tmp_path / "net.safetensors"
    steps = tmp_path / "steps.json"
    steps.write_text(json.dumps({"*": 4, "input_1": 6}))
    said = run(place, out, "--time-steps", str(steps), "--improve", "bias_correction", "equalization")
    assert (said["route"], said["time_steps"], said["coverage"]) == ("fx", 6, 1.0)
    expected: Any = convert(
        source, data, {"*": 4, "input_1": 6}, improve=("bias_correction", "equalization"), progress=False
    )
    rebuilt, about = load_conversion(out)
    assert (about.route, about.time_steps) == ("fx", 6)
    images, _ = next(iter(data))
    assert torch.equal(rebuilt(images), expected(images))
    for net in (rebuilt, expected):
        set_form(net, "serial")
        functional.set_step_mode(net, "m")
    trains = images.expand(6, *images.shape)
    assert torch.equal(rebuilt(trains), expected(trains))

    np.save(tmp_path / "x.npy", images.numpy())
    spk = tmp_path / "net.spk"
    words = ["export", str(out), "--data", str(tmp_path / "x.npy"), "--out", str(spk)]
    assert cli.main([*words, "--weight-bits", "7", "--adaptive-rounding"]) == 0
    written = exchange.load(spk)
    made = build_integer(load_conversion(out)[0], images, weight_bits=7, adaptive_rounding=True)
    assert written.time_steps == 6
    for one, other in zip(written.synapses, made.synapses, strict=True):
        assert np.array_equal(one.weights(), other.weights())

    facts = tmp_path / "facts.json"
    words = ["evaluate", str(out), "--data", str(place / "classes"), "--json", str(facts)]
    assert cli.main(words) == 0
    assert cli.main([*words, "--compare"]) == 2
    assert "--compare needs --weights FILE and --model MODEL, got no weights" in capsys.readouterr().err
    words += ["--compare", "--weights", str(place / "classifier.pth")]
    assert cli.main(words) == 2
    assert "got no model" in capsys.readouterr().err
    assert cli.main([*words, "--model", f"{place / 'nets.py'}:classifier"]) == 0
    assert json.loads(facts.read_text())["source"] == evaluate(source, data, progress=False)


def test_a_damaged_graph_is_refused(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "net.safetensors"
    run(place, out)
    with safetensors.safe_open(out, "pt") as file:
        about = json.loads(file.metadata()["spikepack_conversion"])
    about["graph"]["nodes"][0]["name"] = "x): raise SystemExit #"
    tensors = safetensors.torch.load_file(out)
    safetensors.torch.save_file(tensors, out, {"spikepack_conversion": json.dumps(about)})
    assert cli.main(["evaluate", str(out), "--data", str(place / "classes")]) == 2
    assert "must hold a converted network, got ValueError" in capsys.readouterr().err


def test_chosen_time_steps(place: Path, tmp_path: Path, source: Any, data: Any) -> None:
    for route in ("fx", "module"):
        out = tmp_path / f"{route}.safetensors"
        options = ["--route", route, "--time-steps", "auto", "--error-bound", "0.2", "--compare", "4"]
        said = run(place, out, *(options if route == "module" else options[:-2]))
        assert said["route"] == route
        assert 0.0 < said["output_error"] <= 0.2
        rebuilt: Any = load_conversion(out, f"{place / 'nets.py'}:classifier")[0]
        expected: Any = convert(
            source, data, "auto", error_bound=0.2, progress=False, route=route,
            compare=("4",) if route == "module" else (),
        )  # fmt: skip
        images, _ = next(iter(data))
        with torch.no_grad():
            assert torch.equal(rebuilt(images), expected(images))


def test_resume_keeps_a_file(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept, out = tmp_path / "kept.safetensors", tmp_path / "net.safetensors"
    run(place, out, "--resume", str(kept), "--resume-every", "1", "--time-steps", "3")
    first = safetensors.torch.load_file(out)
    run(place, out, "--resume", str(kept), "--time-steps", "3")
    again = safetensors.torch.load_file(out)
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    words = ["--resume", str(kept), "--calibrator", "max"]
    with pytest.raises(AssertionError):
        run(place, tmp_path / "other.safetensors", *words)
    assert "must hold an unfinished calibration with these settings" in capsys.readouterr().err


def test_sweep(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the segmentation network: its measure moves with every pixel."""
    reference, weights = f"{place / 'nets.py'}:segmenter", str(place / "segmenter.pth")
    source = build_model(reference)
    load_weights(source, read_weights(weights, reference))
    words = [
        "--model", reference, "--weights", weights, "--data", str(place / "coco"), "--task", "segmentation",
        "--samples", "10", "--sweep", "2,1,8", "--plots", str(tmp_path / "plots"),
    ]  # fmt: skip
    said = run(place, tmp_path / "net.safetensors", *words)
    assert [row["time_steps"] for row in said["sweep"]] == [None, 1, 2, 8]
    data, calibration = (
        open_data(place / "coco", "segmentation", Preprocessing(), batch=5, limit=n) for n in (None, 10)
    )
    assert len({row["miou"] for row in said["sweep"]}) == 4
    for row in said["sweep"]:
        net = source if row["time_steps"] is None else convert(
            source, calibration, row["time_steps"], progress=False
        )  # fmt: skip
        assert row == {"time_steps": row["time_steps"], **evaluate(net, data, progress=False)}
    assert (tmp_path / "plots" / "time_steps.svg").read_text().startswith("<?xml")
    shown = capsys.readouterr().out
    assert "| T | miou | pixel_accuracy | points lost |" in shown


def test_sweep_rows_and_table(tmp_path: Path) -> None:
    network = torch.nn.Identity()
    measured = iter([{"map": 50.0}, {"map": 40.0}, {"map": 49.5}])
    rows = sweep_time_steps(network, lambda _t: network, lambda _net: next(measured), [2, 8])
    assert sweep_table(rows).splitlines() == [
        "| T | map | points lost |", "|---:|---:|---:|", "| source | 50.00 |  |", "| 2 | 40.00 | +10.00 |",
        "| 8 | 49.50 | +0.50 |",
    ]  # fmt: skip
    assert draw_sweep(rows, tmp_path / "a" / "b.png").stat().st_size > 1000
    first, second = (draw_sweep(rows, tmp_path / name).read_bytes() for name in ("1.svg", "2.svg"))
    assert first == second
    with pytest.raises(ParameterError, match="must hold a T, got none"):
        sweep_time_steps(network, lambda _t: network, lambda _net: {}, [])
    with pytest.raises(ParameterError, match=r"measure must give one of .* got \['loss', 'time_steps'\]"):
        sweep_time_steps(network, lambda _t: network, lambda _net: {"loss": 1.0}, [2])
