"""Networks of the spec room, designs compiled once, and the comparison with the numpy reference."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from lava_bridge.fpga import Options, plan, simulator
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.execute import run_packed


def load_spec_room() -> ModuleType:
    """Import the conftest of the spec room: its networks."""
    path = Path(__file__).parents[1] / "spec" / "conftest.py"
    spec = importlib.util.spec_from_file_location("spikepack_tests_spec_room_fpga", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SPEC_ROOM = load_spec_room()
residual_net = SPEC_ROOM.residual_net
net_builder = SPEC_ROOM.net_builder


def corners(network: g.Network, samples: int, seed: int = 0) -> dict[str, Any]:
    """Random codes; the first samples are all zero, all one and (signed) all minus one."""
    rng = np.random.default_rng(seed)
    codes = {}
    for op in network.inputs:
        low = -op.max_code if op.signed else 0
        values = rng.integers(low, op.max_code + 1, size=(samples, *op.shape))
        # every other sample is sparse, as trained networks are
        values[1::2] *= rng.random(values[1::2].shape) < 0.2
        values[:3] = np.array([0, op.max_code, low]).reshape(3, *[1] * len(op.shape))
        codes[op.name] = values
    return codes


def equal_to_reference(run: Any, network: g.Network, codes: dict[str, Any]) -> None:
    """Every code of every neuron and every membrane of every readout, bit for bit."""
    reference = run_packed(network, codes)
    names = {op.name for op in (*network.neurons, *network.readouts)}
    assert set(run.values) == names
    for name in names:
        wanted = reference[name].astype(np.int64)
        assert run.values[name].shape == wanted.shape, name
        assert np.array_equal(run.values[name], wanted), name


@pytest.fixture(scope="session")
def corner_codes() -> Callable[..., dict[str, Any]]:
    return corners


@pytest.fixture(scope="session")
def assert_exact() -> Callable[..., None]:
    return equal_to_reference


@pytest.fixture(scope="module")
def compiled() -> Iterator[Callable[..., Any]]:
    """``compiled(network, options, engine)``: a simulator that lives as long as the module's tests."""
    with ExitStack() as stack:

        def make(network: g.Network, options: Options | None = None, engine: str = "auto") -> Any:
            return stack.enter_context(simulator(plan(network, options), engine=engine))

        yield make


def numbers(rng: Any, *shape: int, high: int = 127) -> Any:
    return rng.integers(-high, high + 1, size=shape).astype(np.int32)


@pytest.fixture(scope="session")
def dense_net() -> g.Network:
    """Two dense layers in registers; T = 5."""
    rng = np.random.default_rng(3)
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(21,), time_steps=5),
        g.Dense(name="fc1", inputs=("x",), weight_bits=8, weight=numbers(rng, 13, 21)),
        g.Neuron(
            name="n1",
            inputs=("fc1",),
            threshold=rng.integers(1, 300, size=13).astype(np.int32),
            bias=numbers(rng, 13, high=900),
            time_steps=5,
        ),
        g.Dense(name="fc2", inputs=("n1",), weight_bits=8, weight=numbers(rng, 3, 13)),
        g.Readout(name="out", inputs=("fc2",), scale=np.ones(3), bias=numbers(rng, 3, high=900)),
    ]
    return g.Network(ops, 5)
