"""Lava Processes under construction: the assembly that rules add to, and the registry of the rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from spikejelly_pack.spec.graph import Input, Network, Neuron, Op, Readout
from spikejelly_pack.spec.graph.base import Array

from .batching import Deal
from .models import Model
from .overflow import OverflowLog, Overflows, Table
from .processes.wiring import Relay
from .recording import Recorder, Recording

__all__ = ["RULES", "Assembly", "Value", "connect", "lava_shape", "rule"]

Value = list[Any]
Rule = Callable[["Assembly", Any, list[Value]], Value]
RULES: dict[str, Rule] = {}
_RuleType = TypeVar("_RuleType", bound=Rule)


def rule(kind: str) -> Callable[[_RuleType], _RuleType]:
    """Decorator: enter the rule of one operation kind."""

    def enter(function: _RuleType) -> _RuleType:
        if kind in RULES:
            raise ValueError(f"the rule of operation kind {kind!r} is registered twice")
        RULES[kind] = function
        return function

    return enter


def lava_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """The shape of a sample in Lava's order."""
    return tuple(reversed(shape))


@dataclass
class Assembly:
    """Lava Processes of a network, connected but not compiled.

    Attributes:
        network: The network, its branches balanced.
        codes: Input codes by name, the stream ``[N * W, *]`` of all windows.
        deal: How samples are dealt out to pipelines side by side.
        folder: Where recorders keep their files.
        record: Names of the inputs and neurons to record.
        graded: Codes travel as graded spikes, one time step per window.
        model: The ProcessModels that will run, and the registers of their hardware.
        processes: All Processes made so far.
        codes_of: Recording of the codes of every recorded neuron and input.
        membranes_of: Recording of the membranes of every readout and recorded neuron.
        steps: Time steps until every recorder has all its rows.
        logs: Where models of tag ``fpga`` report overflows, by population.
    """

    network: Network
    codes: Mapping[str, Array]
    deal: Deal
    folder: Path
    record: Sequence[str] = ()
    graded: bool = False
    model: Model = field(default_factory=Model)
    processes: list[Any] = field(default_factory=list)
    codes_of: dict[str, Recording] = field(default_factory=dict)
    membranes_of: dict[str, Recording] = field(default_factory=dict)
    steps: int = 0
    logs: dict[str, OverflowLog] = field(default_factory=dict)

    @property
    def window(self) -> int:
        """Time steps of a window."""
        return 1 if self.graded else self.network.time_steps

    def add(self, process: Any) -> Any:
        """Keep a Process (Lava holds the connected ones by weak paths only)."""
        self.processes.append(process)
        return process

    def shape(self, op: Op) -> tuple[int, ...]:
        """Shape of an operation's messages: in Lava's order, after the batch axis if there is one."""
        return self.message(self.network.shapes[op.name])

    def message(self, shape: Sequence[int]) -> tuple[int, ...]:
        """Shape of the messages that hold samples of this shape."""
        return (*self.deal.lead, *lava_shape(shape))

    def signed(self, name: str) -> bool:
        """Whether the spikes of a value can be negative."""
        op = self.network.ops[name]
        if isinstance(op, (Input, Neuron)):
            return op.signed
        return any(self.signed(source) for source in op.inputs)

    def digits(self, name: str) -> int:
        """Digits of the codes of a value, the longest where values are joined."""
        op = self.network.ops[name]
        if isinstance(op, (Input, Neuron)):
            return op.time_steps
        return max(self.digits(source) for source in op.inputs)

    def payload_bits(self, name: str) -> int:
        """Magnitude bits of the graded spikes of a value; 0 where spikes are digits."""
        return self.digits(name) if self.graded else 0

    def record_codes(self, name: str) -> Recorder:
        """A recorder of the codes that ``name`` emits, one row per window."""
        self.codes_of[name] = self._recording(name, self.network.latency[name], 0)
        return self.codes_of[name].recorder

    def record_membranes(self, name: str) -> Recorder:
        """A recorder of the membranes of ``name``; those of a neuron are there a window before its code."""
        latency = self.network.latency[name] - isinstance(self.network.ops[name], Neuron)
        self.membranes_of[name] = self._recording(name, latency, 1)
        return self.membranes_of[name].recorder

    def registers(self, op: Neuron | Readout) -> dict[str, Any]:
        """Parameters of the registers of a population: the hardware's where the model executes one."""
        if self.model.tag != "fpga":
            return {"state_bits": op.state_bits}
        self.logs[op.name] = OverflowLog(self.folder / f"overflow-{len(self.logs)}.rows")
        bits = self.model.widths[op.name]
        return {"state_bits": bits, "overflow": self.model.overflow, "log": self.logs[op.name]}

    def overflows(self) -> Overflows:
        """What the models reported, the windows of the filling and draining pipeline left out."""
        tables: dict[str, Table] = {}
        for name, log in self.logs.items():
            arrival = self.network.latency[name] - isinstance(self.network.ops[name], Neuron)
            tables[name] = log.read(arrival, self.deal)
        return Overflows(tables)

    def _recording(self, name: str, latency: int, extra_steps: int) -> Recording:
        rows = latency + self.deal.length
        self.steps = max(self.steps, rows * self.window + extra_steps)
        path = self.folder / f"record-{len(self.codes_of)}-{len(self.membranes_of)}.rows"
        return Recording(Recorder(path, rows, self.shape(self.network.ops[name])), latency, self.deal)

    @property
    def progress(self) -> tuple[int, int]:
        """Samples that every recorder has, and samples of the run."""
        recordings = (*self.codes_of.values(), *self.membranes_of.values())
        return self.deal.done(min(item.windows_done for item in recordings)), self.deal.samples


def connect(assembly: Assembly, value: Value, port: Any) -> None:
    """Connect every port of a value to one in-port; what arrives in the same time step is added."""
    seen: set[tuple[int, str]] = set()
    for source in value:
        origin = source
        while not hasattr(origin, "connect_from"):  # a virtual port: look at the real one behind it
            origin = origin._parent_port
        key = (origin.process.id, origin.name)
        if key in seen:  # Lava knows one connection per pair of ports: the second goes through a relay
            relay = assembly.add(Relay(shape=source.shape, steps=0, name=f"{origin.process.name}/again"))
            source.connect(relay.m_in)
            source = relay.m_out
        seen.add(key)
        source.connect(port)
