"""The accumulator bound against every input there is, and the widths of the design."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.bounds import Bound, accumulator_bounds, accumulator_widths, check_bounds
from spikejelly_pack.spec.errors import BoundError
from spikejelly_pack.spec.execute import run_packed


def net(
    synapses: list[Any],
    shape: tuple[int, ...],
    time_steps: int,
    signed: bool,
    neuron: dict[str, Any] | None = None,
) -> Any:
    """Input, the synapses, a neuron (its bound is the one under test) and a readout of it."""
    source = g.Input(
        name="x",
        inputs=(),
        threshold=np.ones(1, np.float32),
        shape=shape,
        time_steps=time_steps,
        signed=signed,
    )
    shapes = {"x": shape}
    for op in synapses:
        shapes[op.name] = op.output_shape(*(shapes[name] for name in op.inputs))
    channels = shapes[synapses[-1].name][0]
    constants: dict[str, Any] = {
        "threshold": np.ones(channels, np.int32),
        "bias": np.zeros(channels, np.int32),
    }
    constants |= {"rounding": "floor", "time_steps": time_steps, "state_bits": 32, **(neuron or {})}
    ops = [
        source,
        *synapses,
        g.Neuron(name="n", inputs=(synapses[-1].name,), **constants),
        g.Scale(name="one", inputs=("n",), weight_bits=8, multiplier=np.ones(channels, np.int32)),
        g.Readout(name="out", inputs=("one",), scale=np.ones(channels), bias=np.zeros(channels, np.int32)),
    ]
    return g.Network(ops, time_steps)


def dense(weight: Any, name: str = "fc") -> Any:
    return g.Dense(name=name, inputs=("x",), weight_bits=16, weight=np.asarray(weight, np.int32))


def reached(synapses: list[Any], shape: tuple[int, ...], top: int, signed: bool) -> int:
    """Largest magnitude of a sum over every input there is."""
    size = int(np.prod(shape))
    values = list(itertools.product(range(-top if signed else 0, top + 1), repeat=size))
    currents = {"x": np.array(values, np.int64).reshape(-1, *shape)}
    for op in synapses:
        parts = [currents[name] for name in op.inputs]
        currents[op.name] = sum(parts[1:], parts[0]) if op.kind == "add" else op.apply(parts[0])
    return int(np.abs(currents[synapses[-1].name]).max())


@settings(max_examples=60)
@given(st.lists(st.lists(st.integers(-9, 9), min_size=3, max_size=3), min_size=1, max_size=3), st.booleans())
def test_dense_without_bias_attains_the_bound(weight: list[list[int]], signed: bool) -> None:
    bound = accumulator_bounds(net([dense(weight)], (3,), 2, signed))[0]
    assert bound.magnitude == reached([dense(weight)], (3,), 3, signed)
    positive = max(sum(max(w, 0) for w in row) for row in weight)
    negative = max(sum(max(-w, 0) for w in row) for row in weight)
    total = max(sum(abs(w) for w in row) for row in weight)
    assert bound.magnitude == 3 * (total if signed else max(positive, negative))


@settings(max_examples=30)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.integers(0, 1), st.integers(1, 2), st.booleans())
def test_convolution_attains_the_bound(
    seed: int, signed: bool, padding: int, groups: int, pool: bool
) -> None:
    """One digit, so that all inputs of a small image can be tried; padding counts as zeros."""
    rng = np.random.default_rng(seed)
    weight = rng.integers(-9, 10, size=(2, 2 // groups, 2, 2)).astype(np.int32)
    op: Any = g.Conv2d(name="c", inputs=("x",), weight_bits=8, weight=weight, padding=padding, groups=groups)
    if pool:
        multiplier = rng.integers(-9, 10, size=2).astype(np.int32)
        op = g.AvgPool2d(name="c", inputs=("x",), weight_bits=8, multiplier=multiplier, padding=padding)
    shape = (2, 2, 2)
    bound = accumulator_bounds(net([op], shape, 1, signed))[0]
    assert bound.magnitude == reached([op], shape, 1, signed)


@settings(max_examples=40)
@given(st.integers(0, 2**32 - 1), st.booleans(), st.booleans(), st.integers(1, 9))
def test_no_input_passes_the_bound(seed: int, signed: bool, half: bool, theta: int) -> None:
    """With bias, offset and two branches: the register before firing, over every input."""
    rng = np.random.default_rng(seed)
    weights = [rng.integers(-9, 10, size=(2, 3)) for _ in range(2)]
    bias = rng.integers(-50, 51, size=2).astype(np.int32)
    synapses = [dense(weights[0]), dense(weights[1], "fc2"), g.Add(name="sum", inputs=("fc", "fc2"))]
    network = net(
        synapses,
        (3,),
        2,
        signed,
        {
            "bias": bias,
            "threshold": np.full(2, theta, np.int32),
            "rounding": "round_half_up" if half else "floor",
            "signed": signed,
        },
    )
    bound = accumulator_bounds(network)[0]
    low = -3 if signed else 0
    worst = 0
    for x in itertools.product(range(low, 4), repeat=3):
        for row in range(2):
            current = sum(int(w[row, i]) * x[i] for w in weights for i in range(3))
            membrane = current + int(bias[row])
            offset = theta // 2 if half else 0
            register = (abs(membrane) if signed else membrane) + offset
            worst = max(worst, abs(current), abs(membrane), abs(register))
    assert worst <= bound.magnitude
    both = np.concatenate(weights, axis=1)  # the branches are bounded apart: their sum may arrive in parts
    positive, negative = np.maximum(both, 0).sum(1), np.maximum(-both, 0).sum(1)
    sums = positive + negative if signed else np.maximum(positive, negative)
    assert bound.magnitude == (3 * sums + np.abs(bias)).max() + (theta // 2 if half else 0)


def test_of_equal_bounds_the_first_neuron_is_named() -> None:
    """Half of 5 rounds down to half of 4; a remainder is no part of any register."""
    constants = {"threshold": np.array([4, 5, 5], np.int32), "rounding": "round_half_up"}
    bound = accumulator_bounds(net([dense([[1, 1], [1, 1], [1, 0]])], (2,), 2, False, constants))[0]
    assert (bound.magnitude, bound.neuron) == (2 * 3 + 2, 0)


def test_intermediate_membranes_stay_below_the_bound() -> None:
    """The bound at the end of the window covers the membrane after every digit."""
    rng = np.random.default_rng(3)
    weight = rng.integers(-99, 100, size=(4, 6))
    bound = accumulator_bounds(net([dense(weight)], (6,), 5, True))[0].magnitude
    for _ in range(200):
        membrane = np.zeros(4, np.int64)
        signs = rng.choice([-1, 1], size=6)
        for _ in range(5):
            membrane = 2 * membrane + weight @ (signs * rng.integers(0, 2, size=6))
            assert np.abs(membrane).max() <= bound


def test_bounds_pass_through_the_graph(residual_net: Any) -> None:
    """Every neuron of a deep network, extremes of random inputs included."""
    bounds = {bound.name: bound for bound in accumulator_bounds(residual_net)}
    assert list(bounds) == ["n1", "n2", "n3", "out"]
    assert all(bound.fits for bound in bounds.values())
    rng = np.random.default_rng(0)
    codes = rng.choice([-15, 0, 15], size=(300, 2, 4, 4))
    assert np.abs(run_packed(residual_net, codes)["out"]).max() <= bounds["out"].magnitude
    fc = residual_net.ops["fc"].weight.astype(int)
    sides = np.maximum(np.maximum(fc, 0).sum(1), np.maximum(-fc, 0).sum(1)) * 15
    assert bounds["out"].magnitude == (sides + np.abs(residual_net.ops["out"].bias)).max()


def test_codes_of_shorter_neurons_are_smaller() -> None:
    """A 2-digit neuron drives its consumer by at most 3, whatever the window."""
    network = net([dense([[1]])], (1,), 6, False, {"time_steps": 2})
    assert accumulator_bounds(network)[1].magnitude == 3


@pytest.mark.parametrize("weight", [[2, -3], [-2, 3], [2, 3], [-2, -3]])
def test_unsigned_and_signed_spikes_side_by_side(weight: list[int]) -> None:
    """One side of the interval is longer where only some inputs change sign."""
    one, two = (
        g.Input(name=name, inputs=(), threshold=np.ones(1, np.float32), shape=(1,), signed=name == "b")
        for name in ("a", "b")
    )
    ops = [
        one,
        two,
        g.Concat(name="both", inputs=("a", "b")),
        g.Dense(name="fc", inputs=("both",), weight_bits=8, weight=np.array([weight], np.int32)),
        g.Readout(name="out", inputs=("fc",), scale=np.ones(1), bias=np.zeros(1, np.int32)),
    ]
    worst = max(abs(weight[0] * a + weight[1] * b) for a in range(16) for b in range(-15, 16))
    assert accumulator_bounds(g.Network(ops, 4))[0].magnitude == worst


@pytest.mark.parametrize(
    ("sigmas", "holds"),
    [(None, 3), (3.0, 6), (4.0, 7)],
    ids=["all 127", "int8 at 3 sigma", "int8 at 4 sigma"],
)
def test_time_steps_that_24_bits_hold_at_fan_in_4608(sigmas: float | None, holds: int) -> None:
    """The weights decide: bell-shaped int8 weights whose 127 lies at 3 sigma hold T = 6, not T = 7 or 8."""
    weight = np.full((1, 4608), 127)
    if sigmas is not None:
        normal = np.random.default_rng(0).normal(0, 127 / sigmas, size=weight.shape)
        weight = np.clip(np.rint(normal), -127, 127).astype(int)
    side = max(weight[weight > 0].sum(), -weight[weight < 0].sum(initial=0))
    for time_steps in range(1, 9):
        bound = accumulator_bounds(net([dense(weight)], (4608,), time_steps, False, {"state_bits": 24}))[0]
        assert bound.magnitude == side * (2**time_steps - 1)
        assert bound.fits == (bound.magnitude < 2**23) == (time_steps <= holds)


def test_bits_are_those_of_twos_complement() -> None:
    for magnitude in (0, 1, 127, 128, 8388607, 8388608):
        bits = Bound("n", magnitude, 0, 24).bits
        assert -(2 ** (bits - 1)) <= -magnitude <= magnitude < 2 ** (bits - 1)
        assert magnitude == 0 or magnitude >= 2 ** (bits - 2)


@pytest.mark.parametrize("weight", [[3, 4], [1, 1], [-5, 2], [2, -5], [0, 0], [64, 63]])
@pytest.mark.parametrize("signed", [False, True])
def test_exact_widths_are_enough_and_not_too_many(weight: list[int], signed: bool) -> None:
    """Every input there is: all sums fit the width, and one bit less does not hold the largest of them."""
    network = net([dense([weight])], (2,), 3, signed)
    width = accumulator_widths(network)["n"]
    values = itertools.product(range(-7 if signed else 0, 8), repeat=2)
    sums = [weight[0] * a + weight[1] * b for a, b in values]
    assert all(-(2 ** (width - 1)) <= total < 2 ** (width - 1) for total in sums)
    largest = max(map(abs, sums))
    assert width == 1 or largest >= 2 ** (width - 2)
    assert list(accumulator_widths(network)) == ["n", "out"]


def test_overflow_names_the_neuron_and_the_remedy() -> None:
    weight = np.ones((3, 2), np.int32)
    weight[1] = 30000
    network = net([dense(weight)], (2,), 8, False, {"state_bits": 24})
    text = (
        "neuron 'n': neuron 1 can reach 15300000, which needs 25 bits, but state_bits is 24; use fewer "
        "time steps, narrower weights or a wider state."
    )
    with pytest.raises(BoundError) as caught:
        check_bounds(network)
    assert str(caught.value) == text
    assert check_bounds(net([dense(weight)], (2,), 8, False, {"state_bits": 25}))[0].bits == 25


def test_the_readout_is_held_to_its_width() -> None:
    ops = list(net([dense([[100]])], (1,), 4, False).ops.values())[:-1]
    bias = np.array([2**23 - 15], np.int32)
    last = g.Readout(name="out", inputs=("one",), scale=np.ones(1), bias=bias)
    with pytest.raises(BoundError, match="readout 'out': neuron 0 can reach 8388608, which needs 25 bits"):
        check_bounds(g.Network([*ops, last], 4))
    last = g.Readout(name="out", inputs=("one",), scale=np.ones(1), bias=bias - 1)
    check_bounds(g.Network([*ops, last], 4))
    last = g.Readout(name="out", inputs=("one",), scale=np.ones(1), bias=np.array([-(2**31)], np.int32))
    with pytest.raises(BoundError, match="2147483663"):
        check_bounds(g.Network([*ops, last], 4))
