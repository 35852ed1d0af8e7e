"""Cost of an integer network (``.spk``): read off its graph; rates from codes, by the same synapses.

Every synapse of the graph is a row. Pool and skip synapses, which no float network has, are plumbing and
stand outside S-ACE. A code keeps its own number of digits through concatenation and delay.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from ..spec.budget import Operand, SynapticCost, word_bits
from ..spec.energy import EnergyTable, load_energy_table
from ..spec.execute import as_inputs, run_packed
from ..spec.graph import Network, Op, Signal, Synapse
from ..spec.graph.base import Array
from ..spec.graph.conv2d import Conv2d
from ..spec.graph.conv_transpose2d import ConvTranspose2d
from ..spec.graph.dense import Dense
from ..spec.graph.endpoints import Input, Readout
from ..spec.graph.neuron import Neuron
from ..spec.windows import in_order
from ..spec.wiring import wire
from .memory import Memory
from .report import BudgetReport

__all__ = ["measure_integer"]

_FLOAT = 32  # what an encoder's threshold and a readout's scale are stored in, per value


def measure_integer(
    network: Network,
    codes: Any = None,
    *,
    name: str = "integer network",
    rate: str = "digit",
    energy: EnergyTable | None = None,
) -> BudgetReport:
    """What one inference of an integer network costs.

    Args:
        network: From :func:`spikejelly_pack.spec.exchange.load`.
        codes: Input codes ``[N, *]`` (``[W, N, *]`` of a network whose samples have W windows), by input name
            where there are several; without them rates are unknown and NS-ACE equals S-ACE.
        name: Of the report.
        rate: NS-ACE by the ``"digit"`` or the ``"word"`` rate.
        energy: Energies; default Horowitz, 45 nm.
    """
    ones, words, samples = _activity(network, codes)
    layers = []
    for op in network.synapses:
        events = [
            None
            if values is None
            else float(op.apply(values[op.inputs[0]], np.ones_like(op.weights())).sum())
            for values in (ones, words)
        ]
        digit, word = (None if found is None else found / samples for found in events)
        layers.append(_row(network, op, digit, word))
    emitters = [op.name for op in network.ops.values() if isinstance(op, (Input, Neuron))]
    spikes = {} if ones is None else {path: float(ones[path].sum()) / samples for path in emitters}
    return BudgetReport(
        name, layers, _memory(network), spikes, rate=rate, table=energy or load_energy_table()
    )


def _row(network: Network, op: Synapse, digit: float | None, word: float | None) -> SynapticCost:
    operand = _operand(network, op.inputs[0])
    weight = Operand("weight", op.weight_bits, signed=True)
    macs = _macs(network, op)
    size, rates = int(op.weights().size), (digit, word)
    return SynapticCost(
        op.name, op.kind, macs, (operand, weight), network.windows, *rates, size, plumbing=op.plumbing
    )


def _macs(network: Network, op: Synapse) -> int:
    """Outputs times what each of them adds up; transposed: inputs times what each of them reaches."""
    out = network.shapes[op.name]
    if isinstance(op, ConvTranspose2d):
        reached = op.weight.shape[0] // op.groups * math.prod(op.weight.shape[2:])
        return math.prod(network.shapes[op.inputs[0]]) * reached
    if isinstance(op, (Dense, Conv2d)):
        return math.prod(out) * math.prod(op.weight.shape[1:])
    return math.prod(out) * math.prod(getattr(op, "kernel", (1,)))


def _operand(network: Network, name: str) -> Operand:
    """The longest code that reaches an edge of spikes."""
    found = [op for op in _emitters(network, name) if isinstance(op, (Input, Neuron))]
    signed = any(op.signed for op in found)
    digits = max(op.time_steps for op in found)
    bits = max(word_bits(op.time_steps, 1, op.signed) for op in found)
    return Operand("spikes", bits, digits, signed, sources=tuple(op.name for op in found))


def _emitters(network: Network, name: str) -> list[Op]:
    op = network.ops[name]
    if isinstance(op, (Input, Neuron)):
        return [op]
    return [found for source in op.inputs for found in _emitters(network, source)]


def _activity(network: Network, codes: Any) -> tuple[dict[str, Array] | None, dict[str, Array] | None, int]:
    """Ones and words of every value of spikes, by operation."""
    if codes is None:
        return None, None, 1
    given = as_inputs(network, codes)
    windows = network.windows
    run = {name: in_order(value, windows) for name, value in run_packed(network, given).items()}
    samples = len(run[network.inputs[0].name]) // windows
    values: dict[str, Array] = {}
    for op in network.ops.values():
        if isinstance(op, (Input, Neuron)):
            values[op.name] = run[op.name]
        elif network.signals[op.name] is Signal.SPIKES:
            values[op.name] = wire(op, [values[source] for source in op.inputs])
    ones = {path: _popcount(value) for path, value in values.items()}
    return ones, {path: _nonzero(value) for path, value in values.items()}, samples


def _popcount(codes: Array) -> Array:
    left = np.abs(codes.astype(np.int64))
    ones = np.zeros_like(left)
    while left.any():
        ones += left & 1
        left >>= 1
    return ones


def _nonzero(codes: Array) -> Array:
    return (codes != 0).astype(np.int64)


def _memory(network: Network) -> Memory:
    weights = sum(int(op.weights().size) * op.weight_bits for op in network.synapses)
    others = state = 0
    for op in network.ops.values():
        if isinstance(op, Neuron):
            others += (op.threshold.size + op.bias.size) * op.state_bits
            state += math.prod(network.shapes[op.name]) * op.state_bits
        elif isinstance(op, Readout):
            others += op.bias.size * op.state_bits + op.scale.size * _FLOAT
            state += math.prod(network.shapes[op.name]) * op.state_bits
        elif isinstance(op, Input):
            others += op.threshold.size * _FLOAT
    return Memory(weights, others, state)
