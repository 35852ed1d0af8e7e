"""Data folders in the field's formats, read by torchvision: ImageFolder and COCO."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.image_file import read_image
from ..spec.errors import DtypeError, ParameterError, ShapeError
from .coco_file import read_coco
from .metrics import IGNORED

__all__ = ["Preprocessing", "TaskData", "has_annotations", "open_data"]

# COCO category ids in the order of the VOC classes that torchvision's segmentation weights know.
VOC = (0, 5, 2, 16, 9, 44, 6, 3, 17, 62, 21, 67, 18, 19, 4, 1, 64, 20, 63, 7, 72)
_LAYOUTS = (("annotations.json", "images"), ("annotations/instances_val2017.json", "val2017"))


@dataclass(frozen=True)
class Preprocessing:
    """From a PIL image to what the network takes.

    Attributes:
        size: Height and width to resize to, None: as the image is.
        mean: Subtracted per channel (after scaling to 0..1); one value serves all channels.
        std: Divided by per channel.
        channels: 3, or 1 for grey.
        weights: Preprocessing of torchvision's weights, used instead of all others.
    """

    size: int | None = None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    channels: int = 3
    weights: Callable[[Any], Tensor] | None = None

    def __post_init__(self) -> None:
        if self.channels not in (1, 3):
            raise ParameterError(f"--channels must be 1 or 3, got {self.channels}; choose one.")
        if self.size is not None and self.size < 1:
            raise ParameterError(f"--size must be positive, got {self.size}; raise it.")
        for name, values in (("--mean", self.mean), ("--std", self.std)):
            if len(values) not in (1, self.channels):
                raise ParameterError(
                    f"{name} must have 1 or {self.channels} values, got {len(values)}; give one per channel."
                )
        if min(self.std) <= 0:
            raise ParameterError(f"--std must be positive, got {min(self.std)}; check it.")

    def __call__(self, image: Any) -> Tensor:
        """Preprocess one PIL image."""
        if self.weights is not None:
            return self.weights(image.convert("RGB"))
        image = image.convert("L" if self.channels == 1 else "RGB")
        if self.size is not None:
            image = image.resize((self.size, self.size), 2)  # bilinear
        array = np.asarray(image, np.float32) / 255
        tensor = torch.from_numpy(array).reshape(*array.shape[:2], self.channels).permute(2, 0, 1)
        mean, std = (torch.tensor(values).reshape(-1, 1, 1) for values in (self.mean, self.std))
        return (tensor - mean) / std


@dataclass
class TaskData:
    """Batches of a folder, as often as they are asked for.

    Attributes:
        task: What the targets are: classes ``[N]``, image ids, or a list of label maps.
        samples: Number of images.
        truth: Content of the annotations file (COCO only).
        classes: Names of the classes.
    """

    task: str
    samples: int
    load: Callable[[int], tuple[Tensor, Any]]
    batch: int
    classes: list[str]
    truth: dict[str, Any]

    def __len__(self) -> int:
        return -(-self.samples // self.batch)

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        """``(images, targets)``: images stacked, or a list for detection."""
        for start in range(0, self.samples, self.batch):
            items = [self.load(i) for i in range(start, min(start + self.batch, self.samples))]
            images, targets = [image for image, _ in items], [target for _, target in items]
            if self.task == "detection":
                yield images, targets
                continue
            shapes = {tuple(image.shape) for image in images}
            if len(shapes) > 1:
                raise ShapeError(
                    f"--data: images of a batch must have one size, got {sorted(shapes)[:3]}; pass --size, "
                    "or --batch 1."
                )
            stacked = torch.stack(images)
            yield stacked, torch.tensor(targets) if self.task == "classification" else targets


def open_data(
    folder: str | Path,
    task: str,
    preprocessing: Preprocessing,
    *,
    batch: int = 16,
    limit: int | None = None,
    annotations: str | None = None,
    images: str | None = None,
    voc: bool = False,
) -> TaskData:
    """Open a folder in the layout of the task.

    Args:
        folder: ImageFolder (``CLASS/*.png``) for classification; COCO (``images/`` and
            ``annotations.json``, or ``val2017/`` and ``annotations/instances_val2017.json``) otherwise.
        task: ``"classification"``, ``"detection"`` or ``"segmentation"``.
        preprocessing: For every image.
        batch: Images per batch.
        limit: At most so many images, spread evenly over the folder.
        annotations: COCO annotations file where it is elsewhere.
        images: COCO images folder where it is elsewhere.
        voc: Segmentation: labels are the 21 VOC classes and no COCO category ids.

    Raises:
        ParameterError: The folder is missing or of another layout.
        DtypeError: The annotations file is no COCO file.
        EnvironmentMissingError: pycocotools is not installed (COCO).
    """
    root = Path(folder)
    for name, value in (("--batch", batch), ("--limit", limit)):
        if value is not None and value < 1:
            raise ParameterError(f"{name} must be positive, got {value}; raise it.")
    if not root.is_dir():
        raise ParameterError(f"--data must be a folder that exists, got {str(folder)!r}; check the path.")
    if task == "classification":
        return _image_folder(root, preprocessing, batch, limit)
    return _coco(root, task, preprocessing, batch, limit, annotations, images, voc)


def has_annotations(folder: str | Path) -> bool:
    """Whether a folder has the layout of COCO data."""
    return any((Path(folder) / file).is_file() for file, _ in _LAYOUTS)


def _chosen(count: int, limit: int | None) -> list[int]:
    kept = count if limit is None else min(limit, count)
    return [i * count // kept for i in range(kept)]


def _image_folder(root: Path, preprocessing: Preprocessing, batch: int, limit: int | None) -> TaskData:
    from torchvision.datasets import ImageFolder

    try:
        dataset: Any = ImageFolder(str(root))
    except (OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:160].rstrip(".")
        raise ParameterError(
            f"--data {root}: classification data must be a folder per class with images in it, got: "
            f"{reason}; check the layout."
        ) from None
    chosen = _chosen(len(dataset), limit)

    def load(index: int) -> tuple[Tensor, int]:
        path, target = dataset.samples[chosen[index]]
        return preprocessing(read_image(path, "--data")), target

    return TaskData("classification", len(chosen), load, batch, list(dataset.classes), {})


def _find(root: Path, annotations: str | None, images: str | None) -> tuple[Path, Path]:
    if annotations is not None:
        found = (Path(annotations), Path(images) if images else root)
    else:
        pairs = [(root / file, Path(images) if images else root / place) for file, place in _LAYOUTS]
        found = next((pair for pair in pairs if pair[0].is_file()), pairs[0])
    if not found[0].is_file() or not found[1].is_dir():
        missing = found[0] if not found[0].is_file() else found[1]
        raise ParameterError(
            f"--data {root}: COCO data must have annotations.json and images/ (or "
            "annotations/instances_val2017.json "
            f"and val2017/), got no {missing}; check the layout or pass --annotations and --images."
        )
    return found


def _coco(
    root: Path, task: str, preprocessing: Preprocessing, batch: int, limit: int | None,
    annotations: str | None, images: str | None, voc: bool,
) -> TaskData:  # fmt: skip
    file, place = _find(root, annotations, images)
    coco = read_coco(file, outlines=task == "segmentation")
    truth: dict[str, Any] = coco.dataset
    if not coco.imgs:
        raise ParameterError(f"--data: {file} must list an image, got none; check the file.")
    known = sorted(coco.imgs)
    ids = [known[i] for i in _chosen(len(known), limit)]
    names = [category["name"] for category in truth["categories"]]
    kept = set(ids)
    truth = {
        **truth,
        "images": [image for image in truth["images"] if image["id"] in kept],
        "annotations": [entry for entry in truth["annotations"] if entry["image_id"] in kept],
    }

    def load(index: int) -> tuple[Tensor, Any]:
        about = coco.loadImgs(ids[index])[0]
        image = read_image(place / about["file_name"], "--data")
        if task == "detection":
            if preprocessing.size is not None:
                raise ParameterError(
                    f"--size must be left out for detection, got {preprocessing.size}; detectors resize on "
                    "their own."
                )
            return preprocessing(image), ids[index]
        if image.size != (about["width"], about["height"]):
            raise DtypeError(
                f"--data: {place / about['file_name']} must have the size in {file}, got {image.size}; "
                "check the file."
            )
        shown = coco.loadAnns(coco.getAnnIds(ids[index]))
        return preprocessing(image), _label_map(coco, shown, image.size, voc)

    return TaskData(task, len(ids), load, batch, names, truth)


def _label_map(coco: Any, annotations: list[dict[str, Any]], size: tuple[int, int], voc: bool) -> Tensor:
    """The category of every pixel; where objects overlap and in crowds: not counted."""
    width, height = size
    labels = np.zeros((height, width), np.int64)
    covered = np.zeros((height, width), np.int64)
    for entry in annotations:
        category = entry["category_id"]
        if voc:
            if category not in VOC:
                continue
            category = VOC.index(category)
        mask = coco.annToMask(entry).astype(bool)
        labels[mask] = IGNORED if entry.get("iscrowd") else category
        covered += mask
    labels[covered > 1] = IGNORED
    return torch.from_numpy(labels)
