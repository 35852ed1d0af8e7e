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
from .firing import add_bias, fire_stream, load_register, packed_fire, thresholds, unloaded
from .graph import Input, MaxPool2d, Network, Neuron, Op, Readout, Synapse
from .graph.base import Array
from .graph.scale import per_channel
from .windows import by_window, in_order, windows_of
from .wiring import DigitPool, wire

__all__ = [
    "Codes",
    "as_inputs",
    "as_stream",
    "encode",
    "outputs",
    "packed_step",
    "run_packed",
    "run_serial_multi_step",
    "visible",
]

Codes = Mapping[str, Array]


def _batch(op: Input, windows: int = 1) -> str:
    lead = "N" if windows == 1 else f"{windows}, N"
    return f"[{lead}, {', '.join(map(str, op.shape))}]"


def encode(op: Input, x: Any) -> Array:
    """Codes ``[N, *shape]`` (or ``[W, N, *shape]``) of real values: the encoder, in float32 as everywhere.

    Raises:
        ShapeError: The sample shape differs from the input's.
        DtypeError: The values are no numbers or contain NaN.
    """
    values = np.asarray(x)
    if values.dtype.kind not in "fiub":
        raise DtypeError(f"{op.label}: values must be numbers, got dtype {values.dtype}; convert them first.")
    if op.shape not in {values.shape[1:], values.shape[2:]}:
        raise ShapeError(
            f"{op.label}: values must have shape {_batch(op)}, got {values.shape}; reshape them."
        )
    with np.errstate(over="ignore"):  # infinities saturate
        values = values.astype(np.float32)
    if np.isnan(values).any():
        raise DtypeError(f"{op.label}: values must be numbers, got NaN; clean the data first.")
    weight_sum = np.float32((1 << op.time_steps) - 1)
    lsb = per_channel(op.threshold / weight_sum, len(op.shape))
    magnitude = np.abs(values) if op.signed else values
    with np.errstate(over="ignore"):
        code = nearest_code(magnitude, lsb, op.max_code, 0.5 if op.half else 0.0, np.floor)
    code = np.copysign(code, values) if op.signed else code
    return cast("Array", code.astype(code_dtype(op.time_steps, op.signed)))


def as_inputs(network: Network, codes: Codes | Array, windows: int | None = None) -> dict[str, Array]:
    """Codes by input name, checked against the network (a bare array serves a single input).

    ``[N, *shape]``, or ``[W, N, *shape]`` where ``windows`` (default: the network's) is more than one.
    """
    count = windows_of(network, windows)
    if not isinstance(codes, Mapping):
        if len(network.inputs) != 1:
            raise ShapeError(
                f"Network: has inputs {[op.name for op in network.inputs]}; pass a dict of codes by name."
            )
        codes = {network.inputs[0].name: codes}
    if unknown := set(codes) - {op.name for op in network.inputs}:
        raise ShapeError(
            f"Network: has inputs {[op.name for op in network.inputs]}, got codes for {sorted(unknown)}; "
            "leave those out."
        )
    result = {op.name: _checked_codes(op, codes.get(op.name), count) for op in network.inputs}
    counts = [array.shape[int(count > 1)] for array in result.values()]
    if len(set(counts)) != 1:
        raise ShapeError(f"Network: all inputs must have the same number of samples, got {counts}; cut them.")
    return result


def _checked_codes(op: Input, codes: Any, windows: int) -> Array:
    if codes is None:
        raise ShapeError(f"{op.label}: its codes are missing; pass them by name.")
    array = np.asarray(codes)
    if array.dtype.kind not in "iu":
        raise DtypeError(
            f"{op.label}: codes must be integers, got dtype {array.dtype}; use encode() on values."
        )
    lead, sample = array.shape[: -len(op.shape)], array.shape[-len(op.shape) :]
    fits = len(lead) == 1 if windows == 1 else len(lead) == 2 and lead[0] == windows
    if not fits or sample != op.shape:
        raise ShapeError(
            f"{op.label}: codes must have shape {_batch(op, windows)}, got {array.shape}; reshape them."
        )
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


def as_stream(network: Network, codes: Codes | Array, windows: int) -> dict[str, Array]:
    """Checked codes by input name as the stream ``[N * W, *shape]``: sample after sample."""
    return {name: in_order(array, windows) for name, array in as_inputs(network, codes, windows).items()}


def _layer_by_layer(
    network: Network, values: dict[str, Array], step: Callable[[Op, list[Array]], Array]
) -> dict[str, Array]:
    for op in network.ops.values():
        if not isinstance(op, Input):
            values[op.name] = step(op, [values[name] for name in op.inputs])
    return {name: values[name] for name in visible(network)}


def run_packed(network: Network, codes: Codes | Array, windows: int | None = None) -> dict[str, Array]:
    """One pass: every operation once, on codes.

    Args:
        network: Integer network.
        codes: Input codes ``[N, *shape]``, or ``[W, N, *shape]`` where a sample has several windows (by input
            name where there are several).
        windows: W, windows of one sample, in order; what neurons carry is reset before each sample. Default:
            the network's own.

    Returns:
        Codes ``[N, *]`` of every input and neuron, membranes ``[N, *]`` (int64) of every readout, by name;
        ``[W, N, *]`` where W is more than one.
    """
    count = windows_of(network, windows)
    values = _layer_by_layer(
        network, as_stream(network, codes, count), lambda op, parts: packed_step(op, parts, count)
    )
    return {name: by_window(value, count) for name, value in values.items()}


def packed_step(op: Op, parts: list[Array], windows: int = 1) -> Array:
    """What one operation but an input makes of the stream ``[N * W, *]`` of codes or sums it reads."""
    if isinstance(op, Neuron):
        return fire_stream(op, parts[0], windows, lambda start: packed_fire(op, start))
    if isinstance(op, Readout):
        return add_bias(op.bias, parts[0])
    if isinstance(op, Synapse):
        return op.apply(parts[0])
    return wire(op, parts)


def run_serial_multi_step(
    network: Network, codes: Codes | Array, windows: int | None = None
) -> dict[str, Array]:
    """Layer by layer on whole spike trains ``[T, N * W, *]``; arguments and result as :func:`run_packed`.

    A neuron with fewer digits than the window right-aligns its code: the leading digits are zero.
    """
    window, count = network.time_steps, windows_of(network, windows)

    def step(op: Op, parts: list[Array]) -> Array:
        if isinstance(op, Neuron):
            return _fire_trains(op, charge(parts[0], 2), window, count)
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

    trains = {name: unpack(array, window) for name, array in as_stream(network, codes, count).items()}
    values = _layer_by_layer(network, trains, step)
    return {name: by_window(_collected(network.ops[name], value), count) for name, value in values.items()}


def _fire_trains(op: Neuron, accumulators: Array, window: int, windows: int) -> Array:
    def fire(start: Array) -> tuple[Array, Array]:
        register, sign = load_register(op, start)
        steps = thresholds(op, window, register)
        spikes, register = fire_digits(register, [theta for theta in steps if theta is not None])
        digits = right_aligned([spike * sign for spike in spikes], window, np.zeros_like(register))
        return np.stack(digits, axis=1).astype(np.int8), unloaded(op, register, sign)

    return np.moveaxis(fire_stream(op, accumulators, windows, fire), 1, 0)


def _collected(op: Op, value: Array) -> Array:
    if isinstance(op, (Input, Neuron)):
        return cast("Array", charge(value.astype(np.int64), 2).astype(code_dtype(op.time_steps, op.signed)))
    return value


def outputs(network: Network, membranes: Mapping[str, Array]) -> dict[str, Array]:
    """Real outputs (float64) of every readout from its membranes."""
    return {
        op.name: membranes[op.name] * per_channel(op.scale, len(network.shapes[op.name]))
        for op in network.readouts
    }
