"""Codes of different length in one window: codes and membranes of every layer in Lava, all integers equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import lava_bridge
from spikejelly_pack.spec import graph as g

ENGINES = ("inline", "loihi")
Interpreter = Callable[[g.Network, dict[str, Any]], dict[str, Any]]


def watched(network: g.Network) -> g.Network:
    """Return the network with a readout beside every neuron: the membrane that the neuron fires from."""
    beside = [
        g.Readout(
            name=f"{op.name}/membrane",
            inputs=op.inputs,
            scale=np.ones(len(op.bias)),
            bias=op.bias,
            state_bits=32,
        )
        for op in network.neurons
    ]
    return g.Network([*network.ops.values(), *beside], network.time_steps)


def codes_of(network: g.Network, samples: int) -> dict[str, Any]:
    rng = np.random.default_rng(samples)
    return {
        op.name: rng.integers(-op.max_code if op.signed else 0, op.max_code + 1, (samples, *op.shape))
        for op in network.inputs
    }


def check(
    network: g.Network, engine: str, samples: int, interpreter: Interpreter, assert_same: Any
) -> dict[str, Any]:
    network = watched(network)
    codes = codes_of(network, samples)
    expected = interpreter(network, codes)
    result = lava_bridge.simulate(
        network, codes, codes=True, engine=engine, record="all", progress=False, timeout=60
    )
    got = {**result.codes, **result.membranes}
    assert set(got) == set(expected)
    assert len(result.membranes) == len(network.neurons) + 1
    assert_same(got, expected, expected)
    return got


def mixed(network: g.Network) -> bool:
    """Whether codes differ in length, one of them shorter than the window."""
    return len({op.time_steps for op in (*network.inputs, *network.neurons)}) > 1


@settings(max_examples=12, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_random_networks_inline(
    net_builder: Any, interpreter: Interpreter, assert_same: Any, data: Any
) -> None:
    network = net_builder(data.draw).network()
    assume(mixed(network))
    check(network, "inline", 3, interpreter, assert_same)


@settings(max_examples=3, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_random_networks_loihi(
    net_builder: Any, interpreter: Interpreter, assert_same: Any, data: Any
) -> None:
    network = net_builder(data.draw).network()
    assume(mixed(network))
    check(network, "loihi", 3, interpreter, assert_same)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("window", [4, 7])
def test_window_longer_than_every_code(
    engine: str, window: int, residual_net: Any, interpreter: Interpreter, assert_same: Any
) -> None:
    """The window changes when digits travel, and nothing else; latency is one window per neuron."""
    lengths = {"x": 3, "n1": 4, "n2": 1, "n3": 2}
    ops = [
        replace(op, time_steps=lengths[op.name]) if op.name in lengths else op
        for op in residual_net.ops.values()
    ]
    got = check(g.Network(ops, window), engine, 5, interpreter, assert_same)
    assert set(np.unique(got["n2"])) == {-1, 0, 1}
    assert got["n1"].max() > 7
