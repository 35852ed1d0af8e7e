"""Metrics of the three tasks: top-k accuracy, mean intersection over union, COCO's mean average precision."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spec.errors import EnvironmentMissingError, ParameterError, ShapeError

__all__ = ["ConfusionMatrix", "TopK", "coco_module", "mean_average_precision"]

IGNORED = 255  # what COCO and VOC call "no label"


class TopK:
    """Share of samples whose class is among the k largest outputs, in per cent.

    Args:
        ks: The k's; one above the number of classes is left out of the result.
    """

    def __init__(self, ks: Sequence[int] = (1, 5)) -> None:
        self.hits = dict.fromkeys(ks, 0)
        self.count = 0
        self.classes = 0

    def update(self, scores: NDArray[Any], targets: NDArray[Any]) -> None:
        """Take in scores ``[N, C]`` and classes ``[N]``.

        Raises:
            ShapeError: The shapes do not fit, or a class is beyond C.
        """
        if scores.ndim != 2 or targets.shape != scores.shape[:1]:
            raise ShapeError(
                f"TopK: scores must be [N, C] and targets [N], got {scores.shape} and {targets.shape}; "
                "check the task of the network."
            )
        if targets.size and int(targets.max()) >= scores.shape[1]:
            raise ShapeError(
                f"TopK: the network must have an output for class {int(targets.max())}, got "
                f"{scores.shape[1]} outputs; check that the data's classes are the network's."
            )
        order = np.argsort(-scores, axis=1, kind="stable")
        for k in self.hits:
            self.hits[k] += int((order[:, :k] == targets[:, None]).any(1).sum())
        self.count += len(targets)
        self.classes = scores.shape[1]

    def result(self) -> dict[str, float]:
        """``{"top1": ..., "top5": ...}``."""
        return {f"top{k}": 100.0 * n / max(self.count, 1) for k, n in self.hits.items() if k <= self.classes}


class ConfusionMatrix:
    """Pixels by true and by found class, counted exactly; intersection over union as PASCAL VOC defines it.

    Source: Everingham et al. (2010), doi 10.1007/s11263-009-0275-4.

    Args:
        classes: Number of classes, background included.
    """

    def __init__(self, classes: int) -> None:
        if classes < 2:
            raise ParameterError(
                f"ConfusionMatrix: classes must be at least 2, got {classes}; count background."
            )
        self.classes = classes
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, found: NDArray[Any], truth: NDArray[Any]) -> None:
        """Take in two label maps of one shape; the truth 255 is not counted.

        Raises:
            ShapeError: The shapes differ, or a label is beyond the number of classes.
        """
        if found.shape != truth.shape:
            raise ShapeError(
                f"ConfusionMatrix: label maps must have one shape, got {found.shape} and {truth.shape}; "
                "resize one."
            )
        kept = truth != IGNORED
        found, truth = found[kept].astype(np.int64), truth[kept].astype(np.int64)
        largest = max(int(found.max(initial=0)), int(truth.max(initial=0)))
        if largest >= self.classes or min(int(found.min(initial=0)), int(truth.min(initial=0))) < 0:
            raise ShapeError(
                f"ConfusionMatrix: labels must be below {self.classes}, got {largest}; check that the data's "
                "classes are the network's."
            )
        pairs = np.bincount(truth * self.classes + found, minlength=self.classes**2)
        self.counts += pairs.reshape(self.classes, self.classes)

    def result(self) -> dict[str, Any]:
        """``miou`` over the classes that occur and ``pixel_accuracy``, in per cent, and ``iou`` per class."""
        both = np.diag(self.counts).astype(np.float64)
        either = self.counts.sum(0) + self.counts.sum(1) - both
        iou = [100.0 * b / e if e else None for b, e in zip(both, either, strict=True)]
        present = [value for value in iou if value is not None]
        total = int(self.counts.sum())
        return {
            "miou": float(np.mean(present)) if present else 0.0,
            "pixel_accuracy": 100.0 * float(both.sum()) / max(total, 1),
            "iou": [None if value is None else float(value) for value in iou],
        }


def coco_module(name: str) -> Any:
    """A module of pycocotools.

    Raises:
        EnvironmentMissingError: It is not installed.
    """
    import importlib

    try:
        return importlib.import_module(f"pycocotools.{name}")
    except ImportError:
        raise EnvironmentMissingError(
            "COCO data and detection metrics: pycocotools must be installed, got none; run pip install "
            "'spikejelly-pack[tasks]'."
        ) from None


def mean_average_precision(
    truth: dict[str, Any], detections: list[dict[str, Any]], masks: bool = False
) -> dict[str, float]:
    """COCO's mAP (arXiv 1405.0312) of boxes or masks, by pycocotools, in per cent.

    Args:
        truth: Content of a COCO annotations file.
        detections: COCO results: ``image_id``, ``category_id``, ``score``, and ``bbox`` (x, y, width, height)
            or ``segmentation`` (run lengths).
        masks: Compare masks instead of boxes.

    Returns:
        ``map`` (IoU 0.50 to 0.95), ``map50`` and ``map75``.

    Raises:
        EnvironmentMissingError: pycocotools is not installed.
    """
    coco, evaluation = coco_module("coco"), coco_module("cocoeval")
    if not detections:
        return {"map": 0.0, "map50": 0.0, "map75": 0.0}
    kind = "segm" if masks else "bbox"
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
        reference = coco.COCO()
        reference.dataset = {"info": {}, **truth}
        reference.createIndex()
        run = evaluation.COCOeval(reference, reference.loadRes(detections), kind)
        run.params.imgIds = sorted(image["id"] for image in truth["images"])
        run.evaluate()
        run.accumulate()
        run.summarize()
    return {name: 100.0 * float(run.stats[i]) for i, name in enumerate(("map", "map50", "map75"))}
