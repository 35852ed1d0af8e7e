"""From the caller's Python through the worker to Lava and back."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lava_bridge
from lava_bridge.worker.find import Interpreter
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import (
    DtypeError,
    ExchangeFileError,
    ParameterError,
    ShapeError,
    SpikePackError,
)
from spikejelly_pack.spec.execute import encode, outputs, run_packed


@pytest.mark.parametrize(
    ("engine", "spikes", "steps"),
    [("loihi", "serial", 4), ("inline", "serial", 4), ("async", "serial", 4), ("inline", "graded", 1)],
)
def test_equals_independent_arithmetic(
    engine: str,
    spikes: str,
    steps: int,
    lava: Interpreter,
    residual_net: Any,
    interpreter: Any,
    assert_same: Any,
    tmp_path: Path,
) -> None:
    codes = np.random.default_rng(5).integers(-15, 16, size=(6, 2, 4, 4))
    path = tmp_path / "net.spk"
    exchange.save(residual_net, path)
    seen: list[tuple[int, int]] = []
    result = lava_bridge.simulate(
        path,
        codes,
        codes=True,
        engine=engine,
        spikes=spikes,
        record="all",
        batch=1,
        progress=lambda *now: seen.append(now),
    )
    expected = interpreter(residual_net, {"x": codes})
    assert_same({**result.membranes, **result.codes}, expected, expected)
    assert set(result.membranes) == {"n1", "n2", "n3", "out"}
    assert (result.engine, result.spikes, result.time_steps) == (engine, spikes, 4)
    assert result.lava == "0.10.0"
    assert result.python == lava.executable
    assert result.samples == 6
    assert result.steps == (3 + 6) * steps + 1
    assert 0 < result.seconds < result.total_seconds
    assert result.seconds_per_sample == result.seconds / 6
    assert seen == sorted(seen)
    assert seen[-1] == (6, 6)


@pytest.mark.parametrize("engine", ["loihi", "inline"])
def test_samples_side_by_side_through_the_worker(
    engine: str, lava: Interpreter, residual_net: Any, interpreter: Any, assert_same: Any
) -> None:
    codes = np.random.default_rng(5).integers(-15, 16, size=(5, 2, 4, 4))
    result = lava_bridge.simulate(
        residual_net, codes, codes=True, engine=engine, batch=3, record="all", progress=False
    )
    expected = interpreter(residual_net, {"x": codes})
    assert_same({**result.membranes, **result.codes}, expected, expected)
    assert (result.batch, result.steps) == (3, (3 + 2) * 4 + 1)


def test_real_values_are_encoded_as_everywhere(lava: Interpreter, residual_net: Any) -> None:
    x = np.random.default_rng(6).normal(size=(4, 2, 4, 4))
    result = lava_bridge.simulate(residual_net, x, engine="inline", progress=False)
    expected = run_packed(residual_net, encode(residual_net.inputs[0], x))
    assert np.array_equal(result.membranes["out"], expected["out"])
    assert np.array_equal(result.outputs["out"], outputs(residual_net, expected)["out"])
    assert result.codes == {}


def test_integer_values_are_values_unless_said_to_be_codes(
    lava: Interpreter, make_small_net: Callable[..., Any]
) -> None:
    """Pixels of dtype uint8 are real values: 1 is the full code of threshold 1."""
    network = make_small_net()
    pixels = np.ones((1, 6), np.uint8)
    for codes, full in ((False, 15), (True, 1)):
        result = lava_bridge.simulate(
            network, pixels, codes=codes, engine="inline", record="x", progress=False
        )
        assert result.codes["x"].tolist() == [[full] * 6]


def expect(error: type[SpikePackError], text: str, *arguments: Any, **options: Any) -> None:
    """The error must come at once, without an interpreter being looked for, as one sentence."""
    with pytest.raises(error, match=text) as caught:
        lava_bridge.simulate(*arguments, python="/nowhere", progress=False, **options)
    message = str(caught.value)
    assert "\n" not in message
    assert message.endswith(".")


def test_bad_input_is_named(make_small_net: Callable[..., Any]) -> None:
    network, x = make_small_net(), np.zeros((2, 6))
    expect(ShapeError, r"input 'x': values must have shape \[N, 6\], got \(2, 5\)", network, np.zeros((2, 5)))
    expect(ShapeError, "must hold at least one sample, got none", network, np.zeros((0, 6)))
    expect(ShapeError, r"the network has inputs \['x'\], got values for \['y'\]", network, {"y": x})
    expect(DtypeError, "got NaN", network, x * np.nan)
    expect(DtypeError, "got dtype", network, np.array([["a"] * 6]))
    expect(DtypeError, "codes must be integers, got dtype float64", network, x, codes=True)
    expect(DtypeError, r"codes must be in 0\.\.15, got 0\.\.16", network, [[0, 0, 0, 0, 0, 16]], codes=True)
    expect(ParameterError, "engine must be one of .*inline.*, got 'warp'", network, x, engine="warp")
    expect(ParameterError, "spikes must be one of .*graded.*, got 'loud'", network, x, spikes="loud")
    expect(
        ParameterError,
        r"record must name neurons or inputs out of \['x', 'n1'\], got 'n9'",
        network,
        x,
        record="n9",
    )
    for timeout in (0, -1, float("nan"), float("inf"), "soon"):
        text = re.escape(f"timeout must be a positive number of seconds, got {timeout!r}")
        expect(ParameterError, text, network, x, timeout=timeout)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_truncated_file(keep: int, small_file: Path) -> None:
    small_file.write_bytes(small_file.read_bytes()[:keep])
    expect(ExchangeFileError, re.escape(str(small_file)), small_file, np.zeros((1, 6)))


def test_missing_file(tmp_path: Path) -> None:
    expect(ExchangeFileError, "got nothing there", tmp_path / "none.spk", np.zeros((1, 6)))
