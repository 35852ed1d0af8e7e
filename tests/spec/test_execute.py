"""The integer reference against loops over single values, long division and exact fractions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.bits import code_dtype, unpack
from spikejelly_pack.spec.equations import fire_digit
from spikejelly_pack.spec.errors import DtypeError, ParameterError, ShapeError, UnsupportedError
from spikejelly_pack.spec.execute import as_inputs, encode, outputs, run_packed, run_serial_multi_step
from spikejelly_pack.spec.stream import run_serial_single_step


def dense_net(weight: Any, time_steps: int = 4, input_steps: int | None = None, **neuron: Any) -> Any:
    """Input -> dense -> neuron -> readout that shows the code."""
    weight = np.asarray(weight, np.int32)
    out, width = weight.shape
    constants = {
        "threshold": np.ones(out, np.int32),
        "bias": np.zeros(out, np.int32),
        "time_steps": time_steps,
    }
    source = g.Input(
        name="x",
        inputs=(),
        threshold=np.ones(1, np.float32),
        shape=(width,),
        time_steps=input_steps or time_steps,
        signed=True,
    )
    ops = [
        source,
        g.Dense(name="fc", inputs=("x",), weight_bits=16, weight=weight),
        g.Neuron(name="n", inputs=("fc",), **{**constants, "state_bits": 32, **neuron}),
        g.Scale(name="one", inputs=("n",), weight_bits=8, multiplier=np.ones(out, np.int32)),
        g.Readout(name="out", inputs=("one",), scale=np.ones(out), bias=np.zeros(out, np.int32)),
    ]
    return g.Network(ops, max(time_steps, input_steps or 1))


def test_forms_agree_on_random_networks(net_builder: Any, interpreter: Callable[..., Any]) -> None:
    """Packed, multi-step, single-step in one and several streams, and loops over Python integers."""
    seen: set[str] = set()

    @settings(max_examples=120)
    @given(st.data(), st.integers(1, 4))
    def check(data: st.DataObject, samples: int) -> None:
        builder = net_builder(data.draw)
        network = builder.network()
        codes = builder.codes(network, samples)
        balanced = network.balanced()
        packed = run_packed(network, codes)
        expected = interpreter(network, codes)
        assert {name: value.tolist() for name, value in packed.items()} == expected
        runs = [run_serial_multi_step(network, codes), run_packed(balanced, codes)]
        runs += [run_serial_single_step(balanced, codes, streams=n) for n in (1, samples + 1, 2)]
        for run in runs:
            assert list(run) == list(packed)
            for name, value in packed.items():
                np.testing.assert_array_equal(run[name], value, strict=True, err_msg=name)
        seen.update(op.kind for op in balanced.ops.values())

    check()
    assert seen == set(g.OPS)  # the strategy reaches every kind of operation


@settings(max_examples=60)
@given(st.data())
def test_convolution_is_the_sum_of_its_taps(data: st.DataObject) -> None:
    """Stride, padding, dilation and groups, each axis on its own, against six loops."""

    def draw(low: int, high: int) -> int:
        return int(data.draw(st.integers(low, high)))

    rng = np.random.default_rng(draw(0, 2**32 - 1))
    groups, depth, per_group = draw(1, 3), draw(1, 2), draw(1, 2)
    (kh, kw), stride, padding = (draw(1, 3), draw(1, 3)), (draw(1, 3), draw(1, 3)), (draw(0, 2), draw(0, 2))
    dilation = (draw(1, 2), draw(1, 2))
    height, width = draw(dilation[0] * (kh - 1) + 1, 7), draw(dilation[1] * (kw - 1) + 1, 7)
    weight = rng.integers(-128, 128, size=(groups * per_group, depth, kh, kw)).astype(np.int32)
    op = g.Conv2d(
        name="c",
        inputs=("x",),
        weight_bits=8,
        weight=weight,
        groups=groups,
        stride=stride,
        padding=padding,
        dilation=dilation,
    )
    x = rng.integers(-15, 16, size=(2, groups * depth, height, width)).astype(np.int8)
    got = op.apply(x)
    assert got.dtype == np.int64
    assert got.shape[1:] == op.output_shape(x.shape[1:])
    for n, o, row, column in np.ndindex(*got.shape):
        total = 0
        for k, i, j in np.ndindex(depth, kh, kw):
            h = row * stride[0] + i * dilation[0] - padding[0]
            w = column * stride[1] + j * dilation[1] - padding[1]
            if 0 <= h < height and 0 <= w < width:
                total += int(weight[o, k, i, j]) * int(x[n, (o // per_group) * depth + k, h, w])
        assert got[n, o, row, column] == total


def test_convolution_in_pieces_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long batches are unfolded some samples at a time."""
    rng = np.random.default_rng(0)
    weight = rng.integers(-9, 9, size=(4, 2, 3, 3)).astype(np.int32)
    op = g.Conv2d(name="c", inputs=("x",), weight_bits=8, weight=weight, groups=2)
    x = rng.integers(0, 16, size=(7, 4, 5, 5))
    whole = op.apply(x)
    monkeypatch.setattr("spikejelly_pack.spec.graph.conv2d._CHUNK", 2 * 4 * 9 * 9 + 1)
    np.testing.assert_array_equal(op.apply(x), whole, strict=True)


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"),
    [((2, 2), (2, 2), (0, 0)), ((3, 2), (1, 2), (1, 0)), ((3, 3), (2, 1), (2, 2)), ((1, 1), (3, 3), (0, 1))],
)
def test_average_pooling_is_a_scaled_window_sum(kernel: Any, stride: Any, padding: Any) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(0, 256, size=(2, 3, 6, 7)).astype(np.uint8)
    m = np.array([3, -7, 127], np.int32)
    op = g.AvgPool2d(
        name="p", inputs=("x",), weight_bits=8, multiplier=m, kernel=kernel, stride=stride, padding=padding
    )
    got = op.apply(x)
    assert got.shape[1:] == op.output_shape((3, 6, 7))
    for n, c, row, column in np.ndindex(*got.shape):
        total = 0
        for i, j in np.ndindex(*kernel):
            h, w = row * stride[0] + i - padding[0], column * stride[1] + j - padding[1]
            total += int(x[n, c, h, w]) if 0 <= h < 6 and 0 <= w < 7 else 0
        assert got[n, c, row, column] == total * int(m[c])


def test_matmul_is_exact_at_the_largest_weights_and_codes() -> None:
    """16-bit weights times 16-digit codes at fan-in 4608 pass 2^31 and stay exact."""
    weight = np.full((1, 4608), -(1 << 15), np.int32)
    op = g.Dense(name="fc", inputs=("x",), weight_bits=16, weight=weight)
    x = np.full((1, 4608), (1 << 16) - 1, np.uint16)
    x[0, 0] -= 1
    assert op.apply(x).tolist() == [[-(1 << 15) * (4608 * ((1 << 16) - 1) - 1)]]


@settings(max_examples=300)
@given(
    st.integers(-(2**22), 2**22),
    st.integers(1, 2**11),
    st.integers(1, 12),
    st.booleans(),
    st.sampled_from(["round_half_up", "floor"]),
)
def test_code_is_exact_and_digits_are_long_division(
    membrane: int, theta: int, steps: int, signed: bool, rounding: str
) -> None:
    """All three forms of one neuron against fractions, and its digits against schoolbook division."""
    network = dense_net(
        [[1]],
        steps,
        input_steps=1,
        threshold=np.array([theta], np.int32),
        bias=np.array([membrane], np.int32),
        signed=signed,
        rounding=rounding,
    )
    magnitude = abs(membrane) if signed else membrane
    offset = Fraction(theta // 2) if rounding == "round_half_up" else Fraction(0)
    exact = min(max(math.floor((magnitude + offset) / theta), 0), 2**steps - 1)
    code = -exact if signed and membrane < 0 else exact
    zero = np.zeros((1, 1), np.int8)
    for run in (run_packed, run_serial_multi_step, run_serial_single_step):
        assert run(network, zero)["n"].tolist() == [[code]]
    rest, digits = magnitude + offset, []
    for t in range(1, steps + 1):  # how often theta * 2^(T-t) goes into what is left, at most once
        goes = min(max(rest // (theta * 2 ** (steps - t)), 0), 1)
        rest -= goes * theta * 2 ** (steps - t)
        digits.append(int(goes))
    sign = int(math.copysign(1, membrane)) if signed else 1
    assert unpack(np.array(code), steps).tolist() == [sign * digit for digit in digits]


def test_a_membrane_on_the_threshold_fires() -> None:
    """``>=``: a strict comparison misses every exact integer."""
    spike, rest = fire_digit(np.array([7, 8, 9]), 8)
    assert spike.tolist() == [False, True, True]
    assert rest.tolist() == [7, 0, 1]
    network = dense_net([[8]], 4, threshold=np.array([8], np.int32), rounding="floor")
    codes = np.arange(16).reshape(16, 1)
    for run in (run_packed, run_serial_multi_step, run_serial_single_step):
        assert run(network, codes)["n"].ravel().tolist() == list(range(16))


def test_halves_round_away_from_zero() -> None:
    network = dense_net([[1]], 4, threshold=np.array([2], np.int32), signed=True)
    codes = np.array([[-5], [-3], [-1], [0], [1], [3], [5]])
    for run in (run_packed, run_serial_multi_step, run_serial_single_step):
        assert run(network, codes)["n"].ravel().tolist() == [-3, -2, -1, 0, 1, 2, 3]


def test_short_codes_are_right_aligned() -> None:
    """A neuron with 2 digits in a window of 4 is silent first; its consumer sees the code, not a multiple."""
    network = dense_net([[1]], 2, input_steps=4)
    codes = np.array([[1], [2], [3], [9]])
    for run in (run_packed, run_serial_multi_step, run_serial_single_step):
        result = run(network, codes)
        assert result["n"].ravel().tolist() == [1, 2, 3, 3]
        assert result["out"].ravel().tolist() == [1, 2, 3, 3]


@pytest.mark.parametrize("run", [run_packed, run_serial_multi_step, run_serial_single_step])
def test_empty_and_single_batches(run: Any, residual_net: Any) -> None:
    empty = run(residual_net, np.zeros((0, 2, 4, 4), np.int8))
    single = run(residual_net, np.ones((1, 2, 4, 4), np.int8))
    for name, value in empty.items():
        assert value.shape == (0, *residual_net.shapes[name])
        assert single[name].shape == (1, *residual_net.shapes[name])
        assert value.dtype == single[name].dtype


def test_dtypes_do_not_depend_on_the_caller(residual_net: Any) -> None:
    codes = np.random.default_rng(0).integers(-15, 16, size=(3, 2, 4, 4))
    for run in (run_packed, run_serial_multi_step, run_serial_single_step):
        first, second = run(residual_net, codes.astype(np.int64)), run(residual_net, codes.astype(np.int8))
        for name, value in first.items():
            np.testing.assert_array_equal(value, second[name], strict=True)
        assert first["x"].dtype == code_dtype(4, signed=True)
        assert first["out"].dtype == np.int64


@settings(max_examples=100)
@given(
    st.lists(st.floats(-4, 4, width=32), min_size=1, max_size=8),
    st.integers(1, 8),
    st.booleans(),
    st.sampled_from(["round_half_up", "floor"]),
)
def test_encoder_is_the_nearest_code(values: list[float], steps: int, signed: bool, rounding: str) -> None:
    """At a threshold of Q / 4 the LSB is 1/4 exactly, so fractions are the oracle."""
    top = 2**steps - 1
    op = g.Input(
        name="x",
        inputs=(),
        threshold=np.array([top / 4], np.float32),
        shape=(len(values),),
        time_steps=steps,
        signed=signed,
        rounding=rounding,
    )
    values = [round(value * 8) / 8 for value in values]  # eighths: ties are exact
    got = encode(op, np.array([values]))
    assert got.dtype == code_dtype(steps, signed)
    offset = Fraction(1, 2) if rounding == "round_half_up" else Fraction(0)
    for value, code in zip(values, got[0].tolist(), strict=True):
        magnitude = abs(Fraction(value)) if signed else Fraction(value)
        expected = min(max(math.floor(magnitude * 4 + offset), 0), top)
        assert code == (-expected if signed and value < 0 else expected)


def test_encoder_per_channel_and_at_the_ends() -> None:
    op = g.Input(
        name="x", inputs=(), threshold=np.array([15, 30], np.float32), shape=(2, 2), time_steps=4, signed=True
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = encode(op, np.array([[[6.0, np.inf], [6.0, -1e300]]]))
    assert got.tolist() == [[[6, 15], [3, -15]]]
    assert encode(op, np.zeros((0, 2, 2))).shape == (0, 2, 2)


def test_outputs_scale_the_membranes(residual_net: Any) -> None:
    result = run_packed(residual_net, np.ones((2, 2, 4, 4), np.int8))
    real = outputs(residual_net, result)
    assert real["out"].dtype == np.float64
    np.testing.assert_array_equal(real["out"], result["out"] / 4)


@pytest.mark.parametrize(
    ("codes", "error", "text"),
    [
        (np.zeros((1, 2, 4, 4)), DtypeError, "codes must be integers, got dtype float64"),
        (np.zeros((1, 2, 4, 4), bool), DtypeError, "codes must be integers, got dtype bool"),
        (np.zeros((2, 4, 4), int), ShapeError, r"codes must have shape \[N, 2, 4, 4\], got \(2, 4, 4\)"),
        (np.zeros((), int), ShapeError, r"got \(\)"),
        (np.full((1, 2, 4, 4), 16), DtypeError, r"codes must be in -15..15, got 16..16"),
        (np.full((1, 2, 4, 4), -16), DtypeError, r"got -16..-16"),
        ({}, ShapeError, "input 'x': its codes are missing"),
        ({"x": np.zeros((1, 2, 4, 4), int), "z": 1, "y": 1}, ShapeError, r"got codes for \['y', 'z'\]"),
    ],
)
def test_bad_codes_are_named(residual_net: Any, codes: Any, error: type[Exception], text: str) -> None:
    for run in (as_inputs, run_packed, run_serial_multi_step, run_serial_single_step):
        with pytest.raises(error, match=text):
            run(residual_net, codes)


def test_a_negative_code_of_an_unsigned_input_is_named() -> None:
    op = g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1,), time_steps=4)
    readout = g.Readout(name="out", inputs=("s",), scale=np.ones(1), bias=np.zeros(1, np.int32))
    scale = g.Scale(name="s", inputs=("x",), weight_bits=8, multiplier=np.ones(1, np.int32))
    with pytest.raises(DtypeError, match=r"codes must be in 0..15, got -1..0"):
        as_inputs(g.Network([op, scale, readout], 4), np.array([[0], [-1]]))


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (np.full((1, 2, 4, 4), np.nan), "values must be numbers, got NaN"),
        (np.full((1, 2, 4, 4), "a"), "values must be numbers, got dtype <U1"),
        (np.zeros((1, 2, 4, 4), complex), "values must be numbers, got dtype complex128"),
        (np.zeros((2, 4, 4)), r"values must have shape \[N, 2, 4, 4\]"),
    ],
)
def test_bad_values_are_named(residual_net: Any, values: Any, text: str) -> None:
    with pytest.raises((DtypeError, ShapeError), match=text):
        encode(residual_net.inputs[0], values)


def test_two_inputs_need_names_and_equal_lengths() -> None:
    one = g.Input(name="a", inputs=(), threshold=np.ones(1, np.float32), shape=(2,))
    two = g.Input(name="b", inputs=(), threshold=np.ones(1, np.float32), shape=(2,))
    weight = np.ones((1, 4), np.int32)
    ops = [
        one,
        two,
        g.Concat(name="c", inputs=("a", "b")),
        g.Dense(name="fc", inputs=("c",), weight_bits=8, weight=weight),
        g.Readout(name="out", inputs=("fc",), scale=np.ones(1), bias=np.zeros(1, np.int32)),
    ]
    network = g.Network(ops, 4)
    codes = {"b": np.array([[3, 4]]), "a": np.array([[1, 2]])}
    for run in (run_packed, run_serial_multi_step, run_serial_single_step):
        assert run(network, codes)["out"].tolist() == [[10]]
    with pytest.raises(ShapeError, match="pass a dict of codes by name"):
        run_packed(network, codes["a"])
    with pytest.raises(ShapeError, match=r"same number of samples, got \[1, 2\]"):
        run_packed(network, {"a": np.zeros((1, 2), int), "b": np.zeros((2, 2), int)})


@pytest.mark.parametrize("streams", [0, -1, 1.0, True, None])
def test_streams_are_a_positive_integer(residual_net: Any, streams: Any) -> None:
    with pytest.raises(ParameterError, match="streams must be an integer in 1"):
        run_serial_single_step(residual_net, np.ones((1, 2, 4, 4), np.int8), streams=streams)


def test_an_operation_without_a_rule_is_named(residual_net: Any) -> None:
    from spikejelly_pack.spec.wiring import wire

    with pytest.raises(UnsupportedError, match="no rule for dense 'fc'"):
        wire(residual_net.ops["fc"], [])
