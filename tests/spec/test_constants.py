"""What users and files rely on without saying it: defaults, signals, limits, plain numbers in constants."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.bits import code_dtype
from spikejelly_pack.spec.bounds import Bound
from spikejelly_pack.spec.container import VERSIONS
from spikejelly_pack.spec.errors import ParameterError, RunError, ShapeError, SpikePackError, UnsupportedError
from spikejelly_pack.spec.graph import base, network, neuron, wiring
from spikejelly_pack.spec.parameters import MAX_TIME_STEPS, NeuronParameters
from spikejelly_pack.spec.targets import target

SPIKES, CURRENTS = base.Signal.SPIKES, base.Signal.CURRENTS
ONE, TWO, NONE = (1, 1), (2, 2), (0, 0)
FIRING = {"time_steps": 4, "signed": False, "rounding": "round_half_up"}
# kind: defaults; what it accepts and emits (None: either, nothing); inputs; version; in the integer form only
KINDS: dict[str, tuple[dict[str, Any], Any, Any, tuple[int, int | None], int, bool]] = {
    "input": ({"shape": (), **FIRING}, None, SPIKES, NONE, 1, False),
    "conv2d": (
        {"stride": ONE, "padding": NONE, "dilation": ONE, "groups": 1}, SPIKES, CURRENTS, ONE, 1, False,
    ),
    "conv_transpose2d": (
        {"stride": ONE, "padding": NONE, "output_padding": NONE, "dilation": ONE, "groups": 1},
        SPIKES, CURRENTS, ONE, 2, False,
    ),
    "dense": ({}, SPIKES, CURRENTS, ONE, 1, False),
    "avg_pool2d": ({"kernel": TWO, "stride": TWO, "padding": NONE}, SPIKES, CURRENTS, ONE, 1, True),
    "scale": ({}, SPIKES, CURRENTS, ONE, 1, True),
    "neuron": (
        {**FIRING, "state_bits": 24, "leak_shift": None, "carry": "residual"},
        CURRENTS, SPIKES, ONE, 1, False,
    ),
    "readout": ({"state_bits": 24}, CURRENTS, None, ONE, 1, False),
    "add": ({}, CURRENTS, CURRENTS, (2, None), 1, False),
    "concat": ({}, None, None, (2, None), 1, False),
    "flatten": ({}, None, None, ONE, 1, False),
    "delay": ({}, SPIKES, SPIKES, ONE, 1, False),
    "max_pool2d": (
        {"kernel": TWO, "stride": TWO, "padding": NONE, "dilation": ONE, "ceil_mode": False},
        SPIKES, SPIKES, ONE, 2, False,
    ),
    "upsample2d": ({"factor": TWO}, None, None, ONE, 2, False),
}  # fmt: skip


@pytest.mark.parametrize("kind", g.OPS)
def test_kinds_are_what_files_of_them_rely_on(kind: str) -> None:
    cls = g.OPS[kind]
    given = {
        item.name: item.default for item in dataclasses.fields(cls) if item.default is not dataclasses.MISSING
    }
    plumbing = issubclass(cls, base.Synapse) and cls.plumbing
    assert (given, cls.accepts, cls.emits, cls.arity, cls.since, plumbing) == KINDS[kind]
    assert cls.kind == kind
    assert set(KINDS) == set(g.OPS)


@pytest.mark.parametrize(
    ("cls", "constants", "expected"),
    [
        (g.Input, {"threshold": np.ones(1, np.float32), "shape": (2, 3), "time_steps": 3}, {"time_steps": 3}),
        (g.Input, {"threshold": np.ones(1, np.float32), "shape": (2, 3), "signed": True}, {"signed": True}),
        (g.Input, {"threshold": np.ones(1, np.float32), "shape": (2, 3)}, {"shape": (2, 3)}),
        (g.Neuron, {"time_steps": 3}, {"time_steps": 3}),
        (g.Neuron, {"signed": True}, {"signed": True}),
        (g.Neuron, {"state_bits": 20}, {"state_bits": 20}),
        (g.Neuron, {"leak_shift": 2}, {"leak_shift": 2}),
        (g.Readout, {"state_bits": 20}, {"state_bits": 20}),
        (g.Delay, {"windows": 3}, {"windows": 3}),
        (g.MaxPool2d, {"kernel": 3, "ceil_mode": True}, {"kernel": (3, 3), "ceil_mode": True}),
        (g.Upsample2d, {"factor": 3}, {"factor": (3, 3)}),
    ],
)
def test_numpy_values_become_plain_ones(
    cls: Any, constants: dict[str, Any], expected: dict[str, Any]
) -> None:
    """JSON, hashing and device files need plain numbers."""

    def wrapped(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(np.int64(v) for v in value)
        return (
            np.bool_(value)
            if isinstance(value, bool)
            else np.int64(value)
            if isinstance(value, int)
            else value
        )

    tensors: dict[Any, dict[str, Any]] = {
        g.Neuron: {"threshold": np.ones(2, np.int32), "bias": np.ones(2, np.int32)},
        g.Readout: {"scale": np.ones(2), "bias": np.ones(2, np.int32)},
    }
    inputs = () if cls is g.Input else ("x",)
    more = {name: wrapped(value) for name, value in constants.items()}
    op = cls(name="op", inputs=inputs, **tensors.get(cls, {}), **more)
    for name, value in expected.items():
        found = getattr(op, name)
        assert found == value
        assert type(found) is type(value)
        assert not isinstance(found, tuple) or {type(v) for v in found} == {int}


def test_a_sample_has_up_to_eight_axes() -> None:
    def entry(axes: int) -> g.Input:
        return g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1,) * axes)

    assert [entry(axes).shape for axes in (1, 8)] == [(1,), (1,) * 8]
    with pytest.raises(ShapeError, match=r"shape must be 1\.\.8 integers, got"):
        entry(9)


def test_nothing_reads_a_readout() -> None:
    x = g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(2,))
    fc = g.Dense(name="fc", inputs=("x",), weight_bits=8, weight=np.ones((2, 2), np.int32))
    out = g.Readout(name="out", inputs=("fc",), scale=np.ones(2), bias=np.zeros(2, np.int32))
    assert g.Network([x, fc, out], 4).signals == {"x": SPIKES, "fc": CURRENTS, "out": None}
    for op in (
        g.Flatten(name="f", inputs=("out",)),
        g.Add(name="f", inputs=("out", "fc")),
        dataclasses.replace(out, name="f", inputs=("out",)),
    ):
        with pytest.raises(UnsupportedError, match=r"needs .*, but 'out' emits nothing; rewire it"):
            g.Network([x, fc, out, op], 4)


def test_limits() -> None:
    """A file that keeps them today must be read tomorrow, and no larger one may make its reader allocate."""
    assert (MAX_TIME_STEPS, base.MAX_WEIGHT_BITS, neuron.MAX_SHIFT, target.MAX_STATE_BITS) == (16, 16, 31, 48)
    assert (base.MAX_SIZE, network.MAX_WINDOWS, wiring.MAX_DELAY) == (67_108_864, 65_536, 4096)
    assert target.LIMITS == {
        "state_bits": 48, "payload_bits": 32, "max_fan_in": 67_108_864, "max_delay": 65_536,
    }  # fmt: skip
    assert VERSIONS == (1, 2)
    assert (SpikePackError.exit_code, ParameterError.exit_code, RunError.exit_code) == (2, 2, 1)


def test_parameters_of_a_neuron_by_default() -> None:
    params = NeuronParameters()
    assert (params.time_steps, params.tau, params.leak, params.carry) == (4, 2.0, 0.0, "residual")
    assert (params.signed, params.rounding, params.window) == (False, "round_half_up", None)
    assert params.window_code is params


@pytest.mark.parametrize(("steps", "window", "tau"), [(1, 3, 2.0), (3, 5, 1.5), (4, 16, 2.0), (5, 5, 1.25)])
def test_a_longer_window_is_a_code_of_its_own(steps: int, window: int, tau: float) -> None:
    params = NeuronParameters(steps, tau, window=window)
    long = [tau**k for k in range(window)]
    assert params.window_steps == window
    assert params.silent_steps == window - steps
    assert params.window_code.weights == tuple(long[::-1])
    assert params.window_gain == pytest.approx(sum(long) / sum(long[:steps]), rel=1e-12)
    assert params.max_code == 2**steps - 1


@pytest.mark.parametrize(("magnitude", "bits"), [(0, 1), (1, 2), (127, 8), (128, 9), (2**31, 33)])
def test_a_bound_needs_a_sign(magnitude: int, bits: int) -> None:
    """The fewest bits of two's complement that hold the magnitude and its negative."""
    fewest = next(n for n in range(1, 64) if -(2 ** (n - 1)) <= -magnitude and magnitude <= 2 ** (n - 1) - 1)
    assert Bound("n", magnitude, 0, 8).bits == bits == fewest
    assert [Bound("n", magnitude, 0, width).fits for width in (bits - 1, bits, bits + 1)] == [
        False,
        True,
        True,
    ]


@pytest.mark.parametrize("signed", [False, True])
def test_a_code_has_the_smallest_dtype_that_holds_it(signed: bool) -> None:
    for steps in range(1, 17):
        top = 2**steps - 1
        kinds = (np.int8, np.int16, np.int32) if signed else (np.uint8, np.uint16)
        assert code_dtype(steps, signed) == next(np.dtype(k) for k in kinds if top <= np.iinfo(k).max)
