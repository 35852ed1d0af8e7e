"""An integer network as a NIR graph: integer weights, codes as values, exact if evaluated exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ..spec.errors import UnsupportedError
from ..spec.graph import (
    Add,
    AvgPool2d,
    Conv2d,
    Delay,
    Dense,
    Flatten,
    Input,
    Network,
    Neuron,
    Op,
    Readout,
    Scale,
)
from ..spec.graph.base import Shape
from ..spec.parameters import NeuronParameters
from .digits import Digits
from .graph import GraphWriter, Value, ungrouped

__all__ = ["integer_graph"]

Rule = Callable[[GraphWriter, Any, list[Value], list[Shape]], Value]
RULES: dict[type[Op], Rule] = {}
_Function = TypeVar("_Function", bound=Rule)
_FLOAT32_STATE = 24  # bits of a membrane that float32 holds exactly


def integer_graph(network: Network) -> GraphWriter:
    """All operations of ``network`` as nodes.

    Raises:
        UnsupportedError: An operation has no counterpart in NIR; the message names it.
    """
    widths = [op.state_bits for op in (*network.neurons, *network.readouts)]
    writer = GraphWriter(np.float32 if max(widths) <= _FLOAT32_STATE else np.float64)
    values: dict[str, Value] = {}
    for op in network.ops.values():
        rule = RULES.get(type(op))
        if rule is None:
            raise UnsupportedError(
                f"NIR: {op.label} has no counterpart in NIR; write networks of "
                f"{', '.join(sorted(cls.kind for cls in RULES))} only."
            )
        shapes = [network.shapes[name] for name in op.inputs]
        values[op.name] = rule(writer, op, [values[name] for name in op.inputs], shapes)
    return writer


def _rule(*types: type[Op]) -> Callable[[_Function], _Function]:
    def enter(function: _Function) -> _Function:
        RULES.update(dict.fromkeys(types, function))
        return function

    return enter


def _population(
    writer: GraphWriter, op: Input | Neuron, value: Value, theta: Any, bias: Any, shape: Shape, dtype: Any
) -> Value:
    shift = op.leak_shift if isinstance(op, Neuron) else None  # a leak is refused, with the neuron's name
    leak = 0.0 if shift is None else 2.0**-shift
    parameters = NeuronParameters(op.time_steps, leak=leak, signed=op.signed, rounding=op.rounding)
    amplitude = np.full(1, float(op.max_code))  # codes: the integers downstream stay integers
    digits = Digits(parameters, theta, bias, amplitude, shape, dtype)
    return writer.add(op.name, digits.graph(op.name), value, shape)


@_rule(Input)
def _input(writer: GraphWriter, op: Input, _values: list[Value], _shapes: list[Shape]) -> Value:
    value = writer.add(f"{op.name}_values", writer.nir.Input({"input": np.array(op.shape)}))
    theta = op.threshold.astype(np.float64)
    return _population(writer, op, value, theta, np.zeros(1), op.shape, writer.dtype)


@_rule(Neuron)
def _neuron(writer: GraphWriter, op: Neuron, values: list[Value], shapes: list[Shape]) -> Value:
    theta = op.threshold.astype(np.float64) * op.max_code
    return _population(writer, op, values[0], theta, op.bias.astype(np.float64), shapes[0], writer.dtype)


@_rule(Dense)
def _dense(writer: GraphWriter, op: Dense, values: list[Value], shapes: list[Shape]) -> Value:
    return writer.add(op.name, writer.nir.Linear(op.weight.astype(writer.dtype)), values[0], shapes[0])


@_rule(Conv2d)
def _conv2d(writer: GraphWriter, op: Conv2d, values: list[Value], shapes: list[Shape]) -> Value:
    bias = np.zeros(len(op.weight), writer.dtype)
    weight = ungrouped(op.weight.astype(writer.dtype), op.groups)
    node = writer.nir.Conv2d(None, weight, op.stride, op.padding, op.dilation, 1, bias)
    return writer.add(op.name, node, values[0], shapes[0])


@_rule(AvgPool2d)
def _avg_pool2d(writer: GraphWriter, op: AvgPool2d, values: list[Value], shapes: list[Shape]) -> Value:
    window = (np.array(op.kernel), np.array(op.stride), np.array(op.padding))
    total = writer.add(f"{op.name}_sum", writer.nir.SumPool2d(*window), values[0], shapes[0])
    return writer.scale(op.name, total, op.multiplier, op.output_shape(*shapes))


@_rule(Scale)
def _scale(writer: GraphWriter, op: Scale, values: list[Value], shapes: list[Shape]) -> Value:
    return writer.scale(op.name, values[0], op.multiplier, shapes[0])


@_rule(Add)
def _add(_writer: GraphWriter, _op: Add, values: list[Value], _shapes: list[Shape]) -> Value:
    return tuple(name for value in values for name in value)


@_rule(Delay)
def _delay(_writer: GraphWriter, _op: Delay, values: list[Value], _shapes: list[Shape]) -> Value:
    return values[0]  # the identity in packed form


@_rule(Flatten)
def _flatten(writer: GraphWriter, op: Flatten, values: list[Value], shapes: list[Shape]) -> Value:
    return writer.add(op.name, writer.nir.Flatten(np.array(shapes[0]), 0, -1), values[0], shapes[0])


@_rule(Readout)
def _readout(writer: GraphWriter, op: Readout, values: list[Value], shapes: list[Shape]) -> Value:
    bias = op.bias * op.scale
    value = writer.channel_affine(f"{op.name}_scale", values[0], op.scale, bias, shapes[0])
    return writer.add(op.name, writer.nir.Output({"output": np.array(shapes[0])}), value, shapes[0])
