"""The equations against hand-worked cases, an exhaustive search over codes, and each other."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from spikejelly_pack.spec import bits, equations
from spikejelly_pack.spec.parameters import NeuronParameters


def greedy(start: float, theta: float, params: NeuronParameters) -> tuple[list[int], float]:
    lsb = equations.least_significant(theta, params.weight_sum)
    thresholds = equations.scaled_weights(params.weights, lsb)
    digits, left = equations.fire_digits(start + lsb * params.half, thresholds)
    return [int(digit) for digit in digits], left


@pytest.mark.parametrize(
    ("start", "rounding", "digits"),
    [
        # T = 3, theta = 7: theta_T = 1, so the code is v_0 floored, or rounded half up.
        (0.0, "floor", [0, 0, 0]),
        (1.0, "floor", [0, 0, 1]),
        (4.0, "floor", [1, 0, 0]),
        (5.9, "floor", [1, 0, 1]),
        (7.0, "floor", [1, 1, 1]),
        (100.0, "floor", [1, 1, 1]),
        (-3.0, "floor", [0, 0, 0]),
        (0.5, "round_half_up", [0, 0, 1]),
        (0.49, "round_half_up", [0, 0, 0]),
        (3.5, "round_half_up", [1, 0, 0]),
        (6.5, "round_half_up", [1, 1, 1]),
    ],
)
def test_hand_worked_digits(start: float, rounding: str, digits: list[int]) -> None:
    params = NeuronParameters(3, rounding=rounding)
    assert greedy(start, 7.0, params)[0] == digits
    code = equations.nearest_code(np.float64(start), 1.0, params.max_code, params.half, np.floor)
    assert int(code) == int("".join(map(str, digits)), 2)


def test_hand_worked_charge_and_decode() -> None:
    # T = 3, tau = 2: q = 4, 2, 1 and Q = 7. The digits 1, 0, 1 are worth (4 + 1) / 7.
    params = NeuronParameters(3)
    assert params.weights == (4.0, 2.0, 1.0)
    assert params.weight_sum == 7.0
    assert equations.charge([1, 0, 1], 2) == 5
    assert equations.charge([Fraction(3), Fraction(-1), Fraction(2)], 2) == 3 * 4 - 2 + 2
    assert equations.decode_digits([1, 0, 1], params.weights, params.weight_sum) == 5 / 7
    assert equations.carry_start(0.5, 0.25, -2.0) == 0.0
    assert equations.residual(6.0, 7.0, 5 / 7) == pytest.approx(1.0)
    assert equations.clamp_symmetric(np.array([-9.0, 1.0, 9.0]), 2.0).tolist() == [-2.0, 1.0, 2.0]


def test_tau_one_and_a_half_by_hand() -> None:
    # tau = 1.5, T = 2: q = 1.5, 1, Q = 2.5; theta = 2.5 makes the thresholds 1.5 and 1.
    params = NeuronParameters(2, tau=1.5, rounding="floor")
    assert [greedy(v, 2.5, params)[0] for v in (0.9, 1.0, 1.49, 1.5, 2.4, 2.5)] == [
        [0, 0],
        [0, 1],
        [0, 1],
        [1, 0],
        [1, 0],
        [1, 1],
    ]


def test_decode_at_tau_one_and_a_half_by_hand() -> None:
    # tau = 1.5, T = 3: q = 2.25, 1.5, 1 and Q = 4.75; every partial sum is exact.
    params = NeuronParameters(3, tau=1.5)
    worth = {
        code: equations.decode_digits(code, params.weights, params.weight_sum)
        for code in itertools.product((0, 1), repeat=3)
    }
    assert worth[0, 1, 1] == 2.5 / 4.75
    assert worth[1, 1, 0] == 3.75 / 4.75
    assert worth == {(a, b, c): (2.25 * a + 1.5 * b + c) / 4.75 for a, b, c in worth}


@pytest.mark.parametrize(("steps", "window"), [(1, 1), (2, 3), (3, 7), (5, 5)])
def test_a_right_aligned_code_is_worth_its_place_in_the_window(steps: int, window: int) -> None:
    """Leading zeros code nothing: the value is that of the same digits among all of the window's."""
    short, long = NeuronParameters(steps), NeuronParameters(window)
    for code in itertools.product((0, 1), repeat=steps):
        digits = equations.right_aligned(code, window, 0)
        assert digits == [0] * (window - steps) + list(code)
        decoded = equations.decode_digits(code, short.weights, short.weight_sum)
        value = equations.window_value(decoded, short.weight_sum, long.weight_sum)
        assert value == equations.decode_digits(digits, long.weights, long.weight_sum)


@given(
    steps=st.integers(1, 7),
    tau=st.sampled_from([1.0625, 1.25, 1.5, 1.75, 1.9375, 2.0]),
    rounding=st.sampled_from(["floor", "round_half_up"]),
    data=st.data(),
)
def test_greedy_is_the_largest_code_below(steps: int, tau: float, rounding: str, data: st.DataObject) -> None:
    # Dyadic tau, thresholds q_t and membranes on a dyadic grid: every float operation here is exact.
    params = NeuronParameters(steps, tau=tau, rounding=rounding)
    limit = math.ceil(sum(params.weights)) + 1
    start = data.draw(st.integers(-limit, 4 * limit)) / 4 + data.draw(st.integers(0, 15)) / 16**6
    digits, left = equations.fire_digits(start + params.half, params.weights)
    available = Fraction(start) + Fraction(params.half)
    fits = [
        code
        for code in itertools.product((0, 1), repeat=steps)
        if sum(Fraction(q) * s for q, s in zip(params.weights, code, strict=True)) <= available
    ]
    best = max(fits, default=(0,) * steps)
    assert tuple(int(digit) for digit in digits) == best
    spent = sum(Fraction(q) * s for q, s in zip(params.weights, best, strict=True))
    assert Fraction(left) == available - spent


@given(
    steps=st.integers(1, 16),
    exponent=st.integers(-8, 8),
    half=st.booleans(),
    multiple=st.integers(-3, 70000),
    nudge=st.sampled_from([-1.0, 0.0, 0.5, 1.0]),
)
@example(steps=8, exponent=0, half=False, multiple=255, nudge=0.0)
@example(steps=4, exponent=0, half=True, multiple=7, nudge=0.5)
def test_closed_form_equals_greedy_where_ties_are_exact(
    steps: int, exponent: int, half: bool, multiple: int, nudge: float
) -> None:
    # theta = Q * 2^k makes every threshold a power of two: multiples of the LSB are exact ties.
    params = NeuronParameters(steps, rounding="round_half_up" if half else "floor")
    lsb = 2.0**exponent
    start = (multiple + nudge * 2.0**-4 if nudge in (-1.0, 1.0) else multiple + nudge) * lsb
    digits, _ = greedy(start, params.weight_sum * lsb, params)
    code = equations.nearest_code(np.float64(start), lsb, params.max_code, params.half, np.floor)
    assert int(code) == equations.charge(digits, 2)


@given(
    steps=st.integers(1, 12),
    theta=st.integers(1, 2**20),
    membrane=st.integers(-(2**33), 2**33),
    half=st.booleans(),
)
def test_integer_code_equals_integer_greedy(steps: int, theta: int, membrane: int, half: bool) -> None:
    value = np.int64(membrane)
    thresholds = [np.int64(theta) << shift for shift in range(steps - 1, -1, -1)]
    digits, _ = equations.fire_digits(value + (theta // 2 if half else 0), thresholds)
    code = equations.integer_code(value, np.int64(theta), (1 << steps) - 1, half)
    assert int(code) == equations.charge([int(digit) for digit in digits], 2)
    if half:
        exact = math.floor(Fraction(membrane + theta // 2, theta))
        assert int(code) == min(max(exact, 0), (1 << steps) - 1)


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("theta", [1, 2, 5, 7])
def test_integer_codes_are_integers(theta: int, half: bool) -> None:
    """Never a fraction that somebody else has to cut off."""
    membranes = np.arange(-20, 130)
    code = equations.integer_code(membranes, np.int64(theta), 15, half)
    assert code.dtype == np.int64
    exact = [math.floor(Fraction(int(v) + (theta // 2 if half else 0), theta)) for v in membranes]
    assert code.tolist() == [min(max(value, 0), 15) for value in exact]


@pytest.mark.parametrize("steps", range(1, 9))
def test_digits_of_a_code_are_its_bits(steps: int) -> None:
    codes = np.arange(1 << steps)
    prefixes = equations.code_prefixes(codes.astype(np.float32), steps, np.floor)
    digits = np.stack(equations.digits_of_prefixes(prefixes))
    assert np.array_equal(digits, bits.unpack(codes, steps))
    assert np.array_equal(prefixes[-1], codes)


def test_infinities_saturate_and_nan_stays() -> None:
    values = np.array([np.inf, -np.inf, np.nan])
    code = equations.nearest_code(values, 0.25, 15, 0.5, np.floor)
    assert code[0] == 15
    assert code[1] == 0
    assert np.isnan(code[2])


@given(
    steps=st.integers(1, 12),
    tau=st.floats(1.01, 2.0),
    theta=st.floats(1e-3, 1e3),
    share=st.floats(0.0, 1.0),
)
def test_residual_is_within_one_digit(steps: int, tau: float, theta: float, share: float) -> None:
    # At tau = 2 the floor residual stays below one LSB; at tau < 2 below the first threshold not fired.
    params = NeuronParameters(steps, tau=tau, rounding="floor")
    digits, left = greedy(share * theta, theta, params)
    assume(0 in digits)
    lsb = theta / params.weight_sum
    unfired = next(q for q, s in zip(reversed(params.weights), reversed(digits), strict=True) if s == 0)
    assert -1e-9 * theta <= left <= unfired * lsb * (1 + 1e-9)
