"""A COCO annotations file from anywhere: every entry is checked before pycocotools' C code sees it."""

from __future__ import annotations

import contextlib
import io
import json
import math
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..spec.errors import DtypeError
from ..spec.reason import reason
from .metrics import coco_module

__all__ = ["read_coco"]

_LARGEST_SIDE = 1 << 15  # pixels
_FURTHEST = 1 << 16  # coordinates of outlines: C counts the pixels between two of them
_FAULTS = (ArithmeticError, LookupError, OSError, RecursionError, TypeError, ValueError)


def read_coco(file: Path, outlines: bool) -> Any:
    """``pycocotools.coco.COCO`` of the file.

    Args:
        file: JSON.
        outlines: Every annotation must have one.

    Raises:
        DtypeError: It is no COCO annotations file, or an entry is malformed.
        EnvironmentMissingError: pycocotools is not installed.
    """
    coco = coco_module("coco").COCO()
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        _check(document, outlines)
        coco.dataset = document
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints
            coco.createIndex()
    except _FAULTS as error:
        raise DtypeError(
            f"--data: {file} must be a COCO annotations file, got {type(error).__name__}: {reason(error)}; "
            "check the file."
        ) from None
    return coco


def _check(document: Any, outlines: bool) -> None:
    if not isinstance(document, dict):
        raise TypeError(f"a {type(document).__name__}")
    parts = ("images", "annotations", "categories")
    if missing := sorted(set(parts) - set(document)):
        raise KeyError(f"no {' or '.join(missing)}")
    for name in parts:
        if not isinstance(document[name], list) or not all(isinstance(one, dict) for one in document[name]):
            raise TypeError(f"{name} that is no list of objects")
    for category in document["categories"]:
        _whole(category, "id", "category")
        _text(category["name"], "category")
    sizes = {_whole(image, "id", "image"): _image(image) for image in document["images"]}
    for entry in document["annotations"]:
        _whole(entry, "id", "annotation")
        _annotation(entry, sizes)
        if outlines and not entry.get("segmentation"):
            raise ValueError(f"annotation {entry['id']} without segmentation")


def _whole(entry: dict[str, Any], key: str, what: str, low: int = -(1 << 62), high: int = 1 << 62) -> int:
    value = entry[key]
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ValueError(f"{what} with {key} {value!r}")
    return value


def _text(value: Any, what: str) -> None:
    if not isinstance(value, str):
        raise TypeError(f"{what} with name {value!r}")


def _image(image: dict[str, Any]) -> tuple[int, int]:
    """Height and width; the file must be inside the folder of images."""
    _text(image["file_name"], "image")
    place = PurePosixPath(image["file_name"])
    if place.is_absolute() or ".." in place.parts or "\0" in image["file_name"]:
        raise ValueError(f"image outside the folder, {image['file_name']!r}")
    height, width = (_whole(image, key, "image", 1, _LARGEST_SIDE) for key in ("height", "width"))
    return height, width


def _annotation(entry: dict[str, Any], sizes: dict[int, tuple[int, int]]) -> None:
    size = sizes.get(_whole(entry, "image_id", "annotation"))
    if size is None:
        raise ValueError(f"annotation of the unknown image {entry['image_id']}")
    _whole(entry, "category_id", "annotation")
    if "iscrowd" in entry:
        _whole(entry, "iscrowd", "annotation", 0, 1)
    if "bbox" in entry:
        _numbers(entry["bbox"], 4, "bbox")
    if "area" in entry:
        _numbers([entry["area"]], 1, "area")
    outline = entry.get("segmentation", [])
    if isinstance(outline, dict):
        _runs(outline, size)
        return
    for polygon in outline:
        values = _numbers(polygon, None, "segmentation")
        if len(values) < 6 or len(values) % 2:
            raise ValueError(f"outline of {len(values)} numbers")


def _numbers(values: Any, count: int | None, what: str) -> Sequence[float]:
    kinds = {type(value) for value in values} if isinstance(values, list) else {list}
    if not kinds <= {int, float} or (count is not None and len(values) != count):
        raise TypeError(f"{what} {str(values)[:60]}")
    largest = max(map(abs, values), default=0.0)
    if not math.isfinite(largest + sum(values)) or (what != "area" and largest > _FURTHEST):
        raise ValueError(f"{what} beyond {_FURTHEST}")
    return values


def _runs(outline: dict[str, Any], size: tuple[int, int]) -> None:
    """Run lengths must fill the image exactly: C writes as many pixels as they say."""
    if list(outline["size"]) != list(size):
        raise ValueError(f"run lengths of size {outline['size']} for an image of {list(size)}")
    counts = outline["counts"]
    runs = _decoded(counts) if isinstance(counts, str) else counts
    if not isinstance(runs, list) or not all(type(run) is int and run >= 0 for run in runs):
        raise TypeError("run lengths that are no counts")
    if sum(runs) != size[0] * size[1]:
        raise ValueError(f"run lengths of {sum(runs)} pixels for {size[0] * size[1]}")


def _decoded(text: str) -> list[int]:
    """COCO's text of run lengths: groups of 5 bits; from the third on, differences to the last but one."""
    runs: list[int] = []
    value = shift = 0
    for group in np.frombuffer(text.encode("ascii"), np.uint8).astype(int) - 48:
        if not 0 <= group < 64 or shift > 30:
            raise ValueError("run lengths that are no text of COCO's")
        value |= (int(group) & 31) << shift
        shift += 5
        if group & 32:
            continue
        if group & 16:
            value -= 1 << shift
        runs.append(value + (runs[-2] if len(runs) > 2 else 0))
        value = shift = 0
    if shift:
        raise ValueError("run lengths without an end")
    return runs
