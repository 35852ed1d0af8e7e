"""Random integer networks, and an interpreter of them that shares no line with the package.

The interpreter follows ``docs/exchange-file.md`` with Python integers, fractions and loops over single
values, so that neither numpy's dtypes nor the library's closed forms can hide a mistake.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import SpikePackError
from spikejelly_pack.spec.exchange import load, save

Value = dict[tuple[int, ...], int]


def code_of(membrane: int, theta: int, time_steps: int, signed: bool, rounding: str) -> int:
    """Nearest (or next lower) multiple of theta, clamped: exact rational arithmetic."""
    magnitude = abs(membrane) if signed else membrane
    offset = theta // 2 if rounding == "round_half_up" else 0
    code = min(max(math.floor(Fraction(magnitude + offset, theta)), 0), 2**time_steps - 1)
    return -code if signed and membrane < 0 else code


def _window_sum(
    x: Value, shape: tuple[int, ...], at: tuple[int, int, int], op: Any, taps: dict[Any, int]
) -> int:
    channel, row, column = at
    dilation = getattr(op, "dilation", (1, 1))
    total = 0
    for (k, i, j), weight in taps.items():
        h = row * op.stride[0] - op.padding[0] + i * dilation[0]
        w = column * op.stride[1] - op.padding[1] + j * dilation[1]
        if 0 <= h < shape[1] and 0 <= w < shape[2]:
            total += weight * x[channel + k, h, w]
    return total


def _conv(op: Any, x: Value, shape: tuple[int, ...], out: tuple[int, ...]) -> Value:
    weight = op.weight.tolist()
    per_group = len(weight) // op.groups
    depth, height, width = len(weight[0]), len(weight[0][0]), len(weight[0][0][0])
    result = {}
    for o, row, column in itertools.product(*map(range, out)):
        first = (o // per_group) * depth
        taps = {
            (k, i, j): weight[o][k][i][j]
            for k, i, j in itertools.product(range(depth), range(height), range(width))
        }
        result[o, row, column] = _window_sum(x, shape, (first, row, column), op, taps)
    return result


def _pool(op: Any, x: Value, shape: tuple[int, ...], out: tuple[int, ...]) -> Value:
    result = {}
    for c, row, column in itertools.product(*map(range, out)):
        weight = int(op.multiplier[c])
        taps = {(0, i, j): weight for i in range(op.kernel[0]) for j in range(op.kernel[1])}
        result[c, row, column] = _window_sum(x, shape, (c, row, column), op, taps)
    return result


def _concat(parts: list[Value], shapes: list[tuple[int, ...]]) -> Value:
    result: Value = {}
    first = 0
    for part, shape in zip(parts, shapes, strict=True):
        result |= {(index[0] + first, *index[1:]): value for index, value in part.items()}
        first += shape[0]
    return result


def _one(network: Any, op: Any, parts: list[Value]) -> Value:
    shapes = [network.shapes[name] for name in op.inputs]
    if op.kind == "conv2d":
        return _conv(op, parts[0], shapes[0], network.shapes[op.name])
    if op.kind == "avg_pool2d":
        return _pool(op, parts[0], shapes[0], network.shapes[op.name])
    if op.kind == "dense":
        rows = op.weight.tolist()
        return {(o,): sum(w * parts[0][i,] for i, w in enumerate(row)) for o, row in enumerate(rows)}
    if op.kind == "scale":
        return {index: int(op.multiplier[index[0]]) * value for index, value in parts[0].items()}
    if op.kind == "add":
        return {index: sum(part[index] for part in parts) for index in parts[0]}
    if op.kind == "concat":
        return _concat(parts, shapes)
    if op.kind == "flatten":
        return {(n,): parts[0][index] for n, index in enumerate(itertools.product(*map(range, shapes[0])))}
    if op.kind == "delay":
        return parts[0]
    biased = {index: value + int(op.bias[index[0]]) for index, value in parts[0].items()}
    if op.kind == "readout":
        return biased
    return {
        index: code_of(value, int(op.threshold[index[0]]), op.time_steps, op.signed, op.rounding)
        for index, value in biased.items()
    }


def interpret(network: Any, codes: dict[str, Any]) -> dict[str, list[Any]]:
    """Codes of inputs and neurons and membranes of readouts, ``[N, *]`` as nested lists, by name."""
    samples = len(next(iter(codes.values())))
    shown = [op.name for op in network.ops.values() if op.kind in {"input", "neuron", "readout"}]
    result: dict[str, list[Any]] = {name: [] for name in shown}
    for n in range(samples):
        values: dict[str, Value] = {}
        for op in network.ops.values():
            if op.kind == "input":
                sample = np.asarray(codes[op.name][n])
                values[op.name] = {index: int(sample[index]) for index in np.ndindex(*sample.shape)}
            else:
                values[op.name] = _one(network, op, [values[name] for name in op.inputs])
        for name in shown:
            array = np.empty(network.shapes[name], object)
            for index, value in values[name].items():
                array[index] = value
            result[name].append(array.tolist())
    return result


class NetBuilder:
    """Draws operations one after the other; hypothesis draws the structure, a generator the numbers."""

    def __init__(self, draw: Callable[[Any], Any]) -> None:
        self.draw = draw
        self.rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        self.time_steps = draw(st.integers(1, 6))
        self.ops: list[Any] = []
        self.spikes: list[tuple[str, tuple[int, ...]]] = []

    def add(self, cls: Any, *inputs: str, **constants: Any) -> str:
        name = f"{cls.kind}{len(self.ops)}"
        self.ops.append(cls(name=name, inputs=inputs, **constants))
        return name

    def numbers(self, *shape: int, high: int = 127) -> Any:
        return self.rng.integers(-high, high + 1, size=shape).astype(np.int32)

    def some(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def input(self) -> None:
        shape = (2 * self.some(1, 2), self.some(2, 5), self.some(2, 5))
        constants = {"threshold": np.ones(1, np.float32), "shape": shape, "signed": self.draw(st.booleans())}
        self.spikes.append((self.add(g.Input, time_steps=self.some(1, self.time_steps), **constants), shape))

    def neuron(self, current: str, shape: tuple[int, ...]) -> None:
        channels = shape[0]
        name = self.add(
            g.Neuron,
            current,
            threshold=self.rng.integers(1, 200, size=channels).astype(np.int32),
            bias=self.numbers(channels, high=900),
            time_steps=self.some(1, self.time_steps),
            signed=self.draw(st.booleans()),
            rounding=self.draw(st.sampled_from(["round_half_up", "floor"])),
        )
        self.spikes.append((name, shape))

    def conv(self, source: str, shape: tuple[int, ...], same: bool) -> tuple[str, tuple[int, ...]]:
        groups = self.draw(st.sampled_from([n for n in (1, 2, shape[0]) if shape[0] % n == 0]))
        kernel = self.some(1, 3)
        dilation = self.some(1, 2)
        out = shape[0] if same else groups * self.some(1, 2)
        if same:
            kernel, stride, padding = 3, 1, dilation
        else:
            stride, padding = self.some(1, 3), dilation * (kernel - 1) // 2 + self.some(0, 1)
        weight = self.numbers(out, shape[0] // groups, kernel, kernel)
        window = {"stride": (stride, 1 if same else self.some(1, 2)), "padding": (padding, padding)}
        window["dilation"] = (dilation, dilation)
        name = self.add(g.Conv2d, source, weight_bits=8, weight=weight, groups=groups, **window)
        op = self.ops[-1]
        return name, op.output_shape(shape)

    def pool(self, source: str, shape: tuple[int, ...]) -> tuple[str, tuple[int, ...]]:
        kernel = (self.some(1, 2), self.some(1, 2))
        constants = {
            "kernel": kernel,
            "stride": (self.some(1, 2), self.some(1, 2)),
            "padding": (self.some(0, 1), 0),
        }
        multiplier = self.numbers(shape[0], high=100)
        name = self.add(g.AvgPool2d, source, weight_bits=8, multiplier=multiplier, **constants)
        return name, self.ops[-1].output_shape(shape)

    def block(self) -> None:
        """Some synapses on recent spikes, perhaps joined with older ones, then a neuron."""
        source, shape = self.draw(st.sampled_from(self.spikes[-3:]))
        alike = [name for name, other in self.spikes if other == shape]
        skip = self.draw(st.sampled_from(alike))
        kinds = ["residual", "residual", "concat", "join", "dense"]
        kind = self.draw(st.sampled_from(kinds + ["conv", "pool"] * (len(shape) == 3)))
        if kind == "conv":
            self.neuron(*self.conv(source, shape, same=False))
        elif kind == "pool":
            self.neuron(*self.pool(source, shape))
        elif kind == "dense":
            self.neuron(*self.dense(source, shape, self.some(1, 4)))
        elif kind == "concat":
            self.spikes.append((self.add(g.Concat, source, skip), (2 * shape[0], *shape[1:])))
        else:
            skipped = self.add(g.Scale, skip, weight_bits=12, multiplier=self.numbers(shape[0], high=2000))
            if len(shape) == 3:
                main, _ = self.conv(source, shape, same=True)
            else:
                main, _ = self.dense(source, shape, shape[0])
            if kind == "residual":
                self.neuron(self.add(g.Add, main, skipped), shape)
            else:
                self.neuron(self.add(g.Concat, main, skipped), (2 * shape[0], *shape[1:]))

    def dense(self, source: str, shape: tuple[int, ...], out: int) -> tuple[str, tuple[int, ...]]:
        if len(shape) > 1:
            source = self.add(g.Flatten, source)
        return self.add(g.Dense, source, weight_bits=8, weight=self.numbers(out, math.prod(shape))), (out,)

    def network(self) -> Any:
        self.input()
        for _ in range(self.some(1, 5)):
            self.block()
        source, shape = self.spikes[-1]
        current, _ = self.dense(source, shape, 3)
        self.add(g.Readout, current, scale=np.full(3, 0.5), bias=self.numbers(3, high=900))
        return g.Network(self.used(), self.time_steps)

    def used(self) -> list[Any]:
        """A concatenation drawn but never read is no network."""
        read = {name for op in self.ops for name in op.inputs}
        return [op for op in self.ops if op.kind in {"neuron", "readout"} or op.name in read]

    def codes(self, network: Any, samples: int) -> dict[str, Any]:
        """Random input codes, both ends included."""
        result = {}
        for op in network.inputs:
            low = -op.max_code if op.signed else 0
            result[op.name] = self.rng.integers(low, op.max_code + 1, size=(samples, *op.shape))
        return result


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
