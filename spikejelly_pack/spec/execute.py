"""Integer reference: run a network packed and serial multi-step, exactly (single-step: :mod:`.stream`).

This is what Lava, torch and generated hardware are compared with, code for code. All forms compute
the same codes: the charge ``V <- 2 V + W s[t]`` is Horner's rule for ``W P``, and firing most
significant digit first against ``theta * 2^(T-t)`` with soft reset is long division by theta.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import numpy as np

from .bits import code_dtype, unpack
from .equations import charge, fire_digits, nearest_code, right_aligned
from .errors import DtypeError, ShapeError
from .firing import add_bias, load_register, packed_code, thresholds
from .graph import Input, MaxPool2d, Network, Neuron, Op, Readout, Synapse
from .graph.base import Array
from .graph.scale import per_channel
from .wiring import DigitPool, wire

__all__ = [
    "Codes",
    "as_inputs",
    "encode",
    "outputs",
    "packed_step",
    "run_packed",
    "run_serial_multi_step",
    "visible",
]

Codes = Mapping[str, Array]


def _batch(op: Input) -> str:
    return f"[N, {', '.join(map(str, op.shape))}]"


def encode(op: Input, x: Any) -> Array:
    """Codes ``[N, *shape]`` of real values: the encoder, in float32 as everywhere.

    Raises:
        ShapeError: The sample shape differs from the input's.
        DtypeError: The values are no numbers or contain NaN.
    """
    values = np.asarray(x)
    if values.dtype.kind not in "fiub":
        raise DtypeError(f"{op.label}: values must be numbers, got dtype {values.dtype}; convert them first.")
    if values.shape[1:] != op.shape:
        raise ShapeError(
            f"{op.label}: values must have shape {_batch(op)}, got {values.shape}; reshape them."
        )
    with np.errstate(over="ignore"):  # infinities saturate
        values = values.astype(np.float32)
    if np.isnan(values).any():
        raise DtypeError(f"{op.label}: values must be numbers, got NaN; clean the data first.")
    weight_sum = np.float32((1 << op.time_steps) - 1)
    lsb = per_channel(op.threshold / weight_sum, values.ndim - 1)
    magnitude = np.abs(values) if op.signed else values
    with np.errstate(over="ignore"):
        code = nearest_code(magnitude, lsb, op.max_code, 0.5 if op.half else 0.0, np.floor)
    code = np.copysign(code, values) if op.signed else code
    return cast("Array", code.astype(code_dtype(op.time_steps, op.signed)))


def as_inputs(network: Network, codes: Codes | Array) -> dict[str, Array]:
    """Codes by input name, checked against the network (a bare array serves a single input)."""
    if not isinstance(codes, Mapping):
        if len(network.inputs) != 1:
            raise ShapeError(
                f"Network: has inputs {[op.name for op in network.inputs]}; pass a dict of codes by name."
            )
        codes = {network.inputs[0].name: codes}
    if unknown := set(codes) - {op.name for op in network.inputs}:
        raise ShapeError(
            f"Network: has inputs {[op.name for op in network.inputs]}, got codes for {unknown}; leave "
            "those out."
        )
    result = {op.name: _checked_codes(op, codes.get(op.name)) for op in network.inputs}
    counts = [len(array) for array in result.values()]
    if len(set(counts)) != 1:
        raise ShapeError(f"Network: all inputs must have the same number of samples, got {counts}; cut them.")
    return result


def _checked_codes(op: Input, codes: Any) -> Array:
    if codes is None:
        raise ShapeError(f"{op.label}: its codes are missing; pass them by name.")
    array = np.asarray(codes)
    if array.dtype.kind not in "iu":
        raise DtypeError(
            f"{op.label}: codes must be integers, got dtype {array.dtype}; use encode() on values."
        )
    if array.shape[1:] != op.shape:
        raise ShapeError(f"{op.label}: codes must have shape {_batch(op)}, got {array.shape}; reshape them.")
    low = -op.max_code if op.signed else 0
    if array.size and (array.min() < low or array.max() > op.max_code):
        raise DtypeError(
            f"{op.label}: codes must be in {low}..{op.max_code}, got {array.min()}..{array.max()}; use "
            "encode() on values."
        )
    return array.astype(code_dtype(op.time_steps, op.signed))


def visible(network: Network) -> list[str]:
    """Names whose values a run returns: inputs, neurons and readouts."""
    return [op.name for op in network.ops.values() if isinstance(op, (Input, Neuron, Readout))]


def _layer_by_layer(
    network: Network, values: dict[str, Array], step: Callable[[Op, list[Array]], Array]
) -> dict[str, Array]:
    for op in network.ops.values():
        if not isinstance(op, Input):
            values[op.name] = step(op, [values[name] for name in op.inputs])
    return {name: values[name] for name in visible(network)}


def run_packed(network: Network, codes: Codes | Array) -> dict[str, Array]:
    """One pass: every operation once, on codes.

    Args:
        network: Integer network.
        codes: Input codes ``[N, *shape]`` (by input name where there are several).

    Returns:
        Codes ``[N, *]`` of every input and neuron, membranes ``[N, *]`` (int64) of every readout, by name.
    """
    return _layer_by_layer(network, as_inputs(network, codes), packed_step)


def packed_step(op: Op, parts: list[Array]) -> Array:
    """What one operation but an input makes of the codes or sums it reads."""
    if isinstance(op, Neuron):
        return packed_code(op, add_bias(op.bias, parts[0]))
    if isinstance(op, Readout):
        return add_bias(op.bias, parts[0])
    if isinstance(op, Synapse):
        return op.apply(parts[0])
    return wire(op, parts)


def run_serial_multi_step(network: Network, codes: Codes | Array) -> dict[str, Array]:
    """Layer by layer on whole spike trains ``[T, N, *]``; arguments and result as :func:`run_packed`.

    A neuron with fewer digits than the window right-aligns its code: the leading digits are zero.
    """
    window = network.time_steps

    def step(op: Op, parts: list[Array]) -> Array:
        if isinstance(op, Neuron):
            return _fire_train(op, charge(parts[0], 2), window)
        if isinstance(op, Readout):
            return add_bias(op.bias, charge(parts[0], 2))
        if isinstance(op, Synapse):
            steps, samples, *shape = parts[0].shape
            flat = op.apply(parts[0].reshape(steps * samples, *shape))
            return flat.reshape(steps, samples, *flat.shape[1:])
        if isinstance(op, MaxPool2d):
            pool = DigitPool(op)
            return np.stack([pool.step(phase, digits) for phase, digits in enumerate(parts[0])])
        return wire(op, parts, batch_axes=2)

    trains = {name: unpack(array, window) for name, array in as_inputs(network, codes).items()}
    values = _layer_by_layer(network, trains, step)
    return {name: _collected(network.ops[name], value) for name, value in values.items()}


def _fire_train(op: Neuron, accumulator: Array, window: int) -> Array:
    register, sign = load_register(op, accumulator)
    steps = thresholds(op, window, register)
    spikes, _ = fire_digits(register, [theta for theta in steps if theta is not None])
    digits = right_aligned([spike * sign for spike in spikes], window, np.zeros_like(register))
    return np.stack(digits).astype(np.int8)


def _collected(op: Op, value: Array) -> Array:
    if isinstance(op, (Input, Neuron)):
        return cast("Array", charge(value.astype(np.int64), 2).astype(code_dtype(op.time_steps, op.signed)))
    return value


def outputs(network: Network, membranes: Mapping[str, Array]) -> dict[str, Array]:
    """Real outputs (float64) of every readout from its membranes."""
    return {
        op.name: membranes[op.name] * per_channel(op.scale, membranes[op.name].ndim - 1)
        for op in network.readouts
    }
