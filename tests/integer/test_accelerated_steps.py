"""What acceleration rewrites: pooled products, sums that are overwritten, maxima of bytes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikejelly_pack.integer import accelerate
from spikejelly_pack.integer.pooled import PooledStep
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.execute import run_packed

RNG = np.random.default_rng(0)


def same(network: Any, codes: Any) -> None:
    expected, got = run_packed(network, codes), accelerate(network).every_code(codes)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name].numpy(), values.astype(np.int64), err_msg=name)


def source(steps: int, signed: bool, shape: tuple[int, ...] = (3, 7, 6)) -> Any:
    ones = np.ones(1, np.float32)
    return g.Input(name="x", inputs=(), threshold=ones, shape=shape, time_steps=steps, signed=signed)


def codes_for(network: Any, samples: int = 3) -> Any:
    op = network.inputs[0]
    low = -op.max_code if op.signed else 0
    return RNG.integers(low, op.max_code + 1, (samples, *op.shape))


def neuron(name: str, before: str, theta: int = 97, channels: int = 4) -> Any:
    bias = np.full(channels, -9, np.int32)
    constants = {"threshold": np.full(channels, theta, np.int32), "bias": bias, "time_steps": 4}
    return g.Neuron(name=name, inputs=(before,), state_bits=32, **constants)


def conv(name: str, before: str, inputs: int = 3) -> Any:
    weight = RNG.integers(-127, 128, (4, inputs, 3, 3)).astype(np.int32)
    return g.Conv2d(name=name, inputs=(before,), weight_bits=8, weight=weight, padding=(1, 1))


def head(before: str, weight: Any) -> list[Any]:
    bias = np.zeros(len(weight), np.int32)
    return [
        g.Flatten(name="f", inputs=(before,)),
        g.Dense(name="d", inputs=("f",), weight_bits=8, weight=weight),
        g.Readout(name="out", inputs=("d",), scale=np.ones(len(weight)), bias=bias, state_bits=32),
    ]


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("steps", [1, 8, 16])
def test_a_folded_average_pool_is_summed_first(steps: int, signed: bool) -> None:
    weight = np.repeat(RNG.integers(-127, 128, (5, 3)), 42, axis=1).astype(np.int32)
    for equal in (True, False):
        if not equal:
            weight[4, 41] += 1 if weight[4, 41] < 127 else -1
        network = g.Network([source(steps, signed), *head("x", weight)], steps)
        found = [isinstance(step, PooledStep) for step in accelerate(network).modules()]
        assert any(found) == equal
        same(network, codes_for(network))


def test_a_sum_that_others_read_is_not_overwritten() -> None:
    """``c`` is fired by ``n`` and added to ``b`` and to itself; ``a`` is fired twice."""
    flat = RNG.integers(-127, 128, (2, 12 * 42)).astype(np.int32)
    network = g.Network(
        [
            source(4, False),
            conv("c", "x"),
            conv("b", "x"),
            g.Add(name="a", inputs=("c", "b")),
            g.Add(name="twice", inputs=("c", "c")),
            neuron("n", "c"),
            neuron("m", "a"),
            neuron("k", "a", 31),
            neuron("j", "twice", 211),
            g.Add(name="again", inputs=("a", "twice")),
            neuron("i", "again", 401),
            g.Concat(name="all", inputs=("n", "m", "k")),
            g.Concat(name="rest", inputs=("j", "i", "n")),
            g.Scale(name="s", inputs=("all",), multiplier=np.full(12, 3, np.int32), weight_bits=8),
            g.Scale(name="t", inputs=("rest",), multiplier=np.full(12, -2, np.int32), weight_bits=8),
            g.Add(name="codes", inputs=("s", "t")),
            neuron("z", "codes", 5, 12),
            *head("z", flat),
        ],
        4,
    )
    same(network, codes_for(network))


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("steps", [3, 8, 12])
@pytest.mark.parametrize(
    "geometry",
    [
        {"kernel": (2, 2), "stride": (2, 2)},
        {"kernel": (3, 3), "stride": (2, 2), "padding": (1, 1)},
        {"kernel": (3, 2), "stride": (2, 3), "padding": (1, 0), "ceil_mode": True},
        {"kernel": (1, 3), "stride": (1, 2), "padding": (0, 1), "dilation": (1, 2)},
        {"kernel": (2, 2), "stride": (3, 3), "dilation": (3, 1), "ceil_mode": True},
    ],
)
def test_maximum_pooling(geometry: dict[str, Any], steps: int, signed: bool) -> None:
    pool = g.MaxPool2d(name="p", inputs=("x",), **geometry)
    first = source(steps, signed)
    size = int(np.prod(pool.output_shape(first.shape)))
    weight = RNG.integers(-127, 128, (3, size)).astype(np.int32)
    network = g.Network([first, pool, *head("p", weight)], steps)
    codes = codes_for(network)
    codes[0] = -first.max_code if signed else 0  # padding must not win over the lowest code
    same(network, codes)
