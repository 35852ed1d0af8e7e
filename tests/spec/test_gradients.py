"""The straight-through gradients against hand values and finite differences of the surrogate they state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from spikejelly_pack.spec import gradients

STEP = 1e-6
# Central difference of a piecewise smooth function of size ~1: error STEP^2 + u / STEP, times 100.
BOUND = 1e-7


def ramp(start: float, theta: float, signed: bool) -> float:
    return float(np.clip(start / theta, -1.0 if signed else 0.0, 1.0))


def slope(function, point: float) -> float:  # noqa: ANN001
    return (function(point + STEP) - function(point - STEP)) / (2 * STEP)


def away_from_kinks(start: float, theta: float) -> None:
    assume(min(abs(start), abs(start - theta), abs(start + theta)) > 1e-3)


starts = st.floats(-4.0, 4.0)
thetas = st.floats(0.5, 2.0)


@given(start=starts, theta=thetas, signed=st.booleans())
def test_unit_output(start: float, theta: float, signed: bool) -> None:
    away_from_kinks(start, theta)
    v, h = np.float64(start), np.float64(theta)
    inside = gradients.inside_window(v, h, signed)
    assert gradients.start_gradient(1.0, inside, h, False) == pytest.approx(
        slope(lambda x: ramp(x, theta, signed), start), abs=BOUND
    )
    assert gradients.unit_theta_slope(v, h, inside) == pytest.approx(
        slope(lambda x: ramp(start, x, signed), theta), abs=BOUND
    )


@given(start=starts, theta=thetas, signed=st.booleans(), error=st.floats(-0.03, 0.03))
def test_scaled_output(start: float, theta: float, signed: bool, error: float) -> None:
    # Surrogate: theta * (ramp + the rounding error of the code, held constant).
    away_from_kinks(start, theta)
    v, h = np.float64(start), np.float64(theta)
    inside = gradients.inside_window(v, h, signed)
    held = error if inside else 0.0
    decoded = ramp(start, theta, signed) + held
    above = gradients.saturated_sign(v, h, signed)
    assert gradients.start_gradient(1.0, inside, h, True) == pytest.approx(
        slope(lambda x: theta * (ramp(x, theta, signed) + held), start), abs=BOUND
    )
    assert gradients.scaled_theta_slope(v, h, decoded, inside, above) == pytest.approx(
        slope(lambda x: x * (ramp(start, x, signed) + held), theta), abs=BOUND
    )


@given(start=starts, theta=thetas, signed=st.booleans(), membrane=st.booleans(), error=st.floats(-0.03, 0.03))
def test_carry(start: float, theta: float, signed: bool, membrane: bool, error: float) -> None:
    away_from_kinks(start, theta)
    v, h = np.float64(start), np.float64(theta)
    inside = gradients.inside_window(v, h, signed)
    held = error if inside else 0.0
    decoded = ramp(start, theta, signed) + held

    def unclamped(x: float, y: float) -> float:
        return x if membrane else x - y * (ramp(x, y, signed) + held)

    def carry(x: float, y: float) -> float:
        return float(np.clip(unclamped(x, y), -y, y))

    left = np.float64(unclamped(start, theta))
    assume(min(abs(left - theta), abs(left + theta)) > 1e-3)
    above = gradients.saturated_sign(v, h, signed)
    assert float(gradients.carry_slope(left, h, inside, membrane)) == pytest.approx(
        slope(lambda x: carry(x, theta), start), abs=BOUND
    )
    assert gradients.carry_theta_slope(v, left, h, decoded, inside, above, membrane) == pytest.approx(
        slope(lambda y: carry(start, y), theta), abs=BOUND
    )


def test_by_hand() -> None:
    # theta = 2; below, lower end, inside, upper end, above: the ends belong to the window.
    v, h = np.array([-1.0, 0.0, 0.5, 2.0, 3.0]), np.float64(2.0)
    inside = gradients.inside_window(v, h, False)
    assert inside.tolist() == [False, True, True, True, False]
    assert gradients.inside_window(-v, h, True).tolist() == [True, True, True, True, False]
    assert gradients.start_gradient(3.0, inside, h, False).tolist() == [0, 1.5, 1.5, 1.5, 0]
    assert gradients.start_gradient(3.0, inside, h, True).tolist() == [0, 3, 3, 3, 0]
    assert gradients.unit_theta_slope(v, h, inside).tolist() == [0, 0, -0.125, -0.5, 0]
    decoded = np.array([0.0, 0.0, 1 / 3, 1.0, 1.0])
    above = gradients.saturated_sign(v, h, False)
    assert above.tolist() == [0, 0, 0, 0, 1]
    assert gradients.saturated_sign(v * 3, h, True).tolist() == [-1, 0, 0, 1, 1]
    slopes = gradients.scaled_theta_slope(v, h, decoded, inside, above)
    assert slopes.tolist() == pytest.approx([0, 0, 1 / 3 - 0.25, 0, 1])
    # Residuals -1, 0, -1/6, 0, 1 of theta = 2: nothing is clamped; membrane 3 is.
    left = v - h * decoded
    assert gradients.carry_slope(left, h, inside, False).tolist() == [True, False, False, False, True]
    assert gradients.carry_slope(v, h, inside, True).tolist() == [True, True, True, True, False]


def test_the_ends_of_the_clamp_belong_to_it() -> None:
    """A carry that lies on the clamp passes unclamped, as torch's clamp has it."""
    h, left = np.float64(2.0), np.array([-2.5, -2.0, 0.5, 2.0, 2.5])
    inside, above = np.zeros(5, bool), np.array([-1, -1, 0, 1, 1])
    assert gradients.carry_slope(left, h, inside, True).tolist() == [False, True, True, True, False]
    assert gradients.carry_slope(left, h, inside, False).tolist() == [False, True, True, True, False]
    slopes = gradients.carry_theta_slope(left, left, h, np.zeros(5), inside, above, True)
    assert slopes.tolist() == [-1, 0, 0, 0, 1]
    slopes = gradients.carry_theta_slope(left, left, h, np.zeros(5), inside, above, False)
    assert slopes.tolist() == [-1, 1, 0, -1, 1]


@given(
    start=st.floats(allow_nan=False, width=32),
    theta=st.floats(2.0**-20, 2.0**20, width=32),
    signed=st.booleans(),
    end=st.sampled_from([None, -1, 0, 1]),
    nudge=st.sampled_from([-1, 0, 1]),
)
def test_the_mask_without_comparison_is_the_mask(
    start: float, theta: float, signed: bool, end: int | None, nudge: int
) -> None:
    h = np.float32(theta)
    v = np.float32(start) if end is None else np.float32(end) * h
    v = np.nextafter(v, np.float32(nudge * np.inf)) if nudge else v
    number = gradients.inside_number(v, h, signed, np.sign)
    assert number == float(gradients.inside_window(v, h, signed))


def test_infinite_membranes_have_finite_gradients() -> None:
    v, h = np.array([np.inf, -np.inf]), np.float64(1.0)
    for signed in (False, True):
        inside = gradients.inside_window(v, h, signed)
        above = gradients.saturated_sign(v, h, signed)
        assert gradients.start_gradient(1.0, inside, h, False).tolist() == [0, 0]
        assert gradients.unit_theta_slope(v, h, inside).tolist() == [0, 0]
        expected = [1, -1 if signed else 0]
        assert gradients.scaled_theta_slope(v, h, np.array(expected), inside, above).tolist() == expected


@given(
    weights=st.lists(st.floats(0.5, 8.0), min_size=1, max_size=8), factor=st.floats(-3.0, 3.0), data=st.data()
)
def test_digit_gradient_inverts_an_affine_consumer(
    weights: list[float], factor: float, data: st.DataObject
) -> None:
    # A consumer of the decoded value hands each digit the gradient factor * q_t / Q.
    total = sum(weights)
    digits = [factor * weight / total for weight in weights]
    assert gradients.digit_gradient(digits, weights, total) == pytest.approx(factor, rel=1e-12, abs=1e-12)
