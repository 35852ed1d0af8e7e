"""Samples side by side give the integers of samples in a row, in every engine, mode and model."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lava.proc.dense.process import Dense

import lava_bridge
from lava_bridge.batching import Deal, choose_batch
from lava_bridge.build import assemble
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import BoundError, ParameterError, UnsupportedError
from spikejelly_pack.spec.targets import Target

Interpreter = Callable[[g.Network, dict[str, Any]], dict[str, Any]]
SPIKES = ("serial", "graded")


def simulate(network: g.Network, codes: Any, **more: Any) -> lava_bridge.Simulation:
    options = {"engine": "inline", "record": "all", "progress": False, "timeout": 60, **more}
    return lava_bridge.simulate(network, codes, codes=True, **options)


def assert_equal(actual: lava_bridge.Simulation, expected: lava_bridge.Simulation) -> None:
    for values, others in ((actual.codes, expected.codes), (actual.membranes, expected.membranes)):
        assert set(values) == set(others)
        for name, value in values.items():
            assert value.dtype == others[name].dtype, name
            assert np.array_equal(value, others[name]), name
    rows = [[dataclasses.astuple(item) for item in result.overflows] for result in (actual, expected)]
    assert rows[0] == rows[1]
    assert actual.samples == expected.samples


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_networks(net_builder: Any, interpreter: Interpreter, assert_same: Any, data: Any) -> None:
    """Every operation, leak and several windows among them; batches that come out even and others."""
    builder = net_builder(data.draw)
    network = builder.network()
    samples = data.draw(st.integers(2, 5))
    codes = builder.codes(network, samples)
    options: dict[str, Any] = {"spikes": data.draw(st.sampled_from(SPIKES))}
    result = simulate(network, codes, batch=data.draw(st.integers(2, 6)), **options)
    assert 1 < result.batch <= samples
    expected = interpreter(network, codes)
    readouts = {op.name: result.membranes[op.name] for op in network.readouts}
    assert_same({**result.codes, **readouts}, expected, expected)
    assert_equal(result, simulate(network, codes, batch=1, **options))


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_overflows_of_random_networks(net_builder: Any, data: Any) -> None:
    """Registers too narrow for the network: what each holds and the sample of every event are the same."""
    builder = net_builder(data.draw)
    network = builder.network()
    codes = builder.codes(network, 5)
    device = Target("narrow", weight_bits=16, state_bits=data.draw(st.integers(4, 12)), overflow="wrap")
    options: dict[str, Any] = {
        "model": "fpga",
        "target": device,
        "spikes": data.draw(st.sampled_from(SPIKES)),
    }
    assert_equal(
        simulate(network, codes, batch=data.draw(st.integers(2, 4)), **options),
        simulate(network, codes, batch=1, **options),
    )


@pytest.mark.parametrize("engine", ["inline", "loihi", "async"])
@pytest.mark.parametrize("spikes", SPIKES)
def test_every_engine(
    engine: str, spikes: str, residual_net: Any, interpreter: Interpreter, assert_same: Any
) -> None:
    x = np.random.default_rng(2).integers(-15, 16, size=(7, 2, 4, 4))
    result = simulate(residual_net, {"x": x}, engine=engine, spikes=spikes, batch=3)
    expected = interpreter(residual_net, {"x": x})
    readouts = {op.name: result.membranes[op.name] for op in residual_net.readouts}
    assert_same({**result.codes, **readouts}, expected, expected)
    window = 1 if spikes == "graded" else residual_net.time_steps
    assert (
        result.steps < 7 * window + simulate(residual_net, {"x": x[:1]}, engine=engine, spikes=spikes).steps
    )


def test_floating_point(residual_net: Any) -> None:
    x = np.random.default_rng(3).integers(-15, 16, size=(5, 2, 4, 4))
    both = [simulate(residual_net, {"x": x}, model="floating_pt", batch=batch) for batch in (5, 1)]
    assert_equal(*both)


def test_time_steps_and_the_number_of_pipelines(make_small_net: Any) -> None:
    """9 samples in pipelines of 4: three turns, for which three pipelines suffice."""
    network = make_small_net()
    x = np.random.default_rng(0).integers(0, 16, size=(9, 6))
    assert [(r.batch, r.steps) for b in (1, 4, 9, 100) for r in [simulate(network, x, batch=b)]] == [
        (1, (1 + 9) * 4 + 1),
        (3, (1 + 3) * 4 + 1),
        (9, (1 + 1) * 4 + 1),
        (9, (1 + 1) * 4 + 1),
    ]
    seen: list[tuple[int, int]] = []
    simulate(network, x, batch=4, progress=lambda done, samples: seen.append((done, samples)))
    assert seen[-1] == (9, 9)
    assert {done for done, _ in seen} == {0, 3, 6, 9}


def test_default(make_small_net: Any, tmp_path: Any) -> None:
    """Side by side where it pays: inline, unless layers are large; Lava's own runtime keeps stock Dense."""
    network = make_small_net()
    assert choose_batch(network, "inline", 1000, None) == 32
    assert choose_batch(network, "inline", 40, None) == 20
    assert choose_batch(network, "inline", 3, None) == 3
    assert choose_batch(network, "loihi", 1000, None) == choose_batch(network, "async", 1000, None) == 1
    assert choose_batch(network, "loihi", 1000, 64) == 63
    large = g.Network(
        [
            g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(64, 32, 32)),
            g.Conv2d(
                name="c",
                inputs=("x",),
                weight_bits=8,
                weight=np.ones((1, 64, 3, 3), np.int32),
                padding=(1, 1),
            ),
            g.Readout(name="out", inputs=("c",), scale=np.ones(1), bias=np.zeros(1, np.int32), state_bits=32),
        ],
        4,
    )
    assert choose_batch(large, "inline", 1000, None) == 1
    x = {"x": np.zeros((4, 6), np.uint8)}
    kinds = [{type(p) for p in assemble(network, x, (), tmp_path, batch=batch).processes} for batch in (1, 4)]
    assert Dense in kinds[0]
    assert Dense not in kinds[1]
    for batch in (0, -1, 1.5, True):
        with pytest.raises(ParameterError, match=r"^simulate: batch must be"):
            simulate(network, x, batch=batch)


def test_samples_are_dealt_out_whole() -> None:
    """Windows of a sample stay in one pipeline, in order; the last sample fills what is left."""
    deal = Deal(batch=2, samples=3, windows=2)
    stream = np.array([10, 11, 20, 21, 30, 31])
    assert deal.out(stream).T.tolist() == [[10, 11, 20, 21], [30, 31, 30, 31]]
    assert deal.back(deal.out(stream)).tolist() == stream.tolist()
    assert [deal.done(n) for n in (-1, 0, 1, 2, 3, 4)] == [0, 0, 0, 2, 2, 3]


def test_what_stock_dense_refuses_is_refused_in_a_batch_too() -> None:
    weight = np.full((1, 130), 127, np.int32)
    network = g.Network(
        [
            g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(130,), time_steps=16),
            g.Dense(name="d", inputs=("x",), weight_bits=8, weight=weight),
            g.Readout(name="out", inputs=("d",), scale=np.ones(1), bias=np.zeros(1, np.int32), state_bits=32),
        ],
        16,
    )
    with pytest.raises(UnsupportedError, match=r"^dense 'd': graded spikes must keep .* within 32 bits"):
        simulate(network, np.full((2, 130), 1), batch=2, spikes="graded")


def test_an_error_names_the_neuron(make_small_net: Any) -> None:
    with pytest.raises(BoundError, match=r"neuron 'n1': the membrane must fit 12 bits"):
        simulate(make_small_net(state_bits=12), np.full((3, 6), 15), batch=3)
