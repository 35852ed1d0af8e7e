"""Exact integer forms at the limits: sums of signed codes, registers that just hold, readouts."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikejelly_pack.integer.grid import decide, exact_population, exact_readout
from spikejelly_pack.integer.values import Branch, Spikes
from spikejelly_pack.spec.errors import BoundError
from spikejelly_pack.spec.parameters import NeuronParameters


def branch(weights: np.ndarray, step: float, max_code: int, signed: bool) -> Branch:
    """A dense synapse whose weights are ``step`` times whole numbers ``[C, K]``."""
    source = Spikes("input", np.ones(weights.shape[1]), (weights.shape[1],), max_code, signed)
    return Branch("dense", "fc", source, weights * step, "weight", weights.shape)


@given(
    weights=st.lists(st.integers(-5, 5), min_size=1, max_size=3), signed=st.booleans(),
    step=st.floats(0.05, 2.0), unit=st.floats(0.2, 6.0), bias=st.floats(-8.0, 8.0), steps=st.integers(1, 3),
)  # fmt: skip
def test_every_sum_is_decided_as_in_real_arithmetic(
    weights: list[int], signed: bool, step: float, unit: float, bias: float, steps: int
) -> None:
    """All inputs, by rational arithmetic; signed codes reach sums on both sides."""
    parameters, rows = NeuronParameters(steps), np.array([weights])
    synapse = branch(rows, step, 3, signed)
    try:
        found = exact_population("n", [synapse], [8], np.array([bias]), np.array([unit]), parameters, 32)
    except BoundError:
        return
    threshold, whole = int(found.threshold[0]), found.weights[0][0]
    # what the real weights are: the common step that was found in them
    used = Fraction(float(rows[0] @ synapse.rows[0] / (rows[0] @ rows[0]))) if rows.any() else Fraction(0)
    for codes in itertools.product(range(-3 if signed else 0, 4), repeat=len(weights)):
        real = (int(rows[0] @ codes) * used + Fraction(bias)) / Fraction(unit) + Fraction(1, 2)
        if abs(real - round(real)) < Fraction(1, 10**9):
            continue  # the step of lowest terms may be another float
        got = (int(whole @ codes) + int(found.bias[0]) + threshold // 2) // threshold
        top = parameters.max_code
        assert min(max(got, 0), top) == min(max(math.floor(real), 0), top)


def test_register_holds_sum_bias_and_rounding_offset() -> None:
    """Largest sum 900, bias 3, offset 6: 909 suffices, 908 does not."""
    assert decide(12.0, 3.0, -100, 900, NeuronParameters(4), (1, 1 << 20, 909)) is not None
    assert decide(12.0, 3.0, -100, 900, NeuronParameters(4), (1, 1 << 20, 908)) is None


def test_threshold_and_factor_limits() -> None:
    """An LSB of 2.5 weights needs factor 2 and threshold 5."""
    found = decide(2.5, 0.0, 0, 40, NeuronParameters(3), (2, 5, 1 << 20))
    assert found is not None
    assert (found.factor, found.threshold) == (2, 5)
    assert decide(2.5, 0.0, 0, 40, NeuronParameters(3), (1, 5, 1 << 20)) is None
    assert decide(2.5, 0.0, 0, 40, NeuronParameters(3), (2, 4, 1 << 20)) is None


@pytest.mark.parametrize("peak", [1, 3, 7, 50, 63, 64, 100, 127])
@pytest.mark.parametrize("step", [0.1, 1 / 3, 0.7])
def test_readout_uses_all_of_its_width(peak: int, step: float) -> None:
    """The weights' own integers times the largest factor that the declared width holds."""
    weights = np.array([[peak, -1, 0]])
    found = exact_readout("r", [branch(weights, step, 15, False)], [8], np.array([0.23]), 32)
    factor = 127 // peak
    np.testing.assert_array_equal(found.weights[0], weights * factor)
    assert found.scale[0] == pytest.approx(step / factor, rel=1e-9)
    assert int(found.bias[0]) == round(0.23 * factor / step)


def test_readout_in_a_narrow_register_gives_up_its_grid() -> None:
    """Whole weights up to 100 at fan-in 40 and codes to 255 need 20 bits; 16 bits hold coarser ones only."""
    weights = np.tile([100, -99], 20)[None]
    synapse = branch(weights, 0.01, 255, False)
    wide = exact_readout("r", [synapse], [8], np.zeros(1), 24)
    np.testing.assert_array_equal(wide.weights[0], weights)
    narrow = exact_readout("r", [synapse], [8], np.zeros(1), 16)
    row = narrow.weights[0][0]
    assert max(row.clip(min=0).sum(), (-row).clip(min=0).sum()) * 255 <= 2**15 - 1
    assert narrow.scale[0] > wide.scale[0]
