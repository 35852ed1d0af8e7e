"""The data that come with the package: scanned digits and event clips of them."""

from __future__ import annotations

from typing import Any, Literal

from torch.utils.data import Dataset

from ...data import digits, event_digits
from .augment import Augmented, shift
from .base import SplitData, hold_out

__all__ = ["EmbeddedData"]


class EmbeddedData(SplitData):
    """Scikit-learn's digits, or event clips of moving digits (W = 8 real time steps).

    Args:
        source: ``"digits"`` or ``"events"``.
        batch_size: Samples per step and process.
        validation: Share of the training part held out to choose the checkpoint.
        augment: Shift training images by up to one pixel.
        workers: Loading processes.
        seed: Order of the samples, shifts, held-out samples.
    """

    def __init__(
        self,
        source: Literal["digits", "events"] = "digits",
        batch_size: int = 64,
        validation: float = 0.1,
        augment: bool = True,
        workers: int = 0,
        seed: int = 0,
    ) -> None:
        super().__init__(batch_size, workers, seed)
        self.source, self.validation, self.augment = source, validation, augment

    def load(self) -> dict[str, Dataset[Any]]:
        """The parts; the split of the package, and a validation part out of training."""
        split = digits() if self.source == "digits" else event_digits()
        train, val = hold_out(split.train, self.validation, self.seed)
        return {"train": Augmented(train, shift) if self.augment else train, "val": val, "test": split.test}
