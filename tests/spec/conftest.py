"""Random integer networks, an independent interpreter of them, and files to read."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import SpikePackError
from spikejelly_pack.spec.exchange import load, save


def _load(name: str) -> ModuleType:
    """A file beside this one: tests are no package."""
    spec = importlib.util.spec_from_file_location(
        f"tests_spec_{name}", Path(__file__).with_name(f"{name}.py")
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


NetBuilder = _load("builder").NetBuilder
_INTERPRETER = _load("interpreter")
code_of, interpret = _INTERPRETER.code_of, _INTERPRETER.interpret


@pytest.fixture(scope="session")
def interpreter() -> Callable[[Any, dict[str, Any]], dict[str, list[Any]]]:
    """Return the independent interpreter: ``interpreter(network, codes)``."""
    return interpret


@pytest.fixture(scope="session")
def exact_code() -> Callable[..., int]:
    """Return ``exact_code(membrane, theta, time_steps, signed, rounding)``."""
    return code_of


@pytest.fixture(scope="session")
def net_builder() -> type[NetBuilder]:
    """Return the builder of random networks: ``net_builder(data.draw).network()``."""
    return NetBuilder


@pytest.fixture
def residual_net() -> Any:
    """Return a small network with every kind of operation: groups, dilation, skips across depth, mixed T."""
    rng = np.random.default_rng(7)

    def w(*shape: int) -> Any:
        return rng.integers(-127, 128, size=shape).astype(np.int32)

    def neuron(name: str, source: str, channels: int, theta: int, **more: Any) -> Any:
        constants = {"threshold": np.full(channels, theta, np.int32), "bias": w(channels)}
        return g.Neuron(name=name, inputs=(source,), **constants, **more)

    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(2, 4, 4), signed=True),
        g.Conv2d(name="c1", inputs=("x",), weight_bits=8, weight=w(4, 1, 3, 3), padding=(1, 1), groups=2),
        neuron("n1", "c1", 4, 60),
        g.Conv2d(
            name="c2", inputs=("n1",), weight_bits=8, weight=w(4, 4, 3, 3), padding=(2, 2), dilation=(2, 2)
        ),
        g.Scale(name="skip", inputs=("n1",), weight_bits=12, multiplier=np.full(4, 500, np.int32)),
        g.Add(name="sum", inputs=("c2", "skip")),
        neuron("n2", "sum", 4, 120, time_steps=3, signed=True),
        g.Concat(name="cat", inputs=("n1", "n2")),
        g.AvgPool2d(name="pool", inputs=("cat",), weight_bits=8, multiplier=np.full(8, 7, np.int32)),
        neuron("n3", "pool", 8, 28, rounding="floor"),
        g.Flatten(name="flat", inputs=("n3",)),
        g.Dense(name="fc", inputs=("flat",), weight_bits=8, weight=w(3, 32)),
        g.Readout(name="out", inputs=("fc",), scale=np.full(3, 0.25), bias=w(3)),
    ]
    return g.Network(ops, 4, {"made_by": "tests"}).balanced()


@pytest.fixture
def golden() -> Any:
    return np.random.default_rng(1).integers(-15, 16, size=(3, 2, 4, 4)).astype(np.int8)


@pytest.fixture
def spk(tmp_path: Path, residual_net: Any, golden: Any) -> Path:
    """Return a good file with golden samples."""
    path = tmp_path / "net.spk"
    save(residual_net, path, golden)
    return path


def _same(one: Any, other: Any) -> bool:
    """Whether two networks are equal in every constant."""
    if (one.time_steps, one.provenance, list(one.ops)) != (
        other.time_steps,
        other.provenance,
        list(other.ops),
    ):
        return False
    for a, b in zip(one.ops.values(), other.ops.values(), strict=True):
        values = [(getattr(a, f.name), getattr(b, f.name)) for f in dataclasses.fields(a)]
        if type(a) is not type(b) or not all(np.array_equal(x, y) for x, y in values):
            return False
    return True


def _refusal(path: Path, verify: bool = True) -> str:
    """The one sentence that loading the file raises."""
    with pytest.raises(SpikePackError) as caught:
        load(path, verify)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert message.endswith(".")
    assert "; " in message
    assert "\n" not in message
    return message


@pytest.fixture(scope="session")
def same() -> Callable[[Any, Any], bool]:
    """Return ``same(network, other)``."""
    return _same


@pytest.fixture(scope="session")
def refusal() -> Callable[..., str]:
    """Return ``refusal(path)``: the sentence that loading raises."""
    return _refusal


@pytest.fixture(scope="session")
def outcome() -> Callable[[Path], Any]:
    """Return ``outcome(path)``: the network or the sentence; any other exception passes."""

    def load_or_refuse(path: Path) -> Any:
        try:
            return load(path)
        except SpikePackError as error:
            return str(error)

    return load_or_refuse
