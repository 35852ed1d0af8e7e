"""Integer networks with pools, transposed convolutions and several windows, counted by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from spikejelly_pack.bit_budget import measure_integer
from spikejelly_pack.spec import graph as g


def network(*ops: Any, windows: int = 1) -> Any:
    source = g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1, 2, 2), signed=True)
    channels = ops[-1].weight.shape[0] if hasattr(ops[-1], "weight") else 1
    out = g.Readout(
        name="out", inputs=(ops[-1].name,), scale=np.ones(channels), bias=np.zeros(channels, np.int32)
    )
    return g.Network([source, *ops, out], 4, None, windows)


def ones(*shape: int) -> Any:
    return np.ones(shape, np.int32)


def test_a_maximum_is_wiring_and_its_digits_are_counted() -> None:
    """The largest of 12, -3, 7, 1 is 12, two ones of four; no multiply-accumulate, no row."""
    pool = g.MaxPool2d(name="pool", inputs=("x",))
    conv = g.Conv2d(name="c", inputs=("pool",), weight_bits=8, weight=ones(3, 1, 1, 1))
    report = measure_integer(network(pool, conv), np.array([[[[12, -3], [7, 1]]]]))
    (row,) = report.layers
    assert (row.path, row.macs, row.digit_events, row.word_events) == ("c", 3, 6.0, 3.0)
    # The largest of -4 .. -2 is -2: not zero, one digit.
    report = measure_integer(network(pool, conv), np.array([[[[-4, -3], [-2, -3]]]]))
    assert (report.layers[0].digit_events, report.layers[0].word_events) == (3.0, 3.0)


def test_upsampling_repeats_the_digits() -> None:
    up = g.Upsample2d(name="up", inputs=("x",), factor=(2, 3))
    conv = g.Conv2d(name="c", inputs=("up",), weight_bits=8, weight=ones(1, 1, 1, 1))
    report = measure_integer(network(up, conv), np.array([[[[3, 0], [0, 1]]]]))
    (row,) = report.layers
    assert (row.macs, row.digit_events, row.word_events) == (4 * 6, 3 * 6.0, 2 * 6.0)


def test_a_transposed_convolution_counts_what_each_input_reaches() -> None:
    """4 inputs times 2 outputs times 9 taps; with padding 1 some of them fall outside and cause no event."""
    conv = g.ConvTranspose2d(
        name="t", inputs=("x",), weight_bits=8, weight=ones(2, 1, 3, 3), stride=2, padding=1
    )
    report = measure_integer(network(conv), np.array([[[[1, 0], [0, 0]]]]))
    (row,) = report.layers
    assert (row.macs, row.weights, row.plumbing) == (4 * 2 * 9, 18, False)
    assert row.digit_events == 2 * 4.0  # the corner keeps 2 x 2 of its 3 x 3 places


def test_events_of_all_windows_count_for_one_sample() -> None:
    conv = g.Conv2d(name="c", inputs=("x",), weight_bits=8, weight=ones(1, 1, 2, 2))
    codes = np.array([[[[1, 0], [0, 0]]], [[[3, 0], [0, 1]]], [[[0, 0], [0, 0]]]])[:, None]
    (row,) = measure_integer(network(conv, windows=3), codes).layers
    assert (row.windows, row.macs, row.digit_events, row.word_events) == (3, 4, 4.0, 3.0)
