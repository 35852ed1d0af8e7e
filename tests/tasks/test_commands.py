"""``spikepack convert`` and ``evaluate`` on generated folders, for every task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch

from spikejelly_pack import cli
from spikejelly_pack.recipes import convert
from spikejelly_pack.tasks.evaluation import evaluate_segmentation
from spikejelly_pack.tasks.folders import Preprocessing, open_data
from spikejelly_pack.tasks.models import build_model
from spikejelly_pack.tasks.saved import load_conversion
from spikejelly_pack.tasks.weights import load_weights, read_weights

TASKS = {
    "classifier": ("classification", "classes", "top1"),
    "segmenter": ("segmentation", "coco", "miou"),
    "detector": ("detection", "coco", "map"),
}


def _convert(place: Path, name: str, out: Path, *more: str) -> int:
    task, data, _ = TASKS[name]
    return cli.main([
        "convert", "--model", f"{place / 'nets.py'}:{name}", "--weights", str(place / f"{name}.safetensors"),
        "--data", str(place / data), "--task", task, "--out", str(out), "--batch", "5", *more,
    ])  # fmt: skip


def _flat(output: Any) -> list[torch.Tensor]:
    if isinstance(output, torch.Tensor):
        return [output]
    return [found[key] for found in output for key in sorted(found)]


@pytest.mark.parametrize("name", TASKS)
def test_convert_then_evaluate(
    name: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    task, data, metric = TASKS[name]
    out, facts = tmp_path / "net.safetensors", tmp_path / "facts.json"
    arguments = ["--time-steps", "5", "--json", str(facts), "--route", "module"]
    assert _convert(place, name, out, *arguments) == 0
    said = json.loads(facts.read_text())
    assert said["coverage"] == 1.0
    assert said["analog"] == []
    assert "multiply-accumulates on spikes: 100.0%" in capsys.readouterr().out
    with safetensors.safe_open(out, "pt") as file:
        about = json.loads(file.metadata()["spikepack_conversion"])
    assert (about["time_steps"], about["task"], about["calibrator"]) == (5, task, "mse")

    reference = f"{place / 'nets.py'}:{name}"
    source = build_model(reference)
    load_weights(source, read_weights(str(place / f"{name}.pth"), reference))
    batches = open_data(place / data, task, Preprocessing(), batch=5)
    expected = convert(source, batches, 5, route="module", progress=False)
    rebuilt, _ = load_conversion(out, reference)
    images, _ = next(iter(batches))
    with torch.no_grad():
        pairs = list(zip(_flat(rebuilt(images)), _flat(expected(images)), strict=True))
        assert all(torch.equal(one, other) for one, other in pairs)
        rebuilt.transparent = True
        pairs = list(zip(_flat(rebuilt(images)), _flat(source(images)), strict=True))
        assert all(torch.equal(one, other) for one, other in pairs)

    arguments = ["evaluate", str(out), "--data", str(place / data), "--model", reference]
    arguments += ["--json", str(facts)]
    assert cli.main([*arguments, "--compare"]) == 0
    result = json.loads(facts.read_text())
    assert result["converted"]["samples"] == len(batches) * 5 - (3 if task != "classification" else 0)
    assert result["lost"][metric] == result["source"][metric] - result["converted"][metric]
    if task == "segmentation":  # its measure moves with every pixel
        assert result["source"] == evaluate_segmentation(source, batches)
        assert result["converted"] == evaluate_segmentation(expected, batches)
        assert result["source"] != result["converted"]
    shown = capsys.readouterr().out
    assert f"source: {metric} {result['source'][metric]:.2f}" in shown
    assert cli.main([*arguments, "--samples", "4"]) == 0
    result = json.loads(facts.read_text())
    assert result["converted"]["samples"] == 4
    assert "source" not in result


def test_torchvision_model(place: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = build_model("torchvision:squeezenet1_1", {"classes": 4})
    torch.save(network.state_dict(), tmp_path / "w.pth")
    out, facts = tmp_path / "net.safetensors", tmp_path / "facts.json"
    code = cli.main([
        "convert", "--model", "torchvision:squeezenet1_1", "--weights", str(tmp_path / "w.pth"),
        "--data", str(place / "classes"), "--classes", "4", "--out", str(out), "--size", "40",
        "--mean", "0.5", "--std", "0.25", "--samples", "8", "--plots", str(tmp_path / "plots"),
        "--calibrator", "max", "--strict", "--route", "module",
    ])  # fmt: skip
    assert code == 0
    drawn = sorted(path.name for path in (tmp_path / "plots").iterdir())
    assert {"activations_1.svg", "error_growth.svg", "saturation.svg"} <= set(drawn)
    assert cli.main(["evaluate", str(out), "--data", str(place / "classes"), "--json", str(facts)]) == 0
    assert json.loads(facts.read_text())["converted"]["samples"] == 20
    rebuilt, about = load_conversion(out)
    assert about.preprocessing == {"size": 40, "mean": [0.5], "std": [0.25]}
    images, _ = next(iter(open_data(place / "classes", "classification", Preprocessing(40, (0.5,), (0.25,)))))
    rebuilt.transparent = True
    with torch.no_grad():
        assert torch.equal(rebuilt(images), network(images))


def test_standard_coco_layout(place: Path, tmp_path: Path) -> None:
    (tmp_path / "annotations").mkdir()
    content = (place / "coco" / "annotations.json").read_bytes()
    (tmp_path / "annotations" / "instances_val2017.json").write_bytes(content)
    (tmp_path / "val2017").symlink_to(place / "coco" / "images")
    standard = open_data(tmp_path, "segmentation", Preprocessing())
    named = open_data(
        tmp_path, "segmentation", Preprocessing(), annotations=str(place / "coco" / "annotations.json"),
        images=str(place / "coco" / "images"),
    )  # fmt: skip
    for (one, labels), (other, more) in zip(standard, named, strict=True):
        assert torch.equal(one, other)
        assert all(torch.equal(a, b) for a, b in zip(labels, more, strict=True))
