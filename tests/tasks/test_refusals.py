"""Bad input of ``spikepack convert`` and ``evaluate``: one sentence, exit code 2, nothing written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import safetensors.torch
import torch

from spikejelly_pack import cli

RESNET = "torchvision:resnet18"


def _run(place: Path, changes: dict[str, str | None], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    options: dict[str, str | None] = {
        "--model": "NETS:classifier", "--weights": "HERE/classifier.pth", "--data": "HERE/classes",
        "--task": "classification", "--out": "HERE/bad.safetensors", **changes,
    }  # fmt: skip
    words = ["convert"]
    for name, value in options.items():
        if value is not None:
            value = value.replace("NETS", str(place / "nets.py")).replace("HERE", str(place))
            words += [name, *value.split("|")]
    code = cli.main(words)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("spikepack:")]
    assert len(said) == 1
    assert not (place / "bad.safetensors").exists()
    return code, said[0]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"--data": "HERE/none"}, "--data must be a folder that exists"),
        ({"--data": "HERE/coco/images"}, "must be a folder per class with images in it"),
        (
            {"--data": "HERE/classes", "--task": "detection"},
            "COCO data must have annotations.json and images/",
        ),
        (
            {"--data": "HERE/coco", "--task": "detection", "--size": "16"},
            "--size must be left out for detection",
        ),
        (
            {"--data": "HERE/coco", "--annotations": "HERE/nets.py", "--task": "segmentation"},
            "must be a COCO anno",
        ),
        (
            {"--model": "torchvision:resnet19"},
            "torchvision must know the model, got 'resnet19'; did you mean resnet1",
        ),
        ({"--model": "NETS:missing"}, "must be importable and callable, got AttributeError"),
        ({"--model": "NETS:number"}, "must return an nn.Module, got int"),
        ({"--model": "HERE/none.py:f"}, "model: the file must exist"),
        ({"--model": "resnet18"}, "model: must be torchvision:NAME, FILE.py:FUNCTION"),
        ({"--weights": "HERE/none.pth"}, "--weights: the file must exist"),
        ({"--weights": "HERE/nets.py"}, "must be a state dict as .safetensors or .pth (tensors only)"),
        ({"--weights": "HERE/segmenter.pth"}, "must fit the model, got no 1.0.weight, no 1.0.bias"),
        ({"--weights": "IMAGENET1K_V1"}, "must be a .safetensors or .pth file for a model of your own"),
        (
            {"--weights": "IMAGENET1K_V9", "--model": RESNET},
            "or one of IMAGENET1K_V1, DEFAULT for resnet18, got",
        ),
        ({"--model": RESNET}, "must fit the model, got no conv1.weight"),
        (
            {"--task": None, "--data": "HERE/coco"},
            "--task must be detection or segmentation for a model of your",
        ),
        ({"--time-steps": "17"}, "time_steps must be an integer in 1..16, got 17"),
        ({"--time-steps": "many"}, "--time-steps must be 1..16, auto or FILE.json, got 'many'"),
        ({"--time-steps": "HERE/none.json"}, "none.json: must be a JSON file that can be read"),
        ({"--time-steps": "auto"}, "error_bound belongs to time_steps='auto'"),
        ({"--error-bound": "0.1"}, "error_bound belongs to time_steps='auto'"),
        ({"--improve": "magic"}, "improve must be a tuple of"),
        ({"--improve": "equalization", "--route": "module"}, "must do without ['equalization']"),
        ({"--compare": "head"}, "compare must name modules of the network, got ['head']"),
        ({"--resume": "HERE/classifier.safetensors"}, "must be written by a calibration with resume="),
        ({"--sweep": "2,x"}, "--sweep must be T such as 2,3,4,6,8"),
        ({"--sweep": "2,17"}, "each in 1..16, got '2,17'"),
        ({"--calibrator": "best"}, "calibrator must be one of"),
        ({"--batch": "0"}, "--batch must be positive, got 0"),
        ({"--samples": "0"}, "--limit must be positive, got 0"),
        ({"--channels": "2"}, "--channels must be 1 or 3, got 2"),
        ({"--mean": "0.1|0.2"}, "--mean must have 1 or 3 values, got 2"),
        ({"--std": "0"}, "--std must be positive, got 0.0"),
        ({"--device": "warp"}, "--device must be one this machine has, got 'warp'"),
        ({"--channels": "1"}, "the network must accept its calibration batches"),
        ({"--out": "HERE/coco"}, "must be a file, got a folder"),
    ],
)
def test_convert_refuses(
    changes: dict[str, str | None], said: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, sentence = _run(place, changes, capsys)
    assert code == 2, sentence
    assert said in sentence


def test_a_download_that_fails(
    place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for name in ("https_proxy", "http_proxy", "HTTPS_PROXY", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")  # nobody listens
    monkeypatch.setenv("no_proxy", "")
    code, sentence = _run(place, {"--model": RESNET, "--weights": "IMAGENET1K_V1"}, capsys)
    assert code == 1
    assert "torchvision must be able to download https://download.pytorch.org/models/resnet18-" in sentence
    assert "pass its path as --weights" in sentence


def test_a_weights_file_cannot_run_code(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (Path(place / "ran"),))  # type: ignore[return-value]

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    code, sentence = _run(place, {"--weights": str(tmp_path / "evil.pth")}, capsys)
    assert code == 2
    assert "tensors only" in sentence
    assert not (place / "ran").exists()


@pytest.fixture(scope="module")
def saved(place: Path) -> Path:
    out = place / "saved.safetensors"
    code = cli.main([
        "convert", "--model", f"{place / 'nets.py'}:classifier", "--weights", str(place / "classifier.pth"),
        "--data", str(place / "classes"), "--task", "classification", "--out", str(out), "--route", "module",
    ])  # fmt: skip
    assert code == 0
    return out


def _altered(saved: Path, key: str, value: object) -> dict[str, str]:
    with safetensors.safe_open(saved, "pt") as file:
        about = json.loads(file.metadata()["spikepack_conversion"])
    return {"spikepack_conversion": json.dumps({**about, key: value})}


def test_evaluate_refuses(saved: Path, place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = safetensors.torch.load_file(saved)
    safetensors.torch.save_file(tensors, place / "v9.safetensors", _altered(saved, "version", 9))
    safetensors.torch.save_file(tensors, place / "key.safetensors", _altered(saved, "extra", 9))
    (place / "cut.safetensors").write_bytes(saved.read_bytes()[:-40])
    own = ["--model", f"{place / 'nets.py'}:classifier"]
    cases = [
        (saved, [], "pass --model"),
        (place / "none", own, "must be a file that exists"),
        (place / "v9.safetensors", own, "must be of version 2, got another"),
        (place / "key.safetensors", own, "must be written by spikepack convert"),
        (place / "cut.safetensors", own, "must be written by spikepack convert"),
        (place / "classifier.safetensors", own, "must be written by spikepack convert"),
        (saved, ["--model", f"{place / 'nets.py'}:segmenter"], "must hold a converted network that fits"),
        (saved, [*own, "--task", "detection"], "--task must be 'classification'"),
        (saved, [*own, "--data", str(place / "none")], "--data must be a folder that exists"),
    ]
    for file, more, said in cases:
        code = cli.main(["evaluate", str(file), "--data", str(place / "classes"), *more])
        sentence = capsys.readouterr().err
        assert code == 2, sentence
        assert said in sentence
        assert "Traceback" not in sentence


def test_code_named_in_a_file_does_not_run(
    saved: Path, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "trap.py").write_text(f"open({str(place / 'sprung')!r}, 'w')\n")
    metadata = _altered(saved, "model", f"{place / 'trap.py'}:f")
    safetensors.torch.save_file(safetensors.torch.load_file(saved), place / "trap.safetensors", metadata)
    assert cli.main(["evaluate", str(place / "trap.safetensors"), "--data", str(place / "classes")]) == 2
    assert "is made by code of yours" in capsys.readouterr().err
    assert not (place / "sprung").exists()
