"""Run a network over batches and measure its task."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..spec.errors import ParameterError, ShapeError
from .metrics import ConfusionMatrix, TopK, mean_average_precision

if TYPE_CHECKING:
    from .folders import TaskData

__all__ = [
    "MEASURES",
    "TASKS",
    "evaluate",
    "evaluate_classification",
    "evaluate_detection",
    "evaluate_segmentation",
]

TASKS = ("classification", "detection", "segmentation")
#: Measures in per cent, in the order in which they are shown; the first that a task has is its main one.
MEASURES = ("top1", "top5", "map", "map50", "map75", "miou", "pixel_accuracy")


def evaluate(
    network: nn.Module, data: TaskData, device: Any = "cpu", progress: bool = True
) -> dict[str, Any]:
    """What the task of ``data`` measures; the network is on ``device``."""
    batches = _Moved(data, device)
    if data.task == "detection":
        return evaluate_detection(network, batches, data.truth, progress)
    found = evaluate_segmentation if data.task == "segmentation" else evaluate_classification
    return found(network, batches, progress)


class _Moved:
    """Batches with their images on a device."""

    def __init__(self, data: TaskData, device: Any) -> None:
        self.data, self.device = data, device

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Iterator[Any]:
        for images, targets in self.data:
            moved = (
                [x.to(self.device) for x in images] if isinstance(images, list) else images.to(self.device)
            )
            yield moved, targets


def evaluate_classification(
    network: nn.Module, batches: Iterable[Any], progress: bool = False
) -> dict[str, Any]:
    """Top-1 and top-5 accuracy in per cent over ``(images, classes)``."""
    found = TopK()
    for images, targets in _shown(batches, progress):
        found.update(_single(_run(network, images)).cpu().numpy(), targets.cpu().numpy())
    _not_empty(found.count)
    return {**found.result(), "samples": found.count}


def evaluate_segmentation(
    network: nn.Module, batches: Iterable[Any], progress: bool = False
) -> dict[str, Any]:
    """Mean intersection over union over ``(images, label maps)``.

    Outputs of another size than the label maps are resized, bilinearly, as in the field.
    """
    found: ConfusionMatrix | None = None
    samples = 0
    for images, targets in _shown(batches, progress):
        output = _single(_run(network, images))
        if output.dim() != 4:
            raise ShapeError(
                f"segmentation: the network must give [N, C, H, W], got {tuple(output.shape)}; check --task."
            )
        found = found or ConfusionMatrix(output.shape[1])
        for scores, target in zip(output, targets, strict=True):
            size = tuple(target.shape[-2:])
            if tuple(scores.shape[-2:]) != size:
                scores = nn.functional.interpolate(scores[None], size, mode="bilinear", align_corners=False)[
                    0
                ]
            found.update(scores.argmax(0).cpu().numpy(), target.cpu().numpy())
            samples += 1
    _not_empty(samples)
    assert found is not None
    return {**found.result(), "samples": samples}


def evaluate_detection(
    network: nn.Module, batches: Iterable[Any], truth: dict[str, Any], progress: bool = False
) -> dict[str, Any]:
    """COCO's mAP over ``(list of images, image ids)``; labels of the network are COCO category ids."""
    detections: list[dict[str, Any]] = []
    samples = 0
    for images, ids in _shown(batches, progress):
        outputs = _run(network, images)
        if not isinstance(outputs, (list, tuple)) or not all(isinstance(found, dict) for found in outputs):
            raise ShapeError(
                f"detection: the network must give a list of dicts, got {type(outputs).__name__}; check "
                "--task."
            )
        for image, found in zip(ids, outputs, strict=True):
            detections += _results(int(image), found)
            samples += 1
    _not_empty(samples)
    kept = {**truth, "images": truth["images"]}
    return {**mean_average_precision(kept, detections), "samples": samples}


def _results(image: int, found: dict[str, Tensor]) -> list[dict[str, Any]]:
    boxes, labels, scores = (found[key].tolist() for key in ("boxes", "labels", "scores"))
    return [
        {"image_id": image, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
        for (x0, y0, x1, y1), label, score in zip(boxes, labels, scores, strict=True)
    ]


def _run(network: nn.Module, images: Any) -> Any:
    network.eval()
    with torch.no_grad():
        return network(images)


def _single(output: Any) -> Tensor:
    """The main output: torchvision's segmentation networks give a dict."""
    if isinstance(output, dict) and "out" in output:
        output = output["out"]
    if not isinstance(output, Tensor):
        raise ShapeError(
            f"evaluate: the network must give a tensor, got {type(output).__name__}; check --task."
        )
    return output


def _shown(batches: Iterable[Any], progress: bool) -> Iterable[Any]:
    return tqdm(batches, desc="evaluating", disable=None if progress else True, leave=False)


def _not_empty(samples: int) -> None:
    if not samples:
        raise ParameterError("evaluate: the data must hold a sample, got none; check the data's folder.")
