"""Calibrators against numpy, in one batch or many."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikejelly_pack.recipes.calibration import CALIBRATORS, make_calibrator
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.spec.parameters import NeuronParameters


def values(seed: int, channels: int, scale: float = 1.0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(channels, 4000, generator=generator).exp() * scale
    return x * (torch.rand(channels, 4000, generator=generator) > 0.4)


def threshold(name: str, x: torch.Tensor, cuts: list[int], time_steps: int = 4) -> np.ndarray:
    calibrator = make_calibrator(name, channel_wise=True)
    for part in torch.tensor_split(x, sorted(cuts), dim=1):
        calibrator.observe(part)
    return calibrator.threshold(NeuronParameters(time_steps)).numpy()


@pytest.mark.parametrize("calibrator", [*CALIBRATORS, "99%"])
@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(0, 4000), max_size=4), power=st.integers(-20, 20))
def test_streaming_equals_one_batch(calibrator: str, seed: int, cuts: list[int], power: int) -> None:
    """Exactly, however the data is cut, empty batches included; a larger value may come late."""
    x = values(seed, 2, 2.0**power)
    x[:, -1] = x.max() * 1000
    np.testing.assert_array_equal(threshold(calibrator, x, cuts), threshold(calibrator, x, []))


def test_maximum_and_percentile_are_those_of_numpy() -> None:
    x = values(1, 3)
    np.testing.assert_array_equal(threshold("max", x, [100]), x.numpy().max(1))
    np.testing.assert_array_equal(threshold("100%", x, [100]), x.numpy().max(1))
    for percent in (50.0, 90.0, 99.0, 99.9):
        got = threshold(f"{percent}%", x, [100, 2000])
        for channel, row in enumerate(x.numpy()):
            exact = np.percentile(row[row > 0], percent, method="inverted_cdf")
            assert 0 <= got[channel] - exact <= row.max() / 2048


@pytest.mark.parametrize("time_steps", [1, 2, 4, 6])
def test_squared_error_is_the_least_of_a_fine_search(time_steps: int) -> None:
    """Within half a per cent of the best of 2000 thresholds, and below the maximum's."""
    x = values(2, 2)
    got = threshold("mse", x, [], time_steps)
    top = 2**time_steps - 1

    def error(row: np.ndarray, theta: float) -> float:
        code = np.clip(np.floor(row / (theta / top) + 0.5), 0, top)
        return float(((row - code * theta / top) ** 2).sum())

    for row, theta in zip(x.numpy().astype(np.float64), got, strict=True):
        best = min(error(row, share * row.max()) for share in np.linspace(0.05, 1.05, 2000))
        assert error(row, theta) <= 1.005 * best
        assert error(row, theta) <= error(row, row.max())


@pytest.mark.parametrize("calibrator", CALIBRATORS)
def test_a_silent_channel_has_no_threshold(calibrator: str) -> None:
    x = values(3, 3)
    x[1] = 0
    assert (threshold(calibrator, x, [10]) > 0).tolist() == [True, False, True]


@pytest.mark.parametrize("unknown", ["median", "0%", "101%", "x%", "", None])
def test_unknown_names_are_refused(unknown: Any) -> None:
    with pytest.raises(ParameterError, match="SpikePackRecipe: "):
        make_calibrator(unknown, True)
