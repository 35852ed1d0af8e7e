"""Entropies against published values, brute force and scipy."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import entropy as scipy_entropy
from scipy.stats import norm

from spikejelly_pack.analysis import (
    gaussian_code_entropy,
    gaussian_code_probabilities,
    miller_madow,
    plugin_entropy,
    words,
)
from spikejelly_pack.spec.errors import ParameterError, ShapeError, UnsupportedError
from spikejelly_pack.spec.parameters import NeuronParameters

COUNTS = st.lists(st.integers(0, 1000), min_size=1, max_size=40).filter(any)


@given(counts=COUNTS)
def test_plugin_entropy_is_scipys(counts: list[int], tolerance: Any) -> None:
    found = plugin_entropy(counts)
    assert found == pytest.approx(
        scipy_entropy(counts, base=2), abs=tolerance("float64").between(4 * len(counts) + 8, 10.0)
    )


def test_a_uniform_train_of_t_bits_carries_t_bits() -> None:
    assert plugin_entropy([7] * 16) == 4.0
    assert plugin_entropy([5]) == 0.0


def test_miller_madow_removes_the_first_order_bias() -> None:
    rng = np.random.default_rng(0)
    plain, corrected = [], []
    for _ in range(400):
        counts = np.bincount(rng.integers(0, 16, 100), minlength=16)
        plain.append(plugin_entropy(counts))
        corrected.append(miller_madow(counts))
    # The theory: the plug-in loses (K - 1) / (2 N ln 2) = 0.108 bits of 4; what is left is of order N^-2.
    lost = 15 / (2 * 100 * math.log(2))
    error = 4 * np.std(plain) / math.sqrt(len(plain))
    assert abs(4 - np.mean(plain) - lost) < error + 0.01
    assert abs(4 - np.mean(corrected)) < error + 0.01


def test_words_tell_all_trains_of_three_ternary_steps_apart() -> None:
    trains = np.array(list(product((-1, 0, 1), repeat=3))).T
    assert sorted(words(trains)) == list(range(27))
    assert len(set(words(np.concatenate([trains, trains], axis=1)))) == 27
    with pytest.raises(ShapeError, match="must be \\[T, N\\]"):
        words(np.zeros(3))


@given(
    time_steps=st.integers(1, 8),
    signed=st.booleans(),
    rounding=st.sampled_from(["round_half_up", "floor"]),
    threshold=st.floats(0.1, 4),
    mean=st.floats(-2, 2),
    std=st.floats(0.05, 3),
)
def test_code_probabilities_are_the_gaussian_mass_of_each_code(
    time_steps: int, signed: bool, rounding: str, threshold: float, mean: float, std: float, tolerance: Any
) -> None:
    params = NeuronParameters(time_steps, signed=signed, rounding=rounding)
    found = gaussian_code_probabilities(params, threshold, mean, std)
    # Brute force: the mass of every code from the set of membranes that round to it.
    lsb = threshold / (2**time_steps - 1)
    top = 2**time_steps - 1
    half = 0.5 if rounding == "round_half_up" else 0.0
    expected = []
    for code in range(-top if signed else 0, top + 1):
        low = (abs(code) - half) * lsb if code else -math.inf
        high = (abs(code) + 1 - half) * lsb if abs(code) < top else math.inf
        if code < 0:
            low, high = -high, -low
        if code == 0 and signed:
            low = -high
        expected.append(norm.cdf(high, mean, std) - norm.cdf(low, mean, std))
    # scipy's and our normal distribution each carry a few roundings of a number up to 1.
    assert found == pytest.approx(np.array(expected), abs=tolerance("float64").between(64))
    assert found.sum() == pytest.approx(1.0, abs=tolerance("float64").between(found.size + 1))


def test_a_matched_threshold_nearly_fills_the_code_and_a_wrong_one_does_not() -> None:
    params = NeuronParameters(4)
    assert gaussian_code_entropy(params, 1.0, 0.5, 0.31) > 3.9
    assert gaussian_code_entropy(params, 100.0, 0.5, 0.31) < 0.01
    assert gaussian_code_entropy(params, 1.0, 0.5, 100.0) == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize(
    ("params", "threshold", "std", "error", "says"),
    [
        (NeuronParameters(4, tau=1.5), 1.0, 1.0, UnsupportedError, "tau=1.5"),
        (NeuronParameters(4, leak=0.5), 1.0, 1.0, UnsupportedError, "leak=0.5"),
        (NeuronParameters(4), 0.0, 1.0, ParameterError, "threshold must be positive, got 0.0"),
        (NeuronParameters(4), 1.0, -1.0, ParameterError, "std must be positive, got -1.0"),
    ],
)
def test_what_has_no_closed_form_is_refused(
    params: NeuronParameters, threshold: float, std: float, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        gaussian_code_probabilities(params, threshold, 0.0, std)


@pytest.mark.parametrize("counts", [[], [0, 0], [3, -1]])
def test_counts_of_nothing_are_refused(counts: list[int]) -> None:
    with pytest.raises(ParameterError, match="counts must be nonnegative"):
        plugin_entropy(counts)
