"""Event data in SpikingJelly's frame layout: CIFAR10-DVS, DVS128 Gesture, N-MNIST, and others like them."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import Dataset

from ...spec.array_file import read_arrays
from ...spec.errors import DtypeError, ParameterError
from .augment import Augmented, flip, shift
from .base import SplitData, missing

__all__ = ["EventFrameData", "FrameFolder"]

_MODULES = {"DVS128Gesture": "dvs128_gesture", "CIFAR10DVS": "cifar10_dvs", "NMNIST": "n_mnist"}


class FrameFolder(Dataset[Any]):
    """Clips ``CLASS/*.npz`` with an array ``frames`` ``[W, 2, H, W']``: what SpikingJelly integrates.

    Args:
        files: Files and their classes.
        windows: W every clip must have.
        size: Height and width to resize to by averaging (bilinear where it is no divisor); None: as recorded.
    """

    def __init__(self, files: list[tuple[Path, int]], windows: int, size: int | None) -> None:
        self.files, self.windows, self.size = files, windows, size

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """Frames float32 ``[W, 2, H, W']`` (event counts) and the class.

        Raises:
            ParameterError: The file is damaged or holds other frames.
        """
        path, target = self.files[index]
        frames = _frames(path)
        if frames.ndim != 4 or frames.shape[:2] != (self.windows, 2):
            raise ParameterError(
                f"{path}: frames must be [{self.windows}, 2, H, W], got {tuple(frames.shape)}; integrate the "
                "events again with this number of frames."
            )
        if self.size is not None and frames.shape[-2:] != (self.size, self.size):
            frames = _resize(frames, self.size)
        return frames, target


def _frames(path: Path) -> Tensor:
    wanted, remedy = "an .npz file with an array 'frames'", "delete it and integrate the events again"
    try:
        content = read_arrays(path, wanted, remedy)
    except DtypeError as error:
        raise ParameterError(str(error)) from None
    frames = content.get("frames")
    if frames is None or frames.dtype.kind not in "fiub":
        got = "none" if frames is None else f"one of {frames.dtype}"
        raise ParameterError(f"{path}: must be {wanted} of numbers, got {got}; {remedy}.")
    return torch.from_numpy(frames.astype(np.float32))


def _resize(frames: Tensor, size: int) -> Tensor:
    if all(side % size == 0 for side in frames.shape[-2:]):
        return F.adaptive_avg_pool2d(frames, size)
    return F.interpolate(frames, (size, size), mode="bilinear", antialias=True)


class EventFrameData(SplitData):
    """A data set of SpikingJelly integrated to W frames.

    Reads ``root/frames_number_W_split_by_number/{train,test}/CLASS/*.npz`` (DVS128 Gesture, N-MNIST), or
    ``.../CLASS/*.npz`` where the data have no split (CIFAR10-DVS): then every tenth file of a class, in the
    order of names, is a test sample.

    Args:
        root: Folder given to SpikingJelly's data set.
        dataset: Its class in ``spikingjelly.datasets``, for the command that makes the folder.
        windows: W, frames per clip: the real time steps of the network.
        size: Height and width to resize to; None: as recorded.
        mirror: Mirror training clips at random (not for gestures with a left and a right hand).
        batch_size: Samples per step and process.
        workers: Loading processes.
        seed: Order and changes of the samples.
    """

    def __init__(
        self,
        root: str,
        dataset: Literal["DVS128Gesture", "CIFAR10DVS", "NMNIST"],
        windows: int = 16,
        size: int | None = None,
        mirror: bool = False,
        batch_size: int = 16,
        workers: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, workers, seed)
        self.root, self.dataset, self.windows = root, dataset, windows
        self.size, self.mirror = size, mirror

    def load(self) -> dict[str, Dataset[Any]]:
        folder = Path(self.root) / f"frames_number_{self.windows}_split_by_number"
        split = (folder / "train").is_dir()
        if split:
            parts = {name: _files(folder / name) for name in ("train", "test")}
        else:
            parts = _every_tenth(_files(folder))
        for name, files in parts.items():
            if not files:
                raise missing(
                    f"{self.dataset} as {self.windows} frames ({name} part)", folder, self._command(split)
                )
        sets = {name: FrameFolder(files, self.windows, self.size) for name, files in parts.items()}
        changes = (shift, flip) if self.mirror else (shift,)
        return {"train": Augmented(sets["train"], *changes), "val": sets["test"], "test": sets["test"]}

    def _command(self, split: bool) -> str:
        part = "train=True, " if split or self.dataset != "CIFAR10DVS" else ""
        return (
            f'python -c "from spikingjelly.datasets.{_MODULES[self.dataset]} import {self.dataset} as D; '
            f"D('{self.root}', {part}data_type='frame', frames_number={self.windows}, split_by='number')\""
        )


def _files(folder: Path) -> list[tuple[Path, int]]:
    """Files of the class folders, classes numbered in the order of names, as torchvision does."""
    classes = sorted(entry for entry in folder.iterdir() if entry.is_dir()) if folder.is_dir() else []
    return [(path, label) for label, entry in enumerate(classes) for path in sorted(entry.glob("*.npz"))]


def _every_tenth(files: list[tuple[Path, int]]) -> dict[str, list[tuple[Path, int]]]:
    parts: dict[str, list[tuple[Path, int]]] = {"train": [], "test": []}
    seen: dict[int, int] = {}
    for path, label in files:
        seen[label] = seen.get(label, 0) + 1
        parts["test" if seen[label] % 10 == 0 else "train"].append((path, label))
    return parts
