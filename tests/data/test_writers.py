"""Folders in the field's formats, read back by the libraries that define them."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.datasets import CocoDetection, ImageFolder

from spikejelly_pack.data.scenes import SceneGenerator
from spikejelly_pack.data.torch_scenes import SceneDataset
from spikejelly_pack.data.writers import run_lengths, write_coco, write_image_folder
from spikejelly_pack.spec.errors import OutputError, ParameterError

GENERATOR = SceneGenerator(40, (1, 4), seed=3)


def test_torchvision_reads_the_coco_folder(tmp_path: Path) -> None:
    images, annotations = write_coco(tmp_path, GENERATOR, "test", 12)
    dataset = CocoDetection(str(images), str(annotations))
    assert len(dataset) == 12
    names = {entry["id"]: entry["name"] for entry in dataset.coco.loadCats(dataset.coco.getCatIds())}
    assert names == {1: "digit", 2: "disc", 3: "square", 4: "triangle"}
    for index in range(len(dataset)):
        image, targets = dataset[index]
        scene = GENERATOR.scene("test", index)
        assert np.array_equal(np.asarray(image), scene.image)
        assert [target["category_id"] for target in targets] == scene.labels.tolist()
        for target, box, mask in zip(targets, scene.boxes, scene.masks, strict=True):
            x, y, width, height = target["bbox"]
            assert [x, y, x + width, y + height] == box.tolist()
            assert np.array_equal(dataset.coco.annToMask(target).astype(bool), mask)
            assert target["area"] == mask.sum()


def test_torchvision_reads_the_image_folder(tmp_path: Path) -> None:
    folder = write_image_folder(tmp_path / "val", GENERATOR, "test", 18)
    dataset = ImageFolder(str(folder))
    assert dataset.classes == ["digit", "disc", "square", "triangle"]
    assert sorted(np.bincount(dataset.targets).tolist()) == [4, 4, 5, 5]
    single = SceneGenerator(40, (1, 1), seed=3)
    known = {
        single.scene("test", i).image.tobytes(): int(single.scene("test", i).labels[0]) for i in range(200)
    }
    for image, label in dataset:
        assert known[np.asarray(image).tobytes()] == label + 1


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.1, 0.5, 1.0]))
def test_run_lengths_are_coco_s(height: int, width: int, seed: int, share: float) -> None:
    from pycocotools import mask as coco

    mask = np.random.default_rng(seed).random((height, width)) < share
    counts = run_lengths(mask)
    assert sum(counts) == mask.size
    decoded = coco.decode(coco.frPyObjects({"size": [height, width], "counts": counts}, height, width))
    assert np.array_equal(decoded.astype(bool), mask)


def test_torch_dataset() -> None:
    scene = GENERATOR.scene("train", 5)
    image, target = SceneDataset(GENERATOR, "train", 6)[5]
    assert image.dtype == torch.float32
    assert np.array_equal((image.permute(1, 2, 0) * 255).round().byte().numpy(), scene.image)
    assert np.array_equal(target["boxes"].numpy(), scene.boxes)
    assert np.array_equal(target["masks"].numpy(), scene.masks)
    assert np.array_equal(SceneDataset(GENERATOR, "train", 6, "segmentation")[5][1].numpy(), scene.semantic)
    assert SceneDataset(GENERATOR, "train", 6, "classification")[5][1] == scene.labels[0] - 1
    assert len(list(SceneDataset(GENERATOR, "train", 6))) == 6


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda _: SceneDataset(GENERATOR, "train", 3, "pose"), "got 'pose'; choose one."),
        (lambda _: SceneDataset(GENERATOR, "train", 0), "length must be positive, got 0; raise it."),
        (lambda _: SceneDataset(GENERATOR, "dev", 3), "split must be one of"),
        (
            lambda folder: write_coco(folder, GENERATOR, "test", 0),
            "write_coco: length must be positive, got 0",
        ),
        (
            lambda folder: write_image_folder(folder, GENERATOR, "test", 3),
            "write_image_folder: length must be at least 4 (one image per category), got 3; raise it.",
        ),
    ],
)
def test_bad_parameters(make: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=re.escape(said)):
        make(tmp_path)  # type: ignore[operator]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match="choose another output path"):
        write_coco(tmp_path / "taken", GENERATOR, "test", 1)
