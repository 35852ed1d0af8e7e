"""Event clips: determinism, balance, the camera, and that the class needs the order of the frames."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.svm import SVC

from spikejelly_pack.data import Split, event_clips, event_digits
from spikejelly_pack.data.events import COUNT_SCALE, simulate_camera
from spikejelly_pack.data.scenes import digit_scans
from spikejelly_pack.data.splits import split_scans
from spikejelly_pack.spec.errors import ParameterError


@pytest.fixture(scope="module")
def split() -> Split:
    return event_digits()


def test_shapes_classes_and_stability(split: Split) -> None:
    """Measured results name a seed: the events behind it must not change unnoticed."""
    assert split.train_inputs.shape == (1347, 8, 2, 16, 16)
    assert split.test_inputs.shape == (450, 8, 2, 16, 16)
    assert split.windowed
    assert split.num_classes == 20
    assert sorted(set(split.test_classes.tolist())) == list(range(20))
    assert 0 < float(split.train_inputs.max()) * COUNT_SCALE <= 255
    found = hashlib.sha256(split.test_inputs.numpy().tobytes()).hexdigest()[:16]
    assert found == "4e565d529209b343"


def test_the_seed_decides_the_arcs_and_the_split_decides_the_scans() -> None:
    _, test = split_scans()
    one, again, other = (event_clips(test, seed=seed) for seed in (3, 3, 4))
    assert np.array_equal(one.frames, again.frames)
    assert not np.array_equal(one.frames, other.frames)
    assert np.array_equal(one.digits, digit_scans()[1][test])
    assert np.array_equal(one.digits, other.digits)
    assert np.array_equal(one.classes, one.digits + 10 * one.turns)


def test_turn_contrast_and_direction_are_balanced_within_every_digit() -> None:
    train, _ = split_scans()
    clips = event_clips(train)
    for digit in range(10):
        kept = clips.digits == digit
        recorded = (clips.turns[kept] ^ clips.backwards[kept]) + 2 * (
            clips.bright[kept] ^ clips.backwards[kept]
        )
        counts = np.bincount(recorded + 4 * clips.backwards[kept], minlength=8)
        assert counts.max() - counts.min() <= 1


def test_frames_sum_to_the_change_of_intensity() -> None:
    """Whatever the film, ON minus OFF events times the threshold is the change seen, within one threshold."""
    rng = np.random.default_rng(0)
    film = np.cumsum(rng.normal(0, 0.2, (2, 9, 4, 5)), 1)
    counts = simulate_camera(film, 4, rng)
    assert counts.shape == (2, 2, 2, 4, 5)
    change = counts[:, :, 0].sum(1) - counts[:, :, 1].sum(1)
    assert np.all(np.abs(change * 0.3 - (film[:, -1] - film[:, 0])) < 0.3)


def test_one_pixel_by_hand() -> None:
    film = np.array([0.0, 0.31, 0.5, 0.95, 0.95, 0.29]).reshape(1, 6, 1, 1)
    counts = simulate_camera(film, 1, np.random.default_rng(0))
    # references 0 -> 0.3 -> 0.3 -> 0.9 -> 0.9 -> 0.3
    assert counts[0, :, 0, 0, 0].tolist() == [1, 0, 2, 0, 0]
    assert counts[0, :, 1, 0, 0].tolist() == [0, 0, 0, 0, 2]


def test_a_still_scene_gives_noise_only() -> None:
    scans = split_scans()[1][:20]
    assert event_clips(scans, noise=0.0).frames.any()
    film = np.ones((3, 9, 4, 4))
    assert not simulate_camera(film, 4, np.random.default_rng(0), mismatch=0.03).any()


def _turn_accuracy(split: Split, view: Callable[[NDArray[np.float32]], NDArray[np.float32]]) -> float:
    """Share of test clips whose turn a radial-basis support vector machine tells from a view."""
    train, test = (
        view(inputs.numpy()).reshape(len(inputs), -1) for inputs in (split.train_inputs, split.test_inputs)
    )
    machine = SVC(C=10.0).fit(train, split.train_classes.numpy() // 10)
    return float(machine.score(test, split.test_classes.numpy() // 10))


def test_the_turn_needs_the_order_of_the_frames(split: Split) -> None:
    """The same classifier: nearly always right on the sequence, a coin flip on its sum over time."""
    guess = 4 * 0.5 / math.sqrt(len(split.test_classes))  # four standard deviations of a coin flip's share
    assert _turn_accuracy(split, lambda frames: frames.sum(2)) > 0.95
    assert abs(_turn_accuracy(split, lambda frames: frames.sum(1)) - 0.5) < guess
    assert abs(_turn_accuracy(split, lambda frames: frames[:, 4]) - 0.5) < guess


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"windows": 1}, "event_digits: windows must be an integer >= 2, got 1"),
        ({"size": 10}, "event_digits: size must be an integer >= 14, got 10"),
        ({"noise": -1.0}, "event_digits: noise must be a number >= 0, got -1.0"),
        ({"noise": math.nan}, "event_digits: noise must be a number >= 0, got nan"),
    ],
)
def test_parameters_out_of_range(options: dict[str, float], sentence: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(sentence)):
        event_digits(**options)  # pyright: ignore[reportArgumentType]
