"""Metrics against independent counts."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, jaccard_score, top_k_accuracy_score

from spikejelly_pack.data.scenes import SceneGenerator
from spikejelly_pack.data.writers import coco_content
from spikejelly_pack.spec.errors import EnvironmentMissingError, ParameterError, ShapeError
from spikejelly_pack.tasks.metrics import ConfusionMatrix, TopK, coco_module, mean_average_precision

SEEDS = st.integers(0, 2**32 - 1)
TRUTH = coco_content(SceneGenerator(48, (1, 4)), "test", 25)


@given(SEEDS, st.integers(6, 12))
def test_top_k_is_scikit_learn_s(seed: int, classes: int) -> None:
    rng = np.random.default_rng(seed)
    scores, targets = rng.standard_normal((30, classes)), rng.integers(0, classes, 30)
    found = TopK()
    found.update(scores[:13], targets[:13])
    found.update(scores[13:], targets[13:])
    for k in (1, 5):
        expected = top_k_accuracy_score(targets, scores, k=k, labels=np.arange(classes))
        assert found.result()[f"top{k}"] == pytest.approx(100 * expected)


def test_top5_of_few_classes_is_left_out() -> None:
    found = TopK()
    found.update(np.eye(4), np.arange(4))
    assert found.result() == {"top1": 100.0}


@given(SEEDS)
def test_iou_is_scikit_learn_s(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, guess = rng.integers(0, 3, (2, 9, 7)), rng.integers(0, 4, (2, 9, 7))
    ignored = rng.random(truth.shape) < 0.2
    found = ConfusionMatrix(6)
    for one, other, hidden in zip(guess, truth, ignored, strict=True):
        found.update(one, np.where(hidden, 255, other))
    kept_truth, kept_guess = truth[~ignored], guess[~ignored]
    assert np.array_equal(found.counts, confusion_matrix(kept_truth, kept_guess, labels=range(6)))
    labels = sorted({*kept_truth.tolist(), *kept_guess.tolist()})
    expected = jaccard_score(kept_truth, kept_guess, labels=labels, average=None)
    result = found.result()
    assert [result["iou"][label] for label in labels] == pytest.approx((100 * np.asarray(expected)).tolist())
    assert result["miou"] == pytest.approx(100 * np.mean(expected))
    assert result["pixel_accuracy"] == pytest.approx(100 * np.mean(kept_truth == kept_guess))
    assert all(result["iou"][label] is None for label in set(range(6)) - set(labels))


def _detections(shift: float = 0.0, keep: int = 1) -> list[dict[str, object]]:
    return [
        {
            "image_id": entry["image_id"], "category_id": entry["category_id"], "score": 0.9,
            "bbox": [entry["bbox"][0] + shift * entry["bbox"][2], *entry["bbox"][1:]],
        }
        for entry in TRUTH["annotations"][::keep]
    ]  # fmt: skip


def test_map_of_the_truth_is_100() -> None:
    assert mean_average_precision(TRUTH, _detections()) == pytest.approx(
        {"map": 100, "map50": 100, "map75": 100}
    )


def test_map_counts_overlap_and_misses() -> None:
    shifted = mean_average_precision(TRUTH, _detections(shift=0.2))  # overlap 0.8 / 1.2
    assert shifted["map50"] == pytest.approx(100)
    assert shifted["map75"] == pytest.approx(0)
    assert shifted["map"] == pytest.approx(40)  # 0.50, 0.55, 0.60, 0.65 of ten thresholds
    assert mean_average_precision(TRUTH, _detections(keep=2))["map"] < 75
    swapped = [{**found, "category_id": 1} for found in _detections()]
    assert mean_average_precision(TRUTH, swapped)["map"] < 50
    assert mean_average_precision(TRUTH, [])["map"] == 0.0


def test_map_of_masks_is_not_that_of_boxes() -> None:
    """The truth's own masks; a mask moved by its width in a right box; masks of wrong images."""
    found = [
        {**detection, "segmentation": coco_module("mask").frPyObjects(entry["segmentation"], 48, 48)}
        for detection, entry in zip(_detections(), TRUTH["annotations"], strict=True)
    ]
    assert mean_average_precision(TRUTH, found, masks=True) == pytest.approx(
        {"map": 100, "map50": 100, "map75": 100}
    )
    swapped = [
        {**one, "segmentation": other["segmentation"]} for one, other in zip(found, found[::-1], strict=True)
    ]
    assert mean_average_precision(TRUTH, swapped, masks=True)["map"] < 20
    assert mean_average_precision(TRUTH, swapped)["map"] == pytest.approx(100)


def test_pycocotools_is_named_when_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pycocotools.coco", None)
    with pytest.raises(EnvironmentMissingError, match=re.escape("run pip install 'spikejelly-pack[tasks]'.")):
        coco_module("coco")


@pytest.mark.parametrize(
    ("make", "error", "said"),
    [
        (lambda: ConfusionMatrix(1), ParameterError, "classes must be at least 2, got 1"),
        (
            lambda: ConfusionMatrix(3).update(np.zeros((2, 2)), np.zeros((2, 3))),
            ShapeError,
            "must have one shape",
        ),
        (lambda: ConfusionMatrix(3).update(np.full(2, 3), np.zeros(2)), ShapeError, "must be below 3, got 3"),
        (
            lambda: TopK().update(np.zeros((2, 3)), np.array([0, 3])),
            ShapeError,
            "an output for class 3, got 3 outputs",
        ),
        (lambda: TopK().update(np.zeros((2, 3, 1)), np.zeros(2)), ShapeError, "scores must be [N, C]"),
    ],
)
def test_bad_input(make: object, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)):
        make()  # type: ignore[operator]
