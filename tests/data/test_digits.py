"""The embedded digits: the fixed split, and what it is made of."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from spikejelly_pack.data import digits
from spikejelly_pack.data.events import event_clips
from spikejelly_pack.data.scenes import digit_scans
from spikejelly_pack.data.splits import split_scans


def test_every_scan_is_in_one_part_and_unchanged() -> None:
    pixels, targets = load_digits(return_X_y=True)
    train, test = split_scans()
    assert sorted([*train, *test]) == list(range(1797))
    split = digits()
    for indices, inputs, classes in (
        (train, split.train_inputs, split.train_classes),
        (test, split.test_inputs, split.test_classes),
    ):
        assert np.array_equal(inputs.flatten(1).numpy() * 16, pixels[indices])
        assert np.array_equal(classes.numpy(), targets[indices])
    assert split.num_classes == 10
    assert not split.windowed


def test_what_callers_get_cannot_change_what_others_get() -> None:
    """The arrays are made once and handed out; those in tensors and clips are copies."""
    for array in (*digit_scans(), *split_scans()):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    digits().train_classes.zero_()
    assert digits().train_classes.any()
    scans = np.arange(3)
    clips = event_clips(scans, windows=2)
    scans[0] = 7
    assert clips.scans.tolist() == [0, 1, 2]


def test_split_is_stratified_and_stays_what_it_was() -> None:
    split = digits()
    shares = np.bincount(load_digits(return_X_y=True)[1]) * 450 / 1797
    assert split.test_classes.bincount().tolist() == pytest.approx(shares, abs=1)
    found = hashlib.sha256(split.test_inputs.numpy().tobytes()).hexdigest()[:16]
    assert found == "bc8819bdde72cd7b"


def test_parts_are_torch_data_sets() -> None:
    split = digits()
    assert (len(split.train), len(split.test)) == (1347, 450)
    image, digit = split.test[3]
    assert image.shape == (1, 8, 8)
    assert image.dtype == torch.float32
    assert digit == split.test_classes[3]
