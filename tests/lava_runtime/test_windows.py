"""Leak between the windows of a sample, and transposed convolution, in every engine and spike mode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import lava_bridge
from spikejelly_pack.spec import graph as g

RUNS = [(engine, spikes) for engine in ("inline", "loihi", "async") for spikes in ("serial", "graded")]
Interpreter = Callable[[g.Network, dict[str, Any]], dict[str, Any]]


def neuron(name: str, source: str, **constants: Any) -> g.Neuron:
    theta, bias = np.array([9, 40], np.int32), np.array([-30, 3], np.int32)
    return g.Neuron(name=name, inputs=(source,), threshold=theta, bias=bias, state_bits=32, **constants)


def events(carry: str, signed: bool, windows: int = 3) -> g.Network:
    """Two populations with a leak, one of them with a shorter code, behind a skipped layer."""
    ops = [
        g.Input(
            name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(2, 3, 3), time_steps=4, signed=True
        ),
        g.Scale(name="a", inputs=("x",), weight_bits=8, multiplier=np.array([7, -20], np.int32)),
        neuron("n1", "a", time_steps=4, signed=signed, leak_shift=1, carry=carry),
        g.ConvTranspose2d(
            name="up",
            inputs=("n1",),
            weight_bits=8,
            weight=np.arange(-18, 18).reshape(2, 2, 3, 3).astype(np.int32),
            stride=(2, 1),
            padding=(1, 1),
            output_padding=(1, 0),
        ),
        neuron("n2", "up", time_steps=3, leak_shift=0, carry=carry),
        g.AvgPool2d(name="p", inputs=("n2",), weight_bits=8, multiplier=np.array([3, 5], np.int32)),
        g.Readout(
            name="out", inputs=("p",), scale=np.ones(2), bias=np.array([1, -1], np.int32), state_bits=32
        ),
    ]
    return g.Network(ops, 4, windows=windows)


def run(
    network: g.Network, codes: Any, engine: str, spikes: str, model: str = "fixed_pt"
) -> lava_bridge.Simulation:
    options: dict[str, Any] = {
        "engine": engine, "spikes": spikes, "model": model, "progress": False, "timeout": 60
    }  # fmt: skip
    return lava_bridge.simulate(network, codes, codes=True, record="all", **options)


@pytest.mark.parametrize(("engine", "spikes"), RUNS)
@pytest.mark.parametrize("carry", ["residual", "membrane"])
def test_leak_and_its_reset(
    engine: str, spikes: str, carry: str, interpreter: Interpreter, assert_same: Any
) -> None:
    """Samples follow each other without a gap; none sees what the one before left."""
    network = events(carry, signed=carry == "membrane")
    codes = {"x": np.random.default_rng(4).integers(-15, 16, size=(3, 4, 2, 3, 3))}
    result = run(network, codes, engine, spikes)
    expected = interpreter(network, codes)
    assert_same({**result.membranes, **result.codes}, expected, expected)
    assert result.samples == 4
    assert result.outputs["out"].shape == (3, 4, *network.shapes["out"])
    alone = run(network, {"x": codes["x"][:, 3:]}, "inline", spikes)
    assert np.array_equal(alone.codes["n2"][:, 0], result.codes["n2"][:, 3])


@pytest.mark.parametrize("model", ["floating_pt", "fpga"])
@pytest.mark.parametrize("carry", ["residual", "membrane"])
@pytest.mark.parametrize("spikes", ["serial", "graded"])
def test_leak_in_the_other_models(
    model: str, carry: str, spikes: str, interpreter: Interpreter, assert_same: Any
) -> None:
    """Floating point shifts the carry as integers do; registers of exact widths hold it."""
    network = events(carry, signed=carry == "residual")
    codes = {"x": np.random.default_rng(5).integers(-15, 16, size=(3, 4, 2, 3, 3))}
    result = run(network, codes, "inline", spikes, model=model)
    expected = interpreter(network, codes)
    assert_same({**result.membranes, **result.codes}, expected, expected)
    assert list(result.overflows) == []


@pytest.mark.parametrize("spikes", ["serial", "graded"])
def test_one_neuron_that_remembers(spikes: str) -> None:
    """The whole membrane is carried and halved: 8, 8 + 4, 8 + 6, ... against plain integers."""
    theta = np.array([1], np.int32)
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1,), time_steps=4),
        g.Scale(name="a", inputs=("x",), weight_bits=8, multiplier=theta),
        g.Neuron(
            name="n",
            inputs=("a",),
            threshold=theta,
            bias=theta * 0,
            time_steps=4,
            leak_shift=1,
            carry="membrane",
        ),
        g.Scale(name="b", inputs=("n",), weight_bits=8, multiplier=theta),
        g.Readout(name="out", inputs=("b",), scale=np.ones(1), bias=theta * 0),
    ]
    network = g.Network(ops, 4, windows=5)
    result = run(network, {"x": np.full((5, 2, 1), 8)}, "inline", spikes)
    assert result.membranes["n"][:, :, 0].tolist() == [[8] * 2, [12] * 2, [14] * 2, [15] * 2, [15] * 2]
    assert np.array_equal(result.codes["n"], result.membranes["n"])
