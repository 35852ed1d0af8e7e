"""Generated scenes as torch datasets, in the formats torchvision's models take."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from ..spec.errors import ParameterError
from .scenes import SceneGenerator

__all__ = ["SceneDataset"]

_TASKS = ("classification", "detection", "segmentation")


class SceneDataset(Dataset[Any]):
    """Scenes of one split.

    Items are ``(image, target)``; the image is float32 ``[3, H, W]`` in 0..1. The target is for detection
    a dict of ``boxes`` (float32 ``[K, 4]``), ``labels``, ``masks`` (uint8); for segmentation the label of
    every pixel ``[H, W]``; for classification the 0-based label of the first object.

    Args:
        generator: Makes the scenes.
        split: ``"train"``, ``"calibration"`` or ``"test"``.
        length: How many.
        task: ``"classification"``, ``"detection"`` or ``"segmentation"``.

    Raises:
        ParameterError: The task is unknown or the length not positive.
    """

    def __init__(self, generator: SceneGenerator, split: str, length: int, task: str = "detection") -> None:
        if task not in _TASKS:
            raise ParameterError(f"SceneDataset: task must be one of {_TASKS}, got {task!r}; choose one.")
        if length < 1:
            raise ParameterError(f"SceneDataset: length must be positive, got {length}; raise it.")
        generator.scene(split, 0)
        self.generator, self.split, self.length, self.task = generator, split, length, task

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Any]:
        """Item ``index``."""
        if not 0 <= index < self.length:
            raise IndexError(index)
        scene = self.generator.scene(self.split, index)
        image = torch.from_numpy(scene.image).permute(2, 0, 1).float() / 255
        if self.task == "segmentation":
            return image, torch.from_numpy(scene.semantic)
        if self.task == "classification":
            return image, int(scene.labels[0]) - 1
        return image, {
            "boxes": torch.from_numpy(scene.boxes).float(),
            "labels": torch.from_numpy(scene.labels),
            "masks": torch.from_numpy(scene.masks).to(torch.uint8),
        }
