"""Evaluation of networks that know the answer, and the label maps it is compared with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from spikejelly_pack.data.scenes import SceneGenerator
from spikejelly_pack.spec.errors import ParameterError, ShapeError
from spikejelly_pack.tasks.evaluation import (
    evaluate_classification,
    evaluate_detection,
    evaluate_segmentation,
)
from spikejelly_pack.tasks.folders import VOC, Preprocessing, open_data

GENERATOR = SceneGenerator(32, (1, 3), seed=5)  # the one of conftest


class Oracle(nn.Module):
    """Knows the test scenes by their pixels."""

    def __init__(self, task: str, wrong: int = 0) -> None:
        super().__init__()
        scenes = [GENERATOR.scene("test", index) for index in range(12)]
        self.known = {scene.image.tobytes(): scene for scene in scenes}
        self.wrong = {scene.image.tobytes() for scene in scenes[:wrong]}
        self.task = task

    def forward(self, images: Any) -> Any:
        found = []
        for image in images:
            key = (image.permute(1, 2, 0) * 255).round().byte().numpy().tobytes()
            scene = self.known[key]
            boxes = torch.from_numpy(scene.boxes).float()
            if self.task == "detection":
                boxes = boxes + (20.0 if key in self.wrong else 0.0)
                scores = torch.ones(len(boxes))
                found.append({"boxes": boxes, "labels": torch.from_numpy(scene.labels), "scores": scores})
            else:
                labels = torch.from_numpy(scene.semantic if key not in self.wrong else scene.semantic * 0)
                found.append(nn.functional.one_hot(labels, 5).permute(2, 0, 1).float())
        return found if self.task == "detection" else {"out": torch.stack(found)}


def test_detection_of_the_truth(place: Path) -> None:
    data = open_data(place / "coco", "detection", Preprocessing(), batch=5)
    result = evaluate_detection(Oracle("detection"), data, data.truth)
    assert result == pytest.approx({"map": 100, "map50": 100, "map75": 100, "samples": 12})
    assert evaluate_detection(Oracle("detection", wrong=6), data, data.truth)["map"] < 80
    few = open_data(place / "coco", "detection", Preprocessing(), limit=4)
    assert evaluate_detection(Oracle("detection"), few, few.truth)["map"] == pytest.approx(100)


def test_segmentation_of_the_truth(place: Path) -> None:
    data = open_data(place / "coco", "segmentation", Preprocessing(), batch=5)
    result = evaluate_segmentation(Oracle("segmentation"), data)
    assert (result["miou"], result["samples"]) == (100.0, 12)
    assert evaluate_segmentation(Oracle("segmentation", wrong=6), data)["miou"] < 80


def test_label_maps_leave_out_crowds_and_overlap(tmp_path: Path) -> None:
    def entry(number: int, category: int, box: list[int], crowd: int = 0) -> dict[str, Any]:
        x, y, w, h = box
        corners = [x, y, x + w, y, x + w, y + h, x, y + h]
        shape: Any = [corners]
        if crowd:
            mask = np.zeros((8, 8), int)
            mask[y : y + h, x : x + w] = 1
            flat = mask.ravel(order="F")
            edges = [0, *(np.flatnonzero(np.diff(flat)) + 1).tolist(), 64]
            shape = {"size": [8, 8], "counts": np.diff(edges).tolist()}
        return {
            "id": number, "image_id": 1, "category_id": category, "bbox": box, "area": w * h,
            "iscrowd": crowd, "segmentation": shape,
        }  # fmt: skip

    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    content = {
        "images": [{"id": 1, "file_name": "a.png", "height": 8, "width": 8}],
        "annotations": [
            entry(1, 17, [0, 0, 4, 4]), entry(2, 18, [2, 2, 4, 4]), entry(3, 44, [6, 0, 2, 8], crowd=1),
            entry(4, 90, [0, 6, 2, 2]),
        ],
        "categories": [{"id": i, "name": str(i)} for i in (17, 18, 44, 90)],
    }  # fmt: skip
    (tmp_path / "annotations.json").write_text(json.dumps(content))
    for voc, (cat, dog, brush) in ((False, (17, 18, 90)), (True, (8, 12, 0))):
        expected = np.zeros((8, 8), int)
        expected[0:4, 0:4], expected[2:6, 2:6], expected[2:4, 2:4] = cat, dog, 255
        expected[:, 6:8], expected[6:8, 0:2] = 255, brush
        ((_, (labels,)),) = list(open_data(tmp_path, "segmentation", Preprocessing(), voc=voc))
        assert np.array_equal(labels.numpy(), expected)


def test_voc_classes_are_torchvision_s() -> None:
    from torchvision.models.detection import FCOS_ResNet50_FPN_Weights
    from torchvision.models.segmentation import FCN_ResNet50_Weights

    coco: Any = FCOS_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
    voc: Any = FCN_ResNet50_Weights.DEFAULT.meta["categories"]
    same = {"airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa", "tv": "tvmonitor"}
    same |= {"dining table": "diningtable", "potted plant": "pottedplant"}
    assert [same.get(coco[i], coco[i]) for i in VOC] == voc


@pytest.mark.parametrize(
    ("evaluate", "output", "said"),
    [
        (evaluate_classification, {"boxes": 1}, "must give a tensor, got dict"),
        (evaluate_segmentation, torch.zeros(1, 3), "must give [N, C, H, W], got (1, 3)"),
        (
            lambda net, data: evaluate_detection(net, data, {}),
            torch.zeros(1, 3),
            "must give a list of dicts, got Tensor",
        ),
    ],
)
def test_outputs_of_another_task(evaluate: Any, output: Any, said: str) -> None:
    class Fixed(nn.Module):
        def forward(self, _: Any) -> Any:
            return output

    with pytest.raises(ShapeError) as refused:
        evaluate(Fixed(), [(torch.zeros(1, 3), torch.zeros(1))])
    assert said in str(refused.value)
    with pytest.raises(ParameterError, match="must hold a sample, got none"):
        evaluate(Fixed(), [])


def test_images_of_two_sizes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    for side in (8, 9):
        Image.new("RGB", (side, side)).save(tmp_path / "a" / f"{side}.png")
    with pytest.raises(ShapeError, match="images of a batch must have one size"):
        list(open_data(tmp_path, "classification", Preprocessing()))
    ((images, _),) = list(open_data(tmp_path, "classification", Preprocessing(size=6, channels=1)))
    assert images.shape == (2, 1, 6, 6)
    (tmp_path / "a" / "8.png").write_bytes(b"no image")
    with pytest.raises(TypeError, match="must be an image that can be read"):
        list(open_data(tmp_path, "classification", Preprocessing(size=6)))
