"""Rules of operations without weights: pooling, upsampling, sums, shapes, delays."""

from __future__ import annotations

from spikejelly_pack.spec.graph import Add, Delay, Flatten, MaxPool2d, Upsample2d
from spikejelly_pack.spec.graph import Concat as ConcatOp

from ..assembly import Assembly, Value, connect, rule
from ..processes.maps import MaxPool, Upsample
from ..processes.wiring import Concat, Relay

__all__: list[str] = []


@rule("max_pool2d")
def _max_pool2d(assembly: Assembly, op: MaxPool2d, parts: list[Value]) -> Value:
    process = assembly.add(
        MaxPool(
            geometry=op,
            shape=assembly.message(assembly.network.shapes[op.inputs[0]]),
            shape_out=assembly.shape(op),
            window=assembly.window,
            graded=assembly.graded,
            name=op.name,
        )
    )
    connect(assembly, parts[0], process.s_in)
    return [process.s_out]


@rule("upsample2d")
def _upsample2d(assembly: Assembly, op: Upsample2d, parts: list[Value]) -> Value:
    shape = assembly.message(assembly.network.shapes[op.inputs[0]])
    rows, columns = op.factor
    process = assembly.add(Upsample(shape=shape, factor=(columns, rows), name=op.name))
    connect(assembly, parts[0], process.m_in)
    return [process.m_out]


@rule("add")
def _add(_assembly: Assembly, _op: Add, parts: list[Value]) -> Value:
    return [port for part in parts for port in part]


@rule("flatten")
def _flatten(assembly: Assembly, op: Flatten, parts: list[Value]) -> Value:
    """C order of the caller's axes: put them back, then flatten; no Process."""
    lead, flat = len(assembly.deal.lead), assembly.shape(op)
    return [
        port.transpose((*range(lead), *range(len(port.shape) - 1, lead - 1, -1))).reshape(flat)
        for port in parts[0]
    ]


@rule("concat")
def _concat(assembly: Assembly, op: ConcatOp, parts: list[Value]) -> Value:
    shapes = [assembly.message(assembly.network.shapes[name]) for name in op.inputs]
    value, shape = parts[0], shapes[0]
    for index, part in enumerate(parts[1:], start=1):
        name = op.name if index == len(parts) - 1 else f"{op.name}/{index}"
        process = assembly.add(Concat(first=shape, second=shapes[index], name=name))
        connect(assembly, value, process.first_in)
        connect(assembly, part, process.second_in)
        value, shape = [process.m_out], tuple(process.m_out.shape)
    return value


@rule("delay")
def _delay(assembly: Assembly, op: Delay, parts: list[Value]) -> Value:
    process = assembly.add(Relay(shape=assembly.shape(op), steps=op.windows * assembly.window, name=op.name))
    connect(assembly, parts[0], process.m_in)
    return [process.m_out]
