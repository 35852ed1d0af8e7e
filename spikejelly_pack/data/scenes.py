"""Deterministic scenes: scanned digits and simple shapes on clutter, with boxes, labels and masks.

Scanned digits are those of scikit-learn (UCI, 8 x 8 pixels); nothing is downloaded. A scene depends on seed,
split and index alone, so that any scene can be made without those before it. The splits share neither random
numbers nor digit scans.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..spec.errors import ParameterError
from .drawing import clutter, resize, shape_mask

__all__ = ["SPLITS", "Scene", "SceneGenerator", "digit_scans"]

SPLITS = ("train", "calibration", "test")
_SHAPES = ("disc", "square", "triangle")
_DIGITS = tuple(f"digit_{value}" for value in range(10))
_TRIES = 40
_INK = 0.3  # a scan's pixel belongs to the digit from here on


@dataclass(frozen=True)
class Scene:
    """One image and what stands in it; masks do not overlap.

    Attributes:
        image: uint8 ``[H, W, 3]``.
        boxes: int64 ``[K, 4]``: x0, y0, x1, y1, the end excluded.
        labels: int64 ``[K]``, 1-based index into the generator's categories; 0 is background.
        masks: bool ``[K, H, W]``.
        scans: int64 ``[K]``: index of the digit's scan, -1 for shapes.
    """

    image: NDArray[np.uint8]
    boxes: NDArray[np.int64]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]
    scans: NDArray[np.int64]

    @property
    def semantic(self) -> NDArray[np.int64]:
        """The label of every pixel, ``[H, W]``; 0 is background."""
        found = np.zeros(self.image.shape[:2], np.int64)
        for label, mask in zip(self.labels, self.masks, strict=True):
            found[mask] = label
        return found


@lru_cache(maxsize=1)
def digit_scans() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Scans ``[1797, 8, 8]`` in 0..1 and their digits ``[1797]``; read-only, since all callers share them."""
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    scans, digits = np.array(bunch.images, np.float64) / 16.0, np.array(bunch.target, np.int64)
    for array in (scans, digits):
        array.setflags(write=False)
    return scans, digits


def split_of_scan(index: int) -> str:
    """The split a digit scan belongs to: of ten scans eight train, one calibrates, one tests."""
    place = index % 10
    return SPLITS[0] if place < 8 else SPLITS[place - 7]


class SceneGenerator:
    """Makes scenes.

    Args:
        size: Height and width in pixels, at least 24.
        objects: Fewest and most objects per scene; fewer where there is no room left.
        each_digit: Ten digit categories instead of one.
        seed: Another seed, other scenes.

    Raises:
        ParameterError: A parameter is outside its range.
    """

    def __init__(
        self, size: int = 64, objects: tuple[int, int] = (1, 4), *, each_digit: bool = False, seed: int = 0
    ) -> None:
        if size < 24:
            raise ParameterError(
                f"SceneGenerator: size must be at least 24, got {size}; choose a larger one."
            )
        if not 1 <= objects[0] <= objects[1]:
            raise ParameterError(
                f"SceneGenerator: objects must be (fewest, most) with 1 <= fewest <= most, got {objects}; "
                "swap or raise them."
            )
        if seed < 0:
            raise ParameterError(f"SceneGenerator: seed must not be negative, got {seed}; choose another.")
        self.size, self.objects, self.each_digit, self.seed = size, objects, each_digit, seed
        self.categories = (*(_DIGITS if each_digit else ("digit",)), *_SHAPES)

    def scene(self, split: str, index: int) -> Scene:
        """Scene ``index`` of a split, the same on every call.

        Raises:
            ParameterError: The split is unknown or the index negative.
        """
        if split not in SPLITS:
            raise ParameterError(f"SceneGenerator: split must be one of {SPLITS}, got {split!r}; choose one.")
        if index < 0:
            raise ParameterError(f"SceneGenerator: index must not be negative, got {index}; count from 0.")
        rng = np.random.default_rng([self.seed, SPLITS.index(split), index])
        image = clutter(rng, self.size)
        count = int(rng.integers(self.objects[0], self.objects[1] + 1))
        taken = np.zeros((self.size, self.size), np.bool_)
        found: list[tuple[NDArray[np.bool_], int, int]] = []
        for _ in range(_TRIES):
            if len(found) == count:
                break
            mask, ink, label, scan = self._object(rng, split)
            y, x = (int(rng.integers(0, self.size - side + 1)) for side in mask.shape)
            place = np.s_[y : y + mask.shape[0], x : x + mask.shape[1]]
            if taken[place].any():
                continue
            taken[place] = True  # the whole rectangle: boxes do not overlap either
            whole = np.zeros_like(taken)
            whole[place] = mask
            _paint(rng, image[place], ink)
            found.append((whole, label, scan))
        return _scene(image, found)

    def _object(
        self, rng: np.random.Generator, split: str
    ) -> tuple[NDArray[np.bool_], NDArray[np.float64], int, int]:
        """Mask, opacity, label and scan of a random object."""
        side = int(rng.integers(self.size // 5, self.size // 3 + 1))
        kind = int(rng.integers(2 * len(_SHAPES)))
        if kind < len(_SHAPES):
            mask = shape_mask(_SHAPES[kind], side)
            return mask, mask.astype(np.float64), self.categories.index(_SHAPES[kind]) + 1, -1
        scans, digits = digit_scans()
        scan = int(rng.choice(_scans_of(split)))
        ink = resize(scans[scan], side, side)
        mask = ink >= _INK
        label = int(digits[scan]) + 1 if self.each_digit else 1
        return mask, np.where(mask, ink, 0.0), label, scan


@lru_cache(maxsize=len(SPLITS))
def _scans_of(split: str) -> NDArray[np.int64]:
    _, digits = digit_scans()
    return np.array([index for index in range(len(digits)) if split_of_scan(index) == split], np.int64)


def _paint(rng: np.random.Generator, area: NDArray[np.float64], ink: NDArray[np.float64]) -> None:
    """Blend a colour that stands out from what is there into ``area``, in place."""
    dark = float(area.mean()) > 0.5
    colour = rng.uniform(0.0, 0.25, 3) if dark else rng.uniform(0.75, 1.0, 3)
    opacity = ink[..., None]
    area *= 1 - opacity
    area += opacity * colour


def _scene(image: NDArray[np.float64], found: list[tuple[NDArray[np.bool_], int, int]]) -> Scene:
    size = len(image)
    masks = np.array([mask for mask, _, _ in found], np.bool_).reshape(-1, size, size)
    boxes = np.array([box_of(mask) for mask in masks], np.int64).reshape(-1, 4)
    labels = np.array([label for _, label, _ in found], np.int64)
    scans = np.array([scan for _, _, scan in found], np.int64)
    return Scene(np.round(np.clip(image, 0, 1) * 255).astype(np.uint8), boxes, labels, masks, scans)


def box_of(mask: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """x0, y0, x1, y1 of the smallest box around a mask that is not empty, the end excluded."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
