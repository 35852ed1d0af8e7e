"""Scenes on disk in the field's formats: a COCO folder and an ImageFolder folder."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spec.atomic import replacing, write_text
from ..spec.errors import ParameterError
from .scenes import Scene, SceneGenerator

__all__ = ["coco_content", "run_lengths", "write_coco", "write_image_folder"]


def run_lengths(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's uncompressed run lengths: column by column, zeros first."""
    flat = np.concatenate([[False], mask.ravel(order="F"), [False]])
    edges = np.flatnonzero(flat[1:] != flat[:-1])
    bounds = np.concatenate([[0], edges, [mask.size]])
    lengths = np.diff(bounds)
    return [int(n) for n in (lengths[:-1] if lengths[-1] == 0 else lengths)]


def write_coco(
    folder: str | os.PathLike[str], generator: SceneGenerator, split: str, length: int
) -> tuple[Path, Path]:
    """Write ``folder/images/*.png`` and ``folder/annotations.json``.

    Args:
        folder: Made when missing.
        generator: Makes the scenes.
        split: Split of the scenes.
        length: How many scenes.

    Returns:
        The images' folder and the annotations file, as ``torchvision.datasets.CocoDetection`` takes them.

    Raises:
        ParameterError: The length is not positive.
        OutputError: The folder cannot be written.
    """
    content = coco_content(generator, split, length)
    root = Path(folder)
    for index, entry in enumerate(content["images"]):
        _write_image(root / "images" / entry["file_name"], generator.scene(split, index).image)
    write_text(root / "annotations.json", json.dumps(content))
    return root / "images", root / "annotations.json"


def coco_content(generator: SceneGenerator, split: str, length: int) -> dict[str, Any]:
    """The annotations of ``length`` scenes as the content of a COCO file; image ids count from 1."""
    if length < 1:
        raise ParameterError(f"write_coco: length must be positive, got {length}; raise it.")
    content: dict[str, Any] = {
        "info": {"description": f"generated scenes, split {split}, seed {generator.seed}"},
        "images": [],
        "annotations": [],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(generator.categories)],
    }
    for index in range(length):
        scene = generator.scene(split, index)
        height, width = scene.image.shape[:2]
        name = f"{index:06d}.png"
        content["images"].append({"id": index + 1, "file_name": name, "height": height, "width": width})
        first = len(content["annotations"]) + 1
        content["annotations"] += _annotations(scene, index + 1, first)
    return content


def _annotations(scene: Scene, image: int, first: int) -> list[dict[str, Any]]:
    return [
        {
            "id": first + k,
            "image_id": image,
            "category_id": int(scene.labels[k]),
            "bbox": [int(x0), int(y0), int(x1 - x0), int(y1 - y0)],
            "area": int(scene.masks[k].sum()),
            "iscrowd": 0,
            "segmentation": {"size": list(scene.image.shape[:2]), "counts": run_lengths(scene.masks[k])},
        }
        for k, (x0, y0, x1, y1) in enumerate(scene.boxes)
    ]


def write_image_folder(
    folder: str | os.PathLike[str], generator: SceneGenerator, split: str, length: int
) -> Path:
    """Write ``folder/CATEGORY/*.png``, one object per image, every category with a folder of its own.

    Args:
        folder: Made when missing.
        generator: Makes the scenes; its number of objects is not used.
        split: Split of the scenes.
        length: How many images, at least one per category.

    Returns:
        The folder, as ``torchvision.datasets.ImageFolder`` takes it.

    Raises:
        ParameterError: There are fewer images than categories.
        OutputError: The folder cannot be written.
    """
    if length < len(generator.categories):
        raise ParameterError(
            f"write_image_folder: length must be at least {len(generator.categories)} (one image per "
            f"category), got {length}; raise it."
        )
    single = SceneGenerator(generator.size, (1, 1), each_digit=generator.each_digit, seed=generator.seed)
    written, index = 0, 0
    counts = [0] * len(generator.categories)
    while written < length:
        scene = single.scene(split, index)
        index += 1
        label = int(scene.labels[0]) - 1
        if counts[label] > written // len(counts):  # keeps the categories within one image of each other
            continue
        name = generator.categories[label]
        _write_image(Path(folder) / name / f"{counts[label]:06d}.png", scene.image)
        counts[label] += 1
        written += 1
    return Path(folder)


def _write_image(path: Path, image: NDArray[np.uint8]) -> None:
    from PIL import Image

    with replacing(path) as temporary:
        Image.fromarray(image).save(temporary, format="PNG")
