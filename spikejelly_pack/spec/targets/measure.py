"""What a network asks of a device: fan-in, weight widths, and the largest values that given samples cause."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..errors import ShapeError
from ..execute import Codes, as_inputs, packed_step, run_packed
from ..firing import add_bias, load_register, starts_of
from ..graph import Input, Network, Neuron, Op, Readout, Signal, Synapse
from ..graph.base import Array
from ..windows import in_order
from ..wiring import wire

__all__ = ["fan_in", "observed_magnitudes", "synapses_per_weight", "width_of_weights"]


def width_of_weights(op: Synapse) -> int:
    """Bits that hold every weight of a synapse, sign included; 1 for binary weights (-1 and 1)."""
    if op.weight_bits == 1:
        return 1
    weight = op.weights().astype(np.int64)
    widest = int(np.where(weight < 0, ~weight, weight).max())
    return widest.bit_length() + 1


def synapses_per_weight(op: Synapse, bits: int) -> int:
    """Synapses of ``bits`` bits (2 or more) with powers of ``2^bits`` between them that hold every weight."""
    weight = op.weights().astype(np.int64)
    low, high = int(weight.min()), int(weight.max())
    count, step, least, most = 1, 1, -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    reach_low, reach_high = least, most
    while low < reach_low or high > reach_high:
        count, step = count + 1, step << bits
        reach_low, reach_high = reach_low + least * step, reach_high + most * step
    return count


def fan_in(network: Network, per_weight: Callable[[Synapse], int]) -> dict[str, tuple[int, int]]:
    """Most synapses that one neuron of a population has, and which neuron has them, by name.

    Padding is no synapse, a weight of zero is one. ``per_weight``: synapses that one weight takes.
    """
    counts: dict[str, Array] = {}
    found: dict[str, tuple[int, int]] = {}
    for op in network.ops.values():
        if isinstance(op, (Neuron, Readout)):
            flat = counts[op.inputs[0]].reshape(-1)
            found[op.name] = int(flat.max()), int(flat.argmax())
        elif isinstance(op, Synapse):
            ones = np.ones((1, *network.shapes[op.inputs[0]]), np.int64)
            counts[op.name] = op.apply(ones, np.ones_like(op.weights())) * per_weight(op)
        elif network.signals[op.name] is Signal.CURRENTS:
            counts[op.name] = wire(op, [counts[name] for name in op.inputs])
    return found


def observed_magnitudes(network: Network, codes: Codes | Array) -> dict[str, tuple[int, int]]:
    """Largest absolute value of any register of a population in any time step, and the neuron that had it.

    Args:
        network: Integer network.
        codes: Input codes as :func:`..execute.run_packed` takes them, at least one sample.

    Raises:
        ShapeError: There is no sample, or the codes do not fit the network.
        DtypeError: The codes are none.
    """
    inputs = as_inputs(network, codes)
    if not all(value.size for value in inputs.values()):
        raise ShapeError(
            "check_target: codes must have at least one sample, got none; pass some or leave them out."
        )
    ran = {name: in_order(value, network.windows) for name, value in run_packed(network, inputs).items()}
    found: dict[str, tuple[int, int]] = {}
    for op, register in _registers(network, ran):
        worst = np.abs(register).max(axis=0).reshape(-1)
        neuron = int(worst.argmax())
        found[op.name] = max(
            found.get(op.name, (-1, 0)), (int(worst[neuron]), neuron), key=lambda two: two[0]
        )
    return {op.name: found[op.name] for op in network.ops.values() if op.name in found}


def _registers(network: Network, codes: dict[str, Array]) -> Iterator[tuple[Op, Array]]:
    """Registers after every time step: t digits charge what codes cut to t digits would."""
    for shift in range(network.time_steps - 1, -1, -1):
        values: dict[str, Array] = {}
        for op in network.ops.values():
            parts = [values[name] for name in op.inputs]
            if isinstance(op, (Input, Neuron)):
                code = codes[op.name].astype(np.int64)
                values[op.name] = np.sign(code) * (np.abs(code) >> shift)
            elif not isinstance(op, Readout):
                values[op.name] = packed_step(op, parts)
            if isinstance(op, (Neuron, Readout)):
                yield op, parts[0]
                if shift == 0:
                    yield op, add_bias(op.bias, parts[0])
            if isinstance(op, Neuron) and shift == 0:
                yield op, load_register(op, starts_of(op, parts[0], network.windows))[0]
