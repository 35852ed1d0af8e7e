"""Pixels of the generated scenes: resizing, shapes, clutter. numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..spec.errors import ParameterError

__all__ = ["clutter", "resize", "shape_mask"]


def resize(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Bilinear interpolation of ``[h, w]`` or ``[h, w, C]``; corner pixels stay corner pixels."""
    y, x = (np.linspace(0, old - 1, new) for old, new in zip(image.shape[:2], (height, width), strict=True))
    top, left = np.floor(y).astype(int), np.floor(x).astype(int)
    bottom, right = np.minimum(top + 1, len(image) - 1), np.minimum(left + 1, image.shape[1] - 1)
    tail = (1,) * (image.ndim - 2)
    down = (y - top).reshape(-1, 1, *tail)
    across = (x - left).reshape(1, -1, *tail)
    upper = image[top][:, left] * (1 - across) + image[top][:, right] * across
    lower = image[bottom][:, left] * (1 - across) + image[bottom][:, right] * across
    return upper * (1 - down) + lower * down


def shape_mask(kind: str, side: int) -> NDArray[np.bool_]:
    """A filled ``"disc"``, ``"square"`` or ``"triangle"`` (point up) that touches all sides of its square."""
    y, x = np.mgrid[:side, :side].astype(np.float64)
    middle = (side - 1) / 2
    if kind == "disc":
        return (y - middle) ** 2 + (x - middle) ** 2 <= (side / 2) ** 2
    if kind == "square":
        return np.ones((side, side), np.bool_)
    if kind == "triangle":
        return np.abs(x - middle) <= (y + 1) / 2
    raise ParameterError(f"shape_mask: kind must be disc, square or triangle, got {kind!r}; choose one.")


def clutter(rng: np.random.Generator, size: int) -> NDArray[np.float64]:
    """A background ``[size, size, 3]`` in 0..1: slow colour changes, stripes of random lines, noise."""
    coarse = rng.uniform(0.2, 0.8) + rng.uniform(-0.15, 0.15, (4, 4, 3))
    image = resize(coarse, size, size)
    y, x = np.mgrid[:size, :size].astype(np.float64)
    for _ in range(int(rng.integers(2, 6))):
        angle, offset = rng.uniform(0, np.pi), rng.uniform(-0.2, 1.2) * size
        distance = np.abs(np.cos(angle) * x + np.sin(angle) * y - offset)
        image[distance < 0.8] += rng.uniform(-0.2, 0.2)
    image += rng.normal(0, 0.03, image.shape)
    return np.clip(image, 0, 1)
