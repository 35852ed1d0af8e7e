"""Still images: CIFAR's binary folders and ImageFolder, through torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import torch
from torch.utils.data import Dataset

from ...data.image_file import read_image
from ...spec.errors import ParameterError
from ...spec.reason import reason
from .base import SplitData, missing

__all__ = ["CifarData", "ImageFolderData"]

_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def _to_tensor(mean: tuple[float, ...], std: tuple[float, ...]) -> list[Any]:
    from torchvision.transforms import v2

    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(mean, std)]


class CifarData(SplitData):
    """CIFAR-10 or CIFAR-100 in torchvision's folder; random crop and flip in training.

    The test part is also the validation part, as in the published results on these data.

    Args:
        root: Folder that holds ``cifar-10-batches-py`` or ``cifar-100-python``.
        classes: 10 or 100.
        batch_size: Samples per step and process.
        autoaugment: Torchvision's AutoAugment with the policy found on CIFAR-10.
        workers: Loading processes.
        seed: Order and changes of the samples.
    """

    def __init__(
        self,
        root: str = "data",
        classes: Literal[10, 100] = 10,
        batch_size: int = 128,
        autoaugment: bool = True,
        workers: int = 4,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, workers, seed)
        self.root, self.classes, self.autoaugment = root, classes, autoaugment

    def load(self) -> dict[str, Dataset[Any]]:
        from torchvision import datasets
        from torchvision.transforms import v2

        kind = datasets.CIFAR100 if self.classes == 100 else datasets.CIFAR10
        policy = [v2.AutoAugment(v2.AutoAugmentPolicy.CIFAR10)] if self.autoaugment else []
        plain = _to_tensor(*_CIFAR)
        change = v2.Compose([v2.RandomCrop(32, 4), v2.RandomHorizontalFlip(), *policy, *plain])
        try:
            train = kind(self.root, train=True, transform=change)
            test = kind(self.root, train=False, transform=v2.Compose(plain))
        except (RuntimeError, OSError) as error:
            name = kind.__name__
            command = (
                f"python -c \"from torchvision.datasets import {name} as D; D('{self.root}', download=True)\""
            )
            raise missing(name, self.root, command, reason(error)) from None
        return {"train": train, "val": test, "test": test}


class ImageFolderData(SplitData):
    """Images in ``root/train/CLASS/*`` and ``root/val/CLASS/*`` (ImageNet's usual layout).

    The validation part is also the test part.

    Args:
        root: Folder of ``train`` and ``val``.
        size: Height and width the network sees.
        batch_size: Samples per step and process.
        workers: Loading processes.
        seed: Order and changes of the samples.
    """

    def __init__(
        self,
        root: str = "data/imagenet",
        size: int = 224,
        batch_size: int = 64,
        workers: int = 8,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, workers, seed)
        self.root, self.size = Path(root), size

    def load(self) -> dict[str, Dataset[Any]]:
        from torchvision.datasets import ImageFolder
        from torchvision.transforms import v2

        plain = _to_tensor(*_IMAGENET)
        change = v2.Compose([v2.RandomResizedCrop(self.size), v2.RandomHorizontalFlip(), *plain])
        whole = v2.Compose([v2.Resize(round(self.size * 8 / 7)), v2.CenterCrop(self.size), *plain])
        try:
            train = ImageFolder(self.root / "train", _rgb(change), loader=read_image)
            val = ImageFolder(self.root / "val", _rgb(whole), loader=read_image)
        except OSError as error:  # FileNotFoundError: no folder, no class, no image
            command = (
                f"unpacking the images into {self.root}/train/CLASS/ and {self.root}/val/CLASS/ (ImageNet: "
                "torchvision.datasets.ImageNet does it from the downloaded archives)"
            )
            raise missing("an image folder", self.root, command, reason(error)) from None
        if train.classes != val.classes:
            only = sorted(set(train.classes) ^ set(val.classes))
            raise ParameterError(
                f"{self.root}: train and val must hold the same classes, got {only[0]!r} in one of them "
                "only; add or remove its folder."
            )
        return {"train": train, "val": val, "test": val}


def _rgb(transform: Any) -> Any:
    from torchvision.transforms import v2

    return v2.Compose([v2.Lambda(_as_rgb), transform])


def _as_rgb(image: Any) -> Any:
    return image.convert("RGB")
