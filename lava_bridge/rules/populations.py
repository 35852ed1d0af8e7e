"""Rules of inputs, neurons and readouts: what holds or emits codes."""

from __future__ import annotations

import numpy as np

from spikejelly_pack.spec.graph import Input, Neuron, Readout

from ..assembly import Assembly, Value, connect, rule
from ..carry import Carry
from ..processes.endpoints import Source
from ..processes.neuron import Readout as ReadoutProcess
from ..processes.neuron import SpikePack

__all__: list[str] = []


@rule("input")
def _input(assembly: Assembly, op: Input, _parts: list[Value]) -> Value:
    codes = np.asarray(assembly.codes[op.name])
    reversed_axes = codes.transpose(0, *range(codes.ndim - 1, 0, -1))
    source = Source(
        codes=assembly.deal.out(reversed_axes),
        window=assembly.window,
        payload_bits=assembly.payload_bits(op.name),
        name=op.name,
    )
    return [assembly.add(source).s_out]


@rule("neuron")
def _neuron(assembly: Assembly, op: Neuron, parts: list[Value]) -> Value:
    process = assembly.add(
        SpikePack(
            shape=assembly.shape(op),
            threshold=op.threshold,
            bias=op.bias,
            window=assembly.window,
            time_steps=op.time_steps,
            signed=op.signed,
            half=op.half,
            **assembly.registers(op),
            payload_bits=assembly.payload_bits(op.name),
            carry=_carry(assembly, op),
            recorder=assembly.record_membranes(op.name) if op.name in assembly.record else None,
            name=op.name,
        )
    )
    connect(assembly, parts[0], process.a_in)
    return [process.s_out]


def _carry(assembly: Assembly, op: Neuron) -> Carry | None:
    if op.leak_shift is None or assembly.network.windows == 1:
        return None
    first = assembly.network.latency[op.name] - 1
    return Carry(op.leak_shift, op.carry == "membrane", assembly.network.windows, first)


@rule("readout")
def _readout(assembly: Assembly, op: Readout, parts: list[Value]) -> Value:
    process = assembly.add(
        ReadoutProcess(
            shape=assembly.shape(op),
            bias=op.bias,
            window=assembly.window,
            **assembly.registers(op),
            recorder=assembly.record_membranes(op.name),
            name=op.name,
        )
    )
    connect(assembly, parts[0], process.a_in)
    return []
