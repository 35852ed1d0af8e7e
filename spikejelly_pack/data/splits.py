"""A fixed split of small data held in memory, and the one way scikit-learn's digits are split."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from .scenes import digit_scans

if TYPE_CHECKING:
    from torch import Tensor
    from torch.utils.data import TensorDataset

__all__ = ["TEST_SCANS", "Split", "split_scans"]

TEST_SCANS = 450


@dataclass(frozen=True)
class Split:
    """Training and test samples as tensors, the same on every call and machine.

    Attributes:
        train_inputs: ``[N, *]``, float32.
        train_classes: ``[N]``, int64.
        test_inputs: ``[M, *]``, float32.
        test_classes: ``[M]``, int64.
        num_classes: Number of classes.
        windowed: Samples carry real time: ``[N, W, *]``, to be fed to a network as ``[W, N, *]``.
    """

    train_inputs: Tensor
    train_classes: Tensor
    test_inputs: Tensor
    test_classes: Tensor
    num_classes: int
    windowed: bool = False

    @property
    def train(self) -> TensorDataset:
        """The training samples as a data set of ``(input, class)``."""
        from torch.utils.data import TensorDataset

        return TensorDataset(self.train_inputs, self.train_classes)

    @property
    def test(self) -> TensorDataset:
        """The test samples as a data set of ``(input, class)``."""
        from torch.utils.data import TensorDataset

        return TensorDataset(self.test_inputs, self.test_classes)


@lru_cache(maxsize=1)
def split_scans() -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the training (1,347) and test (450) scans: stratified by digit, always the same.

    Read-only, since all callers share them.
    """
    from sklearn.model_selection import train_test_split

    _, digits = digit_scans()
    first, second = train_test_split(
        np.arange(len(digits)), test_size=TEST_SCANS, stratify=digits, random_state=0
    )
    parts = np.array(first, np.int64), np.array(second, np.int64)
    for array in parts:
        array.setflags(write=False)
    return parts
