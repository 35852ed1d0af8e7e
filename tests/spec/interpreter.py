"""An interpreter of integer networks that shares no line with the package.

It follows ``docs/exchange-file.md`` with Python integers, fractions and loops over single values, so that
neither numpy's dtypes nor the library's closed forms can hide a mistake.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

Shape = tuple[int, ...]
Value = dict[Shape, int]


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


def _max_pool(op: Any, x: Value, shape: tuple[int, ...], out: tuple[int, ...]) -> Value:
    result = {}
    for c, row, column in itertools.product(*map(range, out)):
        inside = []
        for i, j in itertools.product(range(op.kernel[0]), range(op.kernel[1])):
            h = row * op.stride[0] - op.padding[0] + i * op.dilation[0]
            w = column * op.stride[1] - op.padding[1] + j * op.dilation[1]
            if 0 <= h < shape[1] and 0 <= w < shape[2]:
                inside.append(x[c, h, w])
        result[c, row, column] = max(inside)
    return result


def _upsample(op: Any, x: Value, out: tuple[int, ...]) -> Value:
    places = itertools.product(*map(range, out))
    return {(c, h, w): x[c, h // op.factor[0], w // op.factor[1]] for c, h, w in places}


def _concat(parts: list[Value], shapes: list[tuple[int, ...]]) -> Value:
    result: Value = {}
    first = 0
    for part, shape in zip(parts, shapes, strict=True):
        result |= {(index[0] + first, *index[1:]): value for index, value in part.items()}
        first += shape[0]
    return result


def _dense(op: Any, x: Value) -> Value:
    rows = enumerate(op.weight.tolist())
    return {(o,): sum(w * x[i,] for i, w in enumerate(row)) for o, row in rows}


def _biased(op: Any, x: Value) -> Value:
    return {index: value + int(op.bias[index[0]]) for index, value in x.items()}


def _transposed(op: Any, x: Value, shape: Shape, out: Shape) -> Value:
    weight = op.weight.tolist()
    per_group, depth = len(weight) // op.groups, len(weight[0])
    result = dict.fromkeys(itertools.product(*map(range, out)), 0)
    for o, c, i, j in itertools.product(*map(range, op.weight.shape)):
        for h, w in itertools.product(range(shape[1]), range(shape[2])):
            row = h * op.stride[0] + i * op.dilation[0] - op.padding[0]
            column = w * op.stride[1] + j * op.dilation[1] - op.padding[1]
            if (o, row, column) in result:
                result[o, row, column] += weight[o][c][i][j] * x[o // per_group * depth + c, h, w]
    return result


def _fire(op: Any, x: Value, carried: Value | None) -> tuple[Value, Value]:
    """Codes, and what goes into the next window of the sample (``carried``: from the one before)."""
    codes, left = {}, {}
    for index, value in _biased(op, x).items():
        theta = int(op.threshold[index[0]])
        if carried is not None and op.leak_shift is not None:
            value += math.floor(Fraction(carried[index], 2**op.leak_shift))
        code = codes[index] = code_of(value, theta, op.time_steps, op.signed, op.rounding)
        rest = value if op.carry == "membrane" else value - theta * code
        full = theta * (2**op.time_steps - 1)
        left[index] = min(max(rest, -full), full)
    return codes, left


# Operation, its inputs' values and shapes, and its own shape to its value.
MEANINGS: dict[str, Callable[[Any, list[Value], list[Shape], Shape], Value]] = {
    "conv2d": lambda op, parts, shapes, out: _conv(op, parts[0], shapes[0], out),
    "avg_pool2d": lambda op, parts, shapes, out: _pool(op, parts[0], shapes[0], out),
    "max_pool2d": lambda op, parts, shapes, out: _max_pool(op, parts[0], shapes[0], out),
    "upsample2d": lambda op, parts, _shapes, out: _upsample(op, parts[0], out),
    "dense": lambda op, parts, _shapes, _out: _dense(op, parts[0]),
    "scale": lambda op, parts, _shapes, _out: {i: int(op.multiplier[i[0]]) * v for i, v in parts[0].items()},
    "add": lambda _op, parts, _shapes, _out: {i: sum(part[i] for part in parts) for i in parts[0]},
    "concat": lambda _op, parts, shapes, _out: _concat(parts, shapes),
    "flatten": lambda _op, parts, shapes, _out: {
        (n,): parts[0][index] for n, index in enumerate(itertools.product(*map(range, shapes[0])))
    },
    "delay": lambda _op, parts, _shapes, _out: parts[0],
    "readout": lambda op, parts, _shapes, _out: _biased(op, parts[0]),
    "conv_transpose2d": lambda op, parts, shapes, out: _transposed(op, parts[0], shapes[0], out),
}


def _one(network: Any, op: Any, parts: list[Value]) -> Value:
    shapes = [network.shapes[name] for name in op.inputs]
    return MEANINGS[op.kind](op, parts, shapes, network.shapes[op.name])


def interpret(network: Any, codes: dict[str, Any]) -> dict[str, list[Any]]:
    """Codes of inputs and neurons and membranes of readouts as nested lists, by name.

    ``[N, *]``, or ``[W, N, *]`` from codes ``[W, N, *]`` where the samples of the network have W windows.
    """
    if network.windows == 1:
        return {name: rows[0] for name, rows in _windows(network, codes, 1).items()}
    return _windows(network, codes, network.windows)


def _windows(network: Any, codes: dict[str, Any], windows: int) -> dict[str, list[list[Any]]]:
    first = np.asarray(next(iter(codes.values())))
    samples = first.shape[0 if windows == 1 else 1]
    shown = [op.name for op in network.ops.values() if op.kind in {"input", "neuron", "readout"}]
    result: dict[str, list[list[Any]]] = {name: [[] for _ in range(windows)] for name in shown}
    for n in range(samples):
        carried: dict[str, Value] = {}  # every sample starts from nothing
        for w in range(windows):
            at = n if windows == 1 else (w, n)
            given = {name: np.asarray(array)[at] for name, array in codes.items()}
            values = _window(network, given, carried)
            for name in shown:
                array = np.empty(network.shapes[name], object)
                for index, value in values[name].items():
                    array[index] = value
                result[name][w].append(array.tolist())
    return result


def _window(network: Any, codes: dict[str, Any], carried: dict[str, Value]) -> dict[str, Value]:
    """Values of every operation in one window; ``carried`` is replaced by what the next one starts from."""
    values: dict[str, Value] = {}
    for op in network.ops.values():
        parts = [values[name] for name in op.inputs]
        if op.kind == "input":
            sample = codes[op.name]
            values[op.name] = {index: int(sample[index]) for index in np.ndindex(*sample.shape)}
        elif op.kind == "neuron":
            values[op.name], carried[op.name] = _fire(op, parts[0], carried.get(op.name))
        else:
            values[op.name] = _one(network, op, parts)
    return values
