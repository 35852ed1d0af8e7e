"""scikit-learn's scanned digits (UCI, 8 x 8 pixels) with a fixed split; nothing is downloaded."""

from __future__ import annotations

from .scenes import digit_scans
from .splits import Split, split_scans

__all__ = ["digits"]


def digits() -> Split:
    """1,797 real 8x8 images in 0..1, ``[N, 1, 8, 8]``: 1,347 to train, 450 to test, stratified by digit.

    Returns:
        The split; ten classes, no real time.
    """
    import torch

    scans, classes = digit_scans()
    images = torch.tensor(scans).float().unsqueeze(1)
    targets = torch.tensor(classes)
    first, second = (torch.tensor(indices) for indices in split_scans())
    return Split(images[first], targets[first], images[second], targets[second], num_classes=10)
