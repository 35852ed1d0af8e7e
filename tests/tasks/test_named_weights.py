"""Weights by torchvision's names, with the download replaced by random tensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch
import torchvision
from PIL import Image
from torch import nn
from torchvision import models

from spikejelly_pack import cli
from spikejelly_pack.tasks.folders import Preprocessing
from spikejelly_pack.tasks.models import build_model, task_of
from spikejelly_pack.tasks.weights import _ZERO_EPSILON, load_weights, read_weights


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """State dicts by model name; torchvision believes it has fetched them."""
    states: dict[str, Any] = {}

    def fetch(url: str, *_: object, **__: object) -> Any:
        return states[url.rpartition("/")[2].partition("-")[0]]

    monkeypatch.setattr(torchvision.models._api, "load_state_dict_from_url", fetch)
    return states


def test_convert_by_name(downloads: dict[str, Any], place: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    source = models.squeezenet1_1().eval()
    downloads["squeezenet1_1"] = source.state_dict()
    out, facts = tmp_path / "net.safetensors", tmp_path / "facts.json"
    code = cli.main([
        "convert", "--model", "torchvision:squeezenet1_1", "--weights", "DEFAULT",
        "--data", str(place / "classes"), "--samples", "2", "--calibrator", "max", "--out", str(out),
    ])  # fmt: skip
    assert code == 0
    with safetensors.safe_open(out, "pt") as file:
        about = json.loads(file.metadata()["spikepack_conversion"])
    assert about["weights"] == "SqueezeNet1_1_Weights.IMAGENET1K_V1"
    assert about["preprocessing"] == {"weights": "SqueezeNet1_1_Weights.IMAGENET1K_V1"}
    assert about["options"] == {"classes": 1000}
    downloads.clear()  # evaluate needs none
    arguments = [
        "evaluate",
        str(out),
        "--data",
        str(place / "classes"),
        "--samples",
        "2",
        "--json",
        str(facts),
    ]
    assert cli.main(arguments) == 0
    assert set(json.loads(facts.read_text())["converted"]) == {"top1", "top5", "samples"}


def test_a_network_is_what_torchvision_builds(downloads: dict[str, Any]) -> None:
    """GoogLeNet scales its input and has heads for training only."""
    torch.manual_seed(0)
    downloads["googlenet"] = models.googlenet(init_weights=False).state_dict()
    expected = models.googlenet(weights="IMAGENET1K_V1").eval()
    weights = read_weights("IMAGENET1K_V1", "torchvision:googlenet")
    found = build_model("torchvision:googlenet", weights.options)
    load_weights(found, weights)
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(found(x), expected(x))


def test_epsilon_of_the_detectors(downloads: dict[str, Any]) -> None:
    downloads["fasterrcnn_resnet50_fpn_coco"] = models.get_model(
        "fasterrcnn_resnet50_fpn", weights=None, weights_backbone=None
    ).state_dict()
    weights = read_weights("COCO_V1", "torchvision:fasterrcnn_resnet50_fpn")
    assert weights.options == {"classes": 91, "epsilon": 0.0}
    found = build_model("torchvision:fasterrcnn_resnet50_fpn", weights.options)
    load_weights(found, weights)
    assert {module.eps for module in found.modules() if isinstance(module, nn.BatchNorm2d)} == {0.0}


def test_names_are_torchvision_s() -> None:
    known = {str(member) for name in models.list_models() for member in models.get_model_weights(name)}
    assert known >= _ZERO_EPSILON
    assert task_of("torchvision:resnet50") == "classification"
    assert task_of("torchvision:ssdlite320_mobilenet_v3_large") == "detection"
    assert task_of("torchvision:fcn_resnet50") == "segmentation"
    assert task_of("torchvision:r3d_18") is None
    assert task_of("nets.py:f") is None


def test_preprocessing_is_torchvision_s(place: Path) -> None:
    from torchvision.transforms import functional

    path = next((place / "classes" / "digit").iterdir())
    with Image.open(path) as image:
        found = Preprocessing(None, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))(image)
        plain = functional.to_tensor(image)
    expected = functional.normalize(plain, [0.4, 0.5, 0.6], [0.2, 0.25, 0.3])
    assert torch.equal(found, expected)
