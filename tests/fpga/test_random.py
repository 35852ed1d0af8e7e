"""Random networks of every operation: hypothesis draws the structure, several are compiled as one design."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lava_bridge.fpga import Options, plan, simulator, tools
from lava_bridge.fpga.simulators import SIMULATORS
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import UnsupportedError


def side_by_side(networks: list[g.Network]) -> g.Network:
    """One network that holds several: a design compiles as fast for four small ones as for one."""
    ops = []
    for number, network in enumerate(networks):
        for op in network.ops.values():
            inputs = tuple(f"net{number}/{name}" for name in op.inputs)
            ops.append(replace(op, name=f"net{number}/{op.name}", inputs=inputs))
    return g.Network(ops, max(network.time_steps for network in networks))


def without_memory(network: g.Network) -> g.Network:
    """The network with independent windows; a leak between windows has no hardware."""
    ops = [replace(op, leak_shift=None) if isinstance(op, g.Neuron) else op for op in network.ops.values()]
    return g.Network(ops, network.time_steps)


def check(
    data: Any, net_builder: Any, corner_codes: Any, assert_exact: Any, count: int, engine: str = "auto"
) -> None:
    network = side_by_side([without_memory(net_builder(data.draw).network()) for _ in range(count)])
    currents = [name for name, signal in network.signals.items() if signal is g.Signal.CURRENTS]
    # the one operation that hardware refuses, with a sentence of its own
    assume(not any(isinstance(network.ops[name], g.Upsample2d) for name in currents))
    options = Options(
        lanes=data.draw(st.integers(1, 9)),
        fire=data.draw(st.sampled_from([1, 2, 4])),
        digits=data.draw(st.sampled_from(["csd", "binary"])),
        buffers=data.draw(st.booleans()),
        convolution=data.draw(st.sampled_from(["event", "line"])),
    )
    codes = corner_codes(network, 8)
    with simulator(plan(network, options), engine=engine) as bench:
        assert_exact(bench.run(codes), network, codes)
        assert_exact(bench.run(codes, gaps=0.3, stalls=0.3), network, codes)


@settings(max_examples=1)
@given(data=st.data())
def test_random_networks(data: Any, net_builder: Any, corner_codes: Any, assert_exact: Any) -> None:
    check(data, net_builder, corner_codes, assert_exact, count=3)


@pytest.mark.fpga
@settings(max_examples=12, derandomize=False)
@given(data=st.data())
def test_many_random_networks(data: Any, net_builder: Any, corner_codes: Any, assert_exact: Any) -> None:
    """Icarus runs slowly and compiles at once, which suits many small designs."""
    if not all(tools.available(tool) for tool in SIMULATORS["icarus"].needs):
        pytest.skip("iverilog is not installed")
    check(data, net_builder, corner_codes, assert_exact, count=1, engine="icarus")


@pytest.mark.fpga
def test_a_transposed_convolution_is_a_dense_matrix(assert_exact: Any, corner_codes: Any) -> None:
    """Exact in simulation; a pool behind it, which would need a map, is refused."""
    rng = np.random.default_rng(0)

    def ints(high: int, *shape: int) -> Any:
        return rng.integers(-high, high + 1, size=shape).astype(np.int32)

    constants = {"stride": 2, "padding": 1, "output_padding": 1, "groups": 2}
    shared = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(2, 3, 3)),
        g.ConvTranspose2d(name="t", inputs=("x",), weight_bits=8, weight=ints(99, 4, 1, 3, 3), **constants),
        g.Neuron(name="n", inputs=("t",), threshold=np.full(4, 90, np.int32), bias=ints(50, 4)),
    ]
    tail = [
        g.Dense(name="d", inputs=("f",), weight_bits=8, weight=ints(9, 2, 144)),
        g.Readout(name="o", inputs=("d",), scale=np.ones(2), bias=np.zeros(2, np.int32)),
    ]
    network = g.Network([*shared, g.Flatten(name="f", inputs=("n",)), *tail], 4)
    codes = corner_codes(network, 6)
    with simulator(plan(network, Options())) as bench:
        assert_exact(bench.run(codes), network, codes)
    pool = g.MaxPool2d(name="p", inputs=("n",), kernel=(1, 1), stride=(1, 1))
    pooled = g.Network([*shared, pool, g.Flatten(name="f", inputs=("p",)), *tail], 4)
    with pytest.raises(UnsupportedError, match="max_pool2d 'p': must read neurons laid out as a map"):
        plan(pooled, Options())
