"""Maximum pooling, upsampling and transposed convolution against loops over single values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.bits import code_dtype, pack, unpack
from spikejelly_pack.spec.equations import digit_maximum
from spikejelly_pack.spec.errors import ParameterError, ShapeError, UnsupportedError
from spikejelly_pack.spec.wiring import DigitPool, wire


def pool(**constants: Any) -> g.MaxPool2d:
    return g.MaxPool2d(name="p", inputs=("x",), **constants)


def brute_force(op: g.MaxPool2d, codes: Any, rows: int, columns: int) -> Any:
    """The maximum of the places of each window that exist."""
    n, channels, height, width = codes.shape
    out = np.empty((n, channels, rows, columns), np.int64)
    for i, c, row, column in np.ndindex(*out.shape):
        inside = []
        for dy, dx in np.ndindex(*op.kernel):
            y = row * op.stride[0] - op.padding[0] + dy * op.dilation[0]
            x = column * op.stride[1] - op.padding[1] + dx * op.dilation[1]
            if 0 <= y < height and 0 <= x < width:
                inside.append(int(codes[i, c, y, x]))
        out[i, c, row, column] = max(inside)
    return out


def test_the_padding_counts_in_what_a_pooled_sample_may_hold() -> None:
    """2^26 values are 8192 x 8192."""
    assert pool(kernel=(2, 2)).output_shape((1, 8192, 8192)) == (1, 4096, 4096)
    with pytest.raises(ShapeError, match=r"at most 67108864 values, got shape \(1, 8194, 8194\)"):
        pool(kernel=(2, 2), padding=(1, 1)).output_shape((1, 8192, 8192))


@pytest.mark.parametrize("padding", [(1, 0), (0, 1)])
def test_the_padding_counts_in_what_a_convolved_sample_may_hold(padding: tuple[int, int]) -> None:
    def conv(**constants: Any) -> g.Conv2d:
        return g.Conv2d(
            name="c", inputs=("x",), weight_bits=8, weight=np.ones((1, 1, 1, 1), np.int32), **constants
        )

    assert conv().output_shape((1, 8192, 8192)) == (1, 8192, 8192)
    with pytest.raises(ShapeError, match="at most 67108864 values, got shape"):
        conv(padding=padding).output_shape((1, 8192, 8192))


def test_what_a_transposed_convolution_spreads_counts_for_every_input_channel() -> None:
    def up(channels: int, **constants: Any) -> g.ConvTranspose2d:
        weight = np.ones((1, channels, 2, 2), np.int32)
        return g.ConvTranspose2d(name="c", inputs=("x",), weight_bits=8, weight=weight, stride=2, **constants)

    assert up(1).output_shape((1, 4096, 4096)) == (1, 8192, 8192)
    with pytest.raises(ShapeError, match=r"at most 67108864 values, got shape \(2, 8192, 8192\)"):
        up(2).output_shape((2, 4096, 4096))
    with pytest.raises(ShapeError, match=r"at most 67108864 values, got shape \(1, 8194, 8192\)"):
        up(1, padding=1).output_shape((1, 4097, 4096))


@settings(max_examples=150)
@given(st.data(), st.integers(1, 8), st.booleans())
def test_maximum_in_every_form_is_the_maximum_of_each_window(
    data: st.DataObject, steps: int, signed: bool
) -> None:
    def pair(low: int, high: int) -> tuple[int, int]:
        return int(data.draw(st.integers(low, high))), int(data.draw(st.integers(low, high)))

    kernel, (height, width) = pair(1, 3), pair(1, 7)
    padding = tuple(data.draw(st.integers(0, k // 2)) for k in kernel)
    op = pool(
        kernel=kernel,
        stride=pair(1, 4),
        padding=padding,
        dilation=pair(1, 2),
        ceil_mode=data.draw(st.booleans()),
    )
    try:
        _, rows, columns = op.output_shape((2, height, width))
    except ShapeError:
        assume(False)
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    top = 2**steps - 1
    codes = rng.integers(-top if signed else 0, top + 1, size=(2, 2, height, width))
    codes = codes.astype(code_dtype(steps, signed))
    expected = brute_force(op, codes, rows, columns)
    packed = wire(op, [codes])
    assert packed.dtype == codes.dtype
    np.testing.assert_array_equal(packed, expected)
    serial = DigitPool(op)
    digits = np.stack([serial.step(phase, step) for phase, step in enumerate(unpack(codes, steps))])
    assert digits.dtype == np.int8
    np.testing.assert_array_equal(pack(digits, signed), expected)


def test_padding_is_not_a_zero() -> None:
    """A window of negative codes at the border: a zero in the padding would win."""
    codes = np.array([[[[-3, -5], [-6, -7]]]], np.int8)
    op = pool(kernel=(3, 3), stride=(1, 1), padding=(1, 1))
    assert wire(op, [codes]).tolist() == [[[[-3, -3], [-3, -3]]]]
    serial = DigitPool(op)
    digits = np.stack([serial.step(phase, step) for phase, step in enumerate(unpack(codes, 3))])
    assert pack(digits, signed=True).tolist() == [[[[-3, -3], [-3, -3]]]]


def test_the_maximum_of_codes_is_not_that_of_digits() -> None:
    """max(0b10, 0b01) is 0b10, not 0b11: what has lost a digit stays out."""
    digits, tied = [], [True, True]
    for pair in ([1, 0], [0, 1]):
        steps = [digit * now - 2 * (now == 0) for digit, now in zip(pair, tied, strict=True)]
        winner, tied = max(steps), [step == max(steps) for step in steps]
        digits.append(winner)
    assert digits == [1, 0]
    array, mask = np.array([[1, 0], [0, 1]]), np.array([True, True])
    out = []
    for step in array:
        winner, mask = digit_maximum(step, mask, lambda x: x.max(keepdims=True))
        out.append(int(winner[0]))
    assert out == digits


def test_a_new_window_forgets_who_lost() -> None:
    serial = DigitPool(pool())
    for codes in ([[1, 2], [0, 3]], [[7, 4], [4, 4]], [[0, 1], [5, 5]]):
        steps = unpack(np.array([[codes]]), 3)
        code = pack(np.stack([serial.step(phase, step) for phase, step in enumerate(steps)]))
        assert code.tolist() == [[[[max(map(max, codes))]]]]


def test_any_axes_may_lead() -> None:
    codes = np.arange(2 * 3 * 1 * 2 * 5 * 4, dtype=np.uint8).reshape(2, 3, 1, 2, 5, 4)
    op = pool(kernel=(3, 2), stride=(2, 2), ceil_mode=True)
    alone = [[op.largest(image) for image in images] for images in codes]
    np.testing.assert_array_equal(op.largest(codes), np.array(alone), strict=True)


def test_whoever_comes_in_the_middle_of_a_window_has_lost_nobody() -> None:
    digits = np.array([[[[0, 1], [0, 0]]]], np.int8)
    assert DigitPool(pool()).step(1, digits).tolist() == [[[[1]]]]


@pytest.mark.parametrize(
    ("constants", "shape", "text"),
    [
        (
            {"padding": 2, "kernel": (3, 3)},
            (1, 4, 4),
            r"padding must be at most half the kernel, got padding",
        ),
        ({"kernel": (5, 2)}, (1, 4, 4), r"a window of \(5, 2\) does not fit"),
        ({}, (4, 4), r"input must have shape \(C, H, W\), got \(4, 4\)"),
        (
            {"kernel": 2, "padding": 1, "dilation": 2, "stride": 1},
            (1, 1, 4),
            "every window must cover an input, got one of padding alone",
        ),
        ({"kernel": 0}, (1, 4, 4), "kernel must be an integer in 1"),
        ({"kernel": (1, 2, 3)}, (1, 4, 4), "kernel must be two integers"),
    ],
)
def test_bad_pools_are_named(constants: Any, shape: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=f"max_pool2d 'p': {text}"):
        pool(**constants).output_shape(shape)


def test_a_rounded_up_pool_is_a_boolean() -> None:
    with pytest.raises(ParameterError, match="ceil_mode must be True or False, got 1"):
        pool(ceil_mode=1)


def test_currents_have_no_maximum() -> None:
    """The maximum of sums digit by digit is another function: refused when the network is built."""
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1, 4, 4)),
        g.Scale(name="s", inputs=("x",), weight_bits=8, multiplier=np.ones(1, np.int32)),
        g.MaxPool2d(name="p", inputs=("s",)),
        g.Readout(name="out", inputs=("p",), scale=np.ones(1), bias=np.zeros(1, np.int32)),
    ]
    with pytest.raises(UnsupportedError, match="max_pool2d 'p' needs spikes, but 's' emits currents"):
        g.Network(ops, 4)


@pytest.mark.parametrize("factor", [(1, 1), (2, 3), (4, 1)])
@pytest.mark.parametrize("batch_axes", [1, 2])
def test_upsampling_repeats_rows_and_columns(factor: Any, batch_axes: int) -> None:
    op = g.Upsample2d(name="u", inputs=("x",), factor=factor)
    x = np.random.default_rng(3).integers(-9, 10, size=(2, 3, 2, 5, 4)[2 - batch_axes :])
    got = wire(op, [x], batch_axes)
    assert got.shape[-3:] == op.output_shape(x.shape[-3:])
    for index in np.ndindex(*got.shape):
        *lead, h, w = index
        assert got[index] == x[(*lead, h // factor[0], w // factor[1])]


@pytest.mark.parametrize("factor", [0, (2, 0), 1.5, (1, 2, 3), True])
def test_bad_factors_are_named(factor: Any) -> None:
    with pytest.raises(ShapeError, match="upsample2d 'u': factor must be"):
        g.Upsample2d(name="u", inputs=("x",), factor=factor)


def test_upsampling_needs_maps_that_fit() -> None:
    with pytest.raises(ShapeError, match=r"input must have shape \(C, H, W\), got \(4,\)"):
        g.Upsample2d(name="u", inputs=("x",)).output_shape((4,))
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1, 2, 2)),
        g.Upsample2d(name="u", inputs=("x",), factor=1 << 20),
    ]
    with pytest.raises(ShapeError, match="one sample may hold at most"):
        g.Network(ops, 4)


@settings(max_examples=60)
@given(st.data())
def test_transposed_convolution_spreads_every_value(data: st.DataObject) -> None:
    """Stride, padding, output padding, dilation and groups, each axis on its own, against loops that add."""

    def draw(low: int, high: int) -> int:
        return int(data.draw(st.integers(low, high)))

    rng = np.random.default_rng(draw(0, 2**32 - 1))
    groups, depth, per_group = draw(1, 3), draw(1, 2), draw(1, 2)
    kernel, stride, dilation = (draw(1, 3), draw(1, 3)), (draw(1, 3), draw(1, 3)), (draw(1, 2), draw(1, 2))
    padding = (draw(0, 2), draw(0, 2))
    extra = tuple(draw(0, max(s, d) - 1) for s, d in zip(stride, dilation, strict=True))
    height, width = draw(1, 4), draw(1, 4)
    weight = rng.integers(-128, 128, size=(groups * per_group, depth, *kernel)).astype(np.int32)
    constants = {"stride": stride, "padding": padding, "output_padding": extra, "dilation": dilation}
    op = g.ConvTranspose2d(name="t", inputs=("x",), weight_bits=8, weight=weight, groups=groups, **constants)
    try:
        shape = op.output_shape((groups * depth, height, width))
    except ShapeError:
        assume(False)
    x = rng.integers(-15, 16, size=(2, groups * depth, height, width)).astype(np.int8)
    expected = np.zeros((2, *shape), np.int64)
    for n, o, c, i, j, h, w in np.ndindex(2, *weight.shape, height, width):
        row = h * stride[0] + i * dilation[0] - padding[0]
        column = w * stride[1] + j * dilation[1] - padding[1]
        if 0 <= row < shape[1] and 0 <= column < shape[2]:
            expected[n, o, row, column] += int(weight[o, c, i, j]) * int(
                x[n, o // per_group * depth + c, h, w]
            )
    got = op.apply(x)
    assert got.dtype == np.int64
    np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(
    ("constants", "text"),
    [
        ({"output_padding": 1}, r"output_padding must be below stride or dilation, got \(1, 1\)"),
        ({"padding": 3}, r"padding \(3, 3\) leaves nothing of an output of \(4, 4\)"),
        ({"groups": 2}, r"input must have shape \(4, H, W\), got \(2, 2, 2\)"),
        ({"groups": 3}, r"groups must be an integer in 1\.\.2, got 3"),
        ({"stride": 0}, "stride must be an integer in 1"),
    ],
)
def test_bad_transposed_convolutions_are_named(constants: Any, text: str) -> None:
    weight = np.ones((2, 2, 3, 3), np.int32)
    with pytest.raises(ShapeError, match=f"conv_transpose2d 't': .*{text}"):
        g.ConvTranspose2d(name="t", inputs=("x",), weight_bits=8, weight=weight, **constants).output_shape(
            (2, 2, 2)
        )
