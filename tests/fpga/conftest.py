"""Networks of the spec room, designs compiled once, and the comparison with the numpy reference."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
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


@pytest.fixture(autouse=True)
def own_temporary_folder(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failed tool's log is kept in a temporary folder for its user: those of tests go with the tests."""
    folder = str(tmp_path_factory.mktemp("temporary"))
    monkeypatch.setenv("TMPDIR", folder)
    monkeypatch.setattr(tempfile, "tempdir", folder)


@pytest.fixture(scope="session")
def net_builder() -> Any:
    """Return the builder of random networks, without what generated hardware refuses."""
    kinds = SPEC_ROOM.NetBuilder.kinds - {"conv_transpose2d"}  # a dense matrix there, which no pool may read
    options = {"kinds": kinds, "leaks": False, "upsampled_currents": False}
    return type("Builder", (SPEC_ROOM.NetBuilder,), options)


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


@pytest.fixture(scope="session")
def pool_net() -> g.Network:
    """Maximum pooling with signs, padding, dilation and of whole maps, upsampling, odd channels; T = 3."""
    rng = np.random.default_rng(5)

    def neuron(name: str, source: str, channels: int, **more: Any) -> g.Neuron:
        theta = rng.integers(20, 200, size=channels).astype(np.int32)
        bias = numbers(rng, channels, high=300)
        return g.Neuron(name=name, inputs=(source,), threshold=theta, bias=bias, time_steps=3, **more)

    one, depthwise = np.ones(1, np.float32), numbers(rng, 10, 1, 1, 1, high=9)
    ops = [
        g.Input(name="x", inputs=(), threshold=one, shape=(3, 6, 5), time_steps=3, signed=True),
        g.Input(name="y", inputs=(), threshold=one, shape=(5, 3, 3), time_steps=2),
        g.MaxPool2d(name="mx", inputs=("x",), kernel=(3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 2)),
        g.Conv2d(name="c1", inputs=("mx",), weight_bits=8, weight=numbers(rng, 5, 3, 2, 3), stride=(1, 2)),
        neuron("n1", "c1", 5, signed=True),
        g.MaxPool2d(name="global", inputs=("n1",), kernel=(2, 2), stride=(2, 2), ceil_mode=True),
        g.Upsample2d(name="up", inputs=("global",), factor=(3, 3)),
        g.Concat(name="cat", inputs=("up", "y")),
        g.MaxPool2d(name="mc", inputs=("cat",), kernel=(2, 2), stride=(1, 1)),
        g.Conv2d(name="c2", inputs=("mc",), weight_bits=5, weight=depthwise, groups=10),
        g.Flatten(name="fl", inputs=("c2",)),
        neuron("n2", "fl", 40),
        g.Dense(name="fc", inputs=("n2",), weight_bits=8, weight=numbers(rng, 3, 40)),
        g.Readout(name="out", inputs=("fc",), scale=np.ones(3), bias=numbers(rng, 3, high=900)),
        g.Scale(name="s", inputs=("y",), weight_bits=12, multiplier=numbers(rng, 5, high=2000)),
        g.Readout(name="side", inputs=("s",), scale=np.ones(5), bias=numbers(rng, 5, high=900)),
    ]
    return g.Network(ops, 3)
