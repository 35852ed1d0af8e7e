"""Generated hardware, simulated: every code of every layer equals the numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lava_bridge.fpga import Options, tools
from lava_bridge.fpga.simulators import SIMULATORS
from spikejelly_pack.spec import graph as g

# Binary digits with signs here, recoded ones in the other networks.
FOLDED = Options(lanes=2, fire=2, buffers=False, digits="binary")


@pytest.fixture(scope="module")
def dense(compiled: Any, dense_net: Any) -> Any:
    return compiled(dense_net, Options(digits="binary"))


def test_a_stream_of_samples(dense: Any, dense_net: Any, corner_codes: Any, assert_exact: Any) -> None:
    codes = corner_codes(dense_net, 300)
    assert_exact(dense.run(codes), dense_net, codes)


@pytest.mark.parametrize(("gaps", "stalls"), [(0.3, 0.3), (0.0, 0.9), (0.9, 0.0)])
def test_pauses_change_nothing(
    dense: Any, dense_net: Any, corner_codes: Any, assert_exact: Any, gaps: float, stalls: float
) -> None:
    codes = corner_codes(dense_net, 60, seed=1)
    assert_exact(dense.run(codes, gaps=gaps, stalls=stalls, seed=7), dense_net, codes)


def test_every_operation_folded(
    compiled: Callable[..., Any], residual_net: Any, corner_codes: Any, assert_exact: Any
) -> None:
    """Groups, dilation, skips across depth, concat, average pooling, mixed T, signs; two lanes."""
    bench = compiled(residual_net, FOLDED)
    codes = corner_codes(residual_net, 60)
    assert_exact(bench.run(codes), residual_net, codes)
    assert_exact(bench.run(codes, gaps=0.4, stalls=0.4), residual_net, codes)


@pytest.mark.parametrize("memory", ["block", "distributed"])
@pytest.mark.parametrize(("lanes", "words"), [(7, 2), (5, 3), (4, 4)])
def test_sums_on_their_way_are_forwarded(
    compiled: Callable[..., Any], dense_net: Any, corner_codes: Any, assert_exact: Any,
    memory: str, lanes: int, words: int,
) -> None:  # fmt: skip
    """Every event adds to the same words in turn, so a word is needed two, three or four cycles later."""
    engine = "icarus" if all(map(tools.available, SIMULATORS["icarus"].needs)) else "auto"
    bench = compiled(dense_net, Options(lanes=lanes, fire=1, membrane_memory=memory), engine)
    assert bench.bench.design.populations["n1"].depth == words
    codes = corner_codes(dense_net, 12)
    assert_exact(bench.run(codes), dense_net, codes)


def test_pools_and_two_inputs(
    compiled: Callable[..., Any], pool_net: Any, corner_codes: Any, assert_exact: Any
) -> None:
    """Maximum pooling, upsampling, depthwise convolution, thresholds of single neurons, two readouts."""
    bench = compiled(pool_net)
    codes = corner_codes(pool_net, 60)
    assert_exact(bench.run(codes), pool_net, codes)
    assert_exact(bench.run(codes, gaps=0.4, stalls=0.4), pool_net, codes)


def test_a_deep_buffer_in_front_of_a_skip(
    compiled: Callable[..., Any], corner_codes: Any, assert_exact: Any
) -> None:
    """Two windows of 81 beats wait in a block memory; the map itself is the population that reads both."""
    rng = np.random.default_rng(9)

    def neuron(name: str, *sources: str) -> g.Neuron:
        theta = rng.integers(20, 60, size=2).astype(np.int32)
        return g.Neuron(name=name, inputs=sources, threshold=theta, bias=np.zeros(2, np.int32), time_steps=3)

    def conv(name: str, source: str, size: int) -> g.Conv2d:
        weight = rng.integers(-99, 100, (2, 2, size, size)).astype(np.int32)
        return g.Conv2d(name=name, inputs=(source,), weight_bits=8, weight=weight, padding=(size // 2,) * 2)

    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(2, 9, 9), time_steps=3),
        conv("c1", "x", 1),
        neuron("n1", "c1"),
        conv("c2", "n1", 3),
        neuron("n2", "c2"),
        conv("c3", "n2", 1),
        conv("skip", "x", 1),
        g.Add(name="sum", inputs=("c3", "skip")),
        g.Readout(name="out", inputs=("sum",), scale=np.ones(2), bias=np.zeros(2, np.int32)),
    ]
    network = g.Network(ops, 3)
    bench = compiled(network)
    buffers = [p.buffer for one in bench.bench.design.populations.values() for p in one.projections]
    assert max(buffers) == 162
    codes = corner_codes(network, 12)
    assert_exact(bench.run(codes), network, codes)
    assert_exact(bench.run(codes, gaps=0.4, stalls=0.4), network, codes)


@pytest.mark.parametrize("engine", SIMULATORS)
def test_simulators_agree(
    compiled: Callable[..., Any], dense_net: Any, corner_codes: Any, assert_exact: Any, engine: str
) -> None:
    if not all(tools.available(tool) for tool in SIMULATORS[engine].needs):
        pytest.skip(f"{engine} is not installed")
    codes = corner_codes(dense_net, 12)
    bench = compiled(dense_net, Options(fire=8), engine)
    run = bench.run(codes, gaps=0.2, stalls=0.2)
    assert_exact(run, dense_net, codes)
    if engine == "cxxrtl":  # a wire that feeds itself makes every step two evaluations
        assert "feedback" not in (bench.bench.folder / "translate-for-simulation.log").read_text("utf-8")
    assert np.all(np.diff(run.cycles["out"].reshape(-1)) > 0)
