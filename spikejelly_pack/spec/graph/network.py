"""The integer network: operations in topological order, checked, with shapes and latencies."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, cast

import numpy as np

from ..errors import ParameterError, ShapeError, UnsupportedError
from ..parameters import check_time_steps
from .base import Op, Shape, Signal, Synapse, check_size, integer
from .endpoints import Input, Readout
from .neuron import Neuron
from .wiring import Add, Concat, Delay

__all__ = ["MAX_WINDOWS", "Network", "check_windows"]

MAX_WINDOWS = 1 << 16


class Network:
    """An integer SpikePack network (tau = 2).

    Args:
        ops: Operations, each after those it reads.
        time_steps: T, length of a window; no code has more digits.
        provenance: Who made it, as JSON text values.
        windows: W, windows of one sample, one after the other; 1..65536. Neurons with a leak carry from one
            to the next and start each sample from nothing.

    Attributes:
        ops: Operations by name, in topological order.
        shapes: Shape of one sample of each operation's output.
        signals: What each operation emits; None for a readout.
        latency: Windows after which each operation emits (or, a readout, completes) window 0 in the
            single-step form.

    Raises:
        ShapeError: Shapes do not fit, a name repeats or an input is not defined before its use.
        UnsupportedError: Signals do not fit (a synapse that reads currents, say) or nothing reads the
            network out.
    """

    def __init__(
        self,
        ops: Iterable[Op],
        time_steps: int,
        provenance: dict[str, str] | None = None,
        windows: int = 1,
    ) -> None:
        self.time_steps = check_time_steps(time_steps, "Network")
        self.windows = check_windows("Network", windows)
        self.provenance = _checked_provenance(provenance)
        self.ops: dict[str, Op] = {}
        self.shapes: dict[str, Shape] = {}
        self.signals: dict[str, Signal | None] = {}
        self.latency: dict[str, int] = {}
        for op in ops:
            self._enter(op)
        if not self.inputs or not self.readouts:
            raise UnsupportedError("Network: needs at least one input and one readout; add what is missing.")
        used = {name for op in self.ops.values() for name in op.inputs}
        for op in self.ops.values():
            if op.name not in used and not isinstance(op, (Readout, Neuron)):
                raise UnsupportedError(f"Network: nothing reads {op.label}; remove it.")

    def _enter(self, op: Op) -> None:
        if op.name in self.ops:
            raise ShapeError(f"Network: the name {op.name!r} is used twice; names must be unique.")
        for name in op.inputs:
            if name not in self.ops:
                raise ShapeError(
                    f"Network: {op.label} reads {name!r}, which is not defined before it (or is a cycle); "
                    "sort them."
                )
            signal = self.signals[name]
            if signal is None or (op.accepts is not None and signal is not op.accepts):
                kind = "nothing" if signal is None else signal.value
                want = "a signal" if op.accepts is None else op.accepts.value
                raise UnsupportedError(
                    f"Network: {op.label} needs {want}, but {name!r} emits {kind}; rewire it."
                )
        incoming = {self.signals[name] for name in op.inputs}
        if op.emits is None and len(incoming) > 1:
            raise UnsupportedError(f"Network: {op.label} mixes spikes and currents; put a neuron in between.")
        if isinstance(op, (Input, Neuron)) and op.time_steps > self.time_steps:
            raise ShapeError(
                f"Network: {op.label} has {op.time_steps} time steps, more than the window of "
                f"{self.time_steps}; lengthen the window."
            )
        self.shapes[op.name] = check_size(
            op.label, op.output_shape(*(self.shapes[name] for name in op.inputs))
        )
        self.signals[op.name] = None if isinstance(op, Readout) else op.emits or incoming.pop()
        arrival = max((self.latency[name] for name in op.inputs), default=0)
        self.latency[op.name] = arrival + (
            op.windows if isinstance(op, Delay) else int(isinstance(op, Neuron))
        )
        self.ops[op.name] = op

    def __repr__(self) -> str:
        weights = sum(int(op.weights().size) for op in self.synapses)
        several = f"windows={self.windows}, " if self.windows > 1 else ""
        inputs, outputs = ([op.name for op in ends] for ends in (self.inputs, self.readouts))
        return (
            f"Network(time_steps={self.time_steps}, {several}inputs={inputs}, outputs={outputs}, "
            f"{len(self.neurons)} populations, {weights:,} weights)"
        )

    @property
    def inputs(self) -> list[Input]:
        """Encoders, in order."""
        return [op for op in self.ops.values() if isinstance(op, Input)]

    @property
    def neurons(self) -> list[Neuron]:
        """Firing populations, in order."""
        return [op for op in self.ops.values() if isinstance(op, Neuron)]

    @property
    def readouts(self) -> list[Readout]:
        """Outputs, in order."""
        return [op for op in self.ops.values() if isinstance(op, Readout)]

    @property
    def synapses(self) -> list[Synapse]:
        """Linear operations with weights, in order."""
        return [op for op in self.ops.values() if isinstance(op, Synapse)]

    @property
    def version(self) -> int:
        """Oldest version of the exchange file that holds the network."""
        return max(2 if self.windows > 1 else 1, *(op.version for op in self.ops.values()))

    @property
    def depth(self) -> int:
        """Windows until every readout has completed window 0 in the single-step form."""
        return max(self.latency[op.name] for op in self.readouts)

    def unbalanced(self) -> list[Op]:
        """Sums and concatenations whose inputs arrive in different windows."""
        joins = [op for op in self.ops.values() if isinstance(op, (Add, Concat))]
        return [op for op in joins if len({self.latency[name] for name in op.inputs}) > 1]

    def balanced(self) -> Network:
        """The same network with delays, so that branches meet in the same window in the single-step form."""
        network = self
        while broken := network.unbalanced():
            network = _delay_inputs(network, broken[0])
        return network


def check_windows(owner: str, value: object) -> int:
    """W, windows of one sample, as an ``int``."""
    return integer(owner, "windows", value, 1, MAX_WINDOWS, "give the number of windows of one sample")


def _checked_provenance(provenance: object) -> dict[str, str]:
    if provenance is None:
        return {}
    entries = cast("dict[Any, Any]", provenance) if isinstance(provenance, dict) else None
    if entries is None or not all(isinstance(v, str) for item in entries.items() for v in item):
        raise ParameterError(
            f"Network: provenance must map text to text, got {provenance!r}; convert the values."
        )
    return dict(entries)


def _delay_inputs(network: Network, join: Op) -> Network:
    """Delay the early inputs of one join; operations that become unused are dropped."""
    late = max(network.latency[name] for name in join.inputs)
    fresh: dict[str, Op] = {}

    def delayed(name: str, windows: int) -> str:
        if windows == 0:
            return name
        op = network.ops[name]
        new = f"{name}/delay{windows}"
        if new in fresh:
            return new
        if network.signals[name] is Signal.SPIKES:
            late_op: Op = Delay(name=new, inputs=(name,), windows=windows)
        else:  # currents are not delayed; the spikes that cause them are
            late_op = replace(op, name=new, inputs=tuple(delayed(source, windows) for source in op.inputs))
        if new not in network.ops:
            fresh[new] = late_op
        elif not _same(network.ops[new], late_op):
            raise UnsupportedError(
                f"Network: balanced() needs the name {new!r}, which is taken; rename that operation."
            )
        return new

    inputs = tuple(delayed(name, late - network.latency[name]) for name in join.inputs)
    ops: list[Op] = []
    for op in network.ops.values():
        if op is join:
            ops += [*fresh.values(), replace(join, inputs=inputs)]
        else:
            ops.append(op)
    return Network(_without_unused(ops), network.time_steps, network.provenance, network.windows)


def _same(one: Op, other: Op) -> bool:
    names = [item.name for item in fields(one)]
    return type(one) is type(other) and all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


def _without_unused(ops: list[Op]) -> list[Op]:
    kept: list[Op] = []
    used: set[str] = set()
    for op in reversed(ops):
        if op.name in used or isinstance(op, (Readout, Neuron, Input)):
            kept.append(op)
            used.update(op.inputs)
    return kept[::-1]
