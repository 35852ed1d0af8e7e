"""The law of cycles against simulation, in which a cycle is a cycle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lava_bridge.fpga import Options, plan, simulator
from lava_bridge.fpga.cycles import busiest, loads
from spikejelly_pack.spec import graph as g


@pytest.fixture(scope="module")
def one_layer() -> g.Network:
    rng = np.random.default_rng(11)
    weight = rng.integers(-127, 128, size=(12, 40)).astype(np.int32)
    theta, bias = np.full(12, 700, np.int32), np.zeros(12, np.int32)
    zero, one = np.zeros(12, np.int32), np.ones(12)
    skip = np.ones(12, np.int32)
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(40,), signed=True),
        g.Dense(name="fc", inputs=("x",), weight_bits=8, weight=weight),
        g.Neuron(name="n", inputs=("fc",), threshold=theta, bias=bias, time_steps=4),
        g.Scale(name="s", inputs=("n",), weight_bits=8, multiplier=skip),
        g.Readout(name="out", inputs=("s",), scale=one, bias=zero),
    ]
    return g.Network(ops, 4)


def test_dense_layer_takes_exactly_the_cycles_of_the_law(
    one_layer: g.Network, corner_codes: Any, assert_exact: Any
) -> None:
    """CSD digits; a window of a dense layer takes as many cycles as it has digits, not one more."""
    design = plan(one_layer, Options())
    codes = corner_codes(one_layer, 40)
    work = loads(design, codes)
    assert busiest(work) == "n"
    with simulator(design) as bench:
        run = bench.run(codes)
    assert_exact(run, one_layer, codes)
    law = work["n"].cycles
    intervals = np.diff(run.cycles["n"][:, 0])
    binding = law[1:] > work["out"].cycles[:-1] + 6  # the layer behind is done in time
    assert binding.sum() > 25
    assert np.array_equal(intervals[binding], law[1:][binding])
    # fewer digits than spikes: what recoding saves
    plain = loads(plan(one_layer, Options(digits="binary")), codes)["n"].operations.sum()
    assert work["n"].operations.sum() < 0.9 * plain


def test_a_window_takes_what_its_busiest_population_takes(
    compiled: Any, residual_net: Any, corner_codes: Any
) -> None:
    codes = corner_codes(residual_net, 30)
    bench = compiled(residual_net, Options(lanes=2, fire=2, buffers=False))
    run = bench.run(codes)
    work = loads(bench.bench.design, codes)
    least = max(load.cycles.sum() for load in work.values())
    most = np.max([load.cycles for load in work.values()], axis=0).sum()
    depth = sum(int(load.cycles.max()) for load in work.values())  # filling the pipeline
    assert least <= run.total <= 1.1 * most + depth


def test_a_skip_connection_does_not_hold_its_source_up(assert_exact: Any) -> None:
    """The branch that waits adds first: else its full buffer stops the source, and so the layer beside it."""
    rng = np.random.default_rng(4)

    def neuron(name: str, source: str) -> g.Neuron:
        zero, theta = np.zeros(4, np.int32), np.full(4, 500, np.int32)
        return g.Neuron(name=name, inputs=(source,), threshold=theta, bias=zero)

    def conv(name: str, source: str, *shape: int) -> g.Conv2d:
        weight = rng.integers(-127, 128, size=shape).astype(np.int32)
        pad = shape[2] // 2
        return g.Conv2d(name=name, inputs=(source,), weight_bits=8, weight=weight, padding=(pad, pad))

    one = np.ones(1, np.float32)
    ops = [
        g.Input(name="x", inputs=(), threshold=one, shape=(4, 4, 4), time_steps=4),
        conv("c0", "x", 4, 4, 1, 1),
        neuron("n0", "c0"),
        conv("c1", "n0", 4, 4, 3, 3),
        neuron("n1", "c1"),
        conv("c2", "n1", 4, 4, 3, 3),
        g.Scale(name="skip", inputs=("n0",), weight_bits=8, multiplier=np.full(4, 50, np.int32)),
        g.Add(name="sum", inputs=("c2", "skip")),
        g.Readout(name="y", inputs=("sum",), scale=np.ones(4), bias=np.zeros(4, np.int32)),
    ]
    network = g.Network(ops, 4)
    design = plan(network, Options(fire=1))
    codes = {"x": rng.integers(0, 16, size=(16, 4, 4, 4))}
    with simulator(design) as bench:
        run = bench.run(codes)
    assert_exact(run, network, codes)
    work = np.array([load.cycles for load in loads(design, codes).values()])
    taken = run.cycles["y"][-1, -1] - run.cycles["y"][3, -1]
    assert taken <= 1.1 * work[:, 4:].max(0).sum()
