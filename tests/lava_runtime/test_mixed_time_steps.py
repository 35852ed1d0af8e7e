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

SPIKES = ("serial", "graded")
RUNS = [("inline", "serial"), ("inline", "graded"), ("loihi", "serial"), ("async", "graded")]
SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.function_scoped_fixture]
Interpreter = Callable[[g.Network, dict[str, Any]], dict[str, Any]]


def codes_of(network: g.Network, samples: int) -> dict[str, Any]:
    rng = np.random.default_rng(samples)
    lead = (samples,) if network.windows == 1 else (network.windows, samples)
    return {
        op.name: rng.integers(-op.max_code if op.signed else 0, op.max_code + 1, (*lead, *op.shape))
        for op in network.inputs
    }


@pytest.fixture
def check(interpreter: Interpreter, assert_same: Any, with_membranes: Any) -> Callable[..., dict[str, Any]]:
    """Return ``check(network, engine, spikes, samples)``: codes and membranes of every layer are right."""

    def compare(network: g.Network, engine: str, spikes: str, samples: int) -> dict[str, Any]:
        network = with_membranes(network)
        codes = codes_of(network, samples)
        expected = interpreter(network, codes)
        result = lava_bridge.simulate(
            network,
            codes,
            codes=True,
            engine=engine,
            spikes=spikes,
            record="all",
            progress=False,
            timeout=60,
        )
        got = {**result.membranes, **result.codes}
        assert set(got) == set(expected)
        assert len(result.membranes) == 2 * len(network.neurons) + 1
        assert_same(got, expected, expected)
        # A readout beside a neuron does not know what it carries from the window before.
        alone = [op for op in network.neurons if not op.carries]
        recorded = {f"{op.name}/membrane": result.membranes[op.name] for op in alone}
        assert_same(recorded, expected, recorded)
        return got

    return compare


def mixed(network: g.Network) -> bool:
    """Whether codes differ in length, one of them shorter than the window."""
    return len({op.time_steps for op in (*network.inputs, *network.neurons)}) > 1


@settings(max_examples=12, suppress_health_check=SLOW)
@given(st.data())
def test_random_networks_inline(net_builder: Any, check: Any, data: Any) -> None:
    network = net_builder(data.draw).network()
    assume(mixed(network))
    for spikes in SPIKES:
        check(network, "inline", spikes, 3)


@settings(max_examples=3, suppress_health_check=SLOW)
@given(st.data())
def test_random_networks_in_lavas_runtime(net_builder: Any, check: Any, data: Any) -> None:
    network = net_builder(data.draw).network()
    assume(mixed(network))
    check(network, data.draw(st.sampled_from(["loihi", "async"])), data.draw(st.sampled_from(SPIKES)), 3)


@pytest.mark.parametrize(("engine", "spikes"), RUNS)
@pytest.mark.parametrize("window", [4, 7])
def test_window_longer_than_every_code(
    engine: str, spikes: str, window: int, residual_net: Any, check: Any
) -> None:
    """The window changes when digits travel, and nothing else; latency is one window per neuron."""
    lengths = {"x": 3, "n1": 4, "n2": 1, "n3": 2}
    ops = [
        replace(op, time_steps=lengths[op.name]) if op.name in lengths else op
        for op in residual_net.ops.values()
    ]
    got = check(g.Network(ops, window), engine, spikes, 5)
    assert set(np.unique(got["n2"])) == {-1, 0, 1}
    assert got["n1"].max() > 7
