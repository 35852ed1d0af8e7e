"""The tasks of the accuracy benchmark: trained networks, calibration and validation data, and their metrics.

All data comes with the package: scikit-learn's digits, and generated scenes whose splits share no digit scan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from benchmarks.task_networks import Classifier, Segmenter, detector, mask_detector, train, transformer
from spikejelly_pack.data.scenes import SceneGenerator
from spikejelly_pack.data.torch_scenes import SceneDataset
from spikejelly_pack.data.writers import coco_content
from spikejelly_pack.tasks.evaluation import evaluate_classification, evaluate_segmentation
from spikejelly_pack.tasks.metrics import coco_module, mean_average_precision

__all__ = ["MAKERS", "Sizes", "Task"]

BATCH = 32
BOXES_FIRST = {
    "head.classification_head": -1,
    **dict.fromkeys((f"head.regression_head.{name}" for name in ("conv.3", "conv.6", "conv.9", "bbox")), 1),
}
Scores = dict[str, float]
Measure = Callable[[nn.Module], Scores]
Say = Callable[[str], None]


@dataclass
class Task:
    """A trained network and what it is calibrated and measured with.

    Attributes:
        network: The source.
        calibration: Batches for :func:`.convert`.
        measure: Metrics in per cent on the test data.
        validate: The same on data of neither training, nor calibration, nor test.
        seconds: Training time.
        compare: Modules whose outputs improvers compare, for networks whose output varies in shape.
        candidates: Settings to choose from besides those tried for every task; ``shifts`` gives nodes whose
            names begin so more or fewer digits than T.
    """

    network: nn.Module
    calibration: list[Any]
    measure: Measure
    validate: Measure
    seconds: float
    compare: tuple[str, ...] = ()
    candidates: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True)
class Sizes:
    """How much data, and the seed."""

    generator: SceneGenerator
    scenes: int
    calibration: int
    tests: int
    seed: int


def _batches(data: Sequence[Any]) -> list[Any]:
    chunks = [data[i : i + BATCH] for i in range(0, len(data), BATCH)]
    return [tuple(zip(*chunk, strict=True)) for chunk in chunks]


def _stacked(data: Sequence[Any]) -> list[Any]:
    return [(torch.stack(images), torch.stack(targets)) for images, targets in _batches(data)]


def _items(generator: SceneGenerator, split: str, length: int, task: str = "detection") -> list[Any]:
    dataset = SceneDataset(generator, split, length, task)
    return [dataset[index] for index in range(length)]


def _timed(train_it: Callable[[], nn.Module]) -> tuple[nn.Module, float]:
    start = time.perf_counter()
    network = train_it()
    return network, time.perf_counter() - start


def _digits(
    make: Callable[[], nn.Module], channels: int, rate: float, sizes: Sizes, epochs: int, say: Say
) -> Task:
    bunch: Any = load_digits()
    images = (torch.from_numpy(bunch.images).float()[:, None] / 16).repeat(1, channels, 1, 1)
    data = list(zip(images, torch.from_numpy(bunch.target).long(), strict=True))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(sizes.seed)).tolist()
    data = [data[i] for i in order]
    learn, held, tests = data[:1200], _stacked(data[1200:1300]), _stacked(data[1300:])
    network, seconds = _timed(
        lambda: train(
            make(), learn, _cross_entropy, epochs=epochs, batch=BATCH, rate=rate, seed=sizes.seed, say=say
        )
    )

    def top1(batches: list[Any]) -> Measure:
        return lambda net: {"top1": evaluate_classification(net, batches)["top1"]}

    return Task(network, _stacked(learn[: sizes.calibration]), top1(tests), top1(held), seconds)


def _cross_entropy(network: nn.Module, images: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    return nn.functional.cross_entropy(network(torch.stack(list(images))), torch.stack(list(targets)))


def _pixel_loss(network: nn.Module, images: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Cross-entropy with background, most of every image, weighted down."""
    scores = network(torch.stack(list(images)))
    weight = torch.ones(scores.shape[1])
    weight[0] = 0.3
    return nn.functional.cross_entropy(scores, torch.stack(list(targets)), weight)


def _detector_loss(network: nn.Module, images: Sequence[Tensor], targets: Sequence[Any]) -> Tensor:
    return torch.stack(list(network(list(images), list(targets)).values())).sum()


def _detection(
    network: nn.Module, compare: tuple[str, ...], masks: bool, sizes: Sizes, epochs: int, say: Say
) -> Task:
    generator = sizes.generator
    say("making scenes")
    learn = _items(generator, "train", sizes.scenes)
    trained, seconds = _timed(
        lambda: train(
            network, learn, _detector_loss, epochs=epochs, batch=16, rate=2e-3, seed=sizes.seed, say=say
        )
    )
    held = _items(generator, "calibration", sizes.calibration)
    calibration = [(list(images), targets) for images, targets in _batches(held)]
    measure = _coco(generator, "test", 0, sizes.tests, masks)
    validate = _coco(generator, "calibration", sizes.calibration, sizes.tests, masks)
    return Task(trained, calibration, measure, validate, seconds, compare)


def _coco(generator: SceneGenerator, split: str, start: int, length: int, masks: bool) -> Measure:
    """COCO's mAP over scenes ``start`` to ``start + length`` of a split."""
    content = coco_content(generator, split, start + length)
    ids = range(start + 1, start + length + 1)
    truth = {
        **content,
        "images": [entry for entry in content["images"] if entry["id"] in ids],
        "annotations": [entry for entry in content["annotations"] if entry["image_id"] in ids],
    }
    dataset = SceneDataset(generator, split, start + length)
    batches = _batches([(dataset[i - 1][0], i) for i in ids])

    def measure(network: nn.Module) -> Scores:
        found: list[dict[str, Any]] = []
        with torch.no_grad():
            for images, numbers in batches:
                for number, output in zip(numbers, network(list(images)), strict=True):
                    found += _results(number, output, masks)
        scores = {"map": mean_average_precision(truth, found)["map"]}
        if masks:
            scores["mask map"] = mean_average_precision(truth, found, masks=True)["map"]
        return scores

    return measure


def _results(image: int, output: dict[str, Tensor], masks: bool) -> list[dict[str, Any]]:
    """COCO results; a mask is where its probability is at least one half."""
    boxes, labels, scores = (output[key].tolist() for key in ("boxes", "labels", "scores"))
    found: list[dict[str, Any]] = [
        {"image_id": image, "category_id": label, "bbox": [x0, y0, x1 - x0, y1 - y0], "score": score}
        for (x0, y0, x1, y1), label, score in zip(boxes, labels, scores, strict=True)
    ]
    if masks:
        encode = coco_module("mask").encode
        for entry, mask in zip(found, output["masks"][:, 0] >= 0.5, strict=True):
            entry["segmentation"] = encode(np.asfortranarray(mask.numpy().astype(np.uint8)))
    return found


def _segmentation(sizes: Sizes, epochs: int, say: Say) -> Task:
    generator = sizes.generator
    learn = _items(generator, "train", sizes.scenes, "segmentation")
    network, seconds = _timed(
        lambda: train(
            Segmenter(len(generator.categories) + 1), learn, _pixel_loss, epochs=epochs, batch=16, rate=4e-3,
            seed=sizes.seed, say=say,
        )
    )  # fmt: skip
    held = _items(generator, "calibration", sizes.calibration + sizes.tests, "segmentation")
    tests = _items(generator, "test", sizes.tests, "segmentation")

    def miou(batches: list[Any]) -> Measure:
        return lambda net: {"miou": evaluate_segmentation(net, batches)["miou"]}

    calibration, rest = held[: sizes.calibration], held[sizes.calibration :]
    return Task(network, _stacked(calibration), miou(_stacked(tests)), miou(_stacked(rest)), seconds)


def _one_stage(sizes: Sizes, epochs: int, say: Say) -> Task:
    network = detector(len(sizes.generator.categories) + 1, sizes.generator.size)
    task = _detection(network, ("head",), False, sizes, epochs, say)
    # On validation data the boxes need digits, the classes do not: 4 time steps on average over the nodes.
    task.candidates = ({"channel_wise": True, "calibrator": "mse", "improve": (), "shifts": BOXES_FIRST},)
    return task


def _two_stage(sizes: Sizes, epochs: int, say: Say) -> Task:
    network = mask_detector(len(sizes.generator.categories) + 1, sizes.generator.size)
    return _detection(network, ("rpn.head",), True, sizes, epochs, say)


#: Tasks by name: ``maker(sizes, epochs, say)``.
MAKERS: dict[str, Callable[[Sizes, int, Say], Task]] = {
    "classification": lambda sizes, epochs, say: _digits(Classifier, 1, 3e-3, sizes, epochs, say),
    "transformer": lambda sizes, epochs, say: _digits(transformer, 3, 2e-3, sizes, epochs, say),
    "detection": _one_stage,
    "instance segmentation": _two_stage,
    "segmentation": _segmentation,
}
