"""Integer reference, serial single-step form: the whole network one time step at a time, as hardware runs.

Samples stream back to back, the windows of each in order. Every neuron has two registers: window w charges
while the digits of w - 1 leave, so its latency is exactly T time steps and all neurons share the phase
``step mod T``.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np

from .bits import code_dtype, unpack
from .equations import charge_step, fire_digit
from .errors import UnsupportedError
from .execute import Codes, as_stream, visible
from .firing import add_bias, carry_of, load_register, start_of, thresholds, unloaded
from .graph import Delay, Input, MaxPool2d, Network, Neuron, Readout, Synapse
from .graph.base import MAX_SIZE, Array, integer
from .windows import by_window, windows_of
from .wiring import DigitPool, wire

__all__ = ["run_serial_single_step"]


class _Population:
    """Registers of one neuron population between two time steps.

    ``first`` is the window of the pipeline in which the first sample's first window arrives; each sample has
    ``windows`` of them.
    """

    def __init__(self, op: Neuron, window: int, shape: tuple[int, ...], first: int, windows: int) -> None:
        self.op, self.window, self.windows = op, window, windows
        self.place = -first  # of the window that charges, among all that arrive
        self.accumulator = self.register = self.sign = self.code = np.zeros(shape, np.int64)
        self.start = self.register
        self.thresholds = thresholds(op, window, self.register)
        self.codes: list[Array] = []

    def fire(self, phase: int) -> Array:
        """Digit of the window before: one comparison, one soft reset."""
        theta = self.thresholds[phase]
        spike: Any = np.zeros_like(self.register)
        if theta is not None:
            spike, self.register = fire_digit(self.register, theta)
        digit: Array = spike * self.sign
        self.code = digit if phase == 0 else charge_step(self.code, digit, 2)
        if phase == self.window - 1:
            self.codes.append(self.code.astype(code_dtype(self.op.time_steps, self.op.signed)))
        return digit

    def receive(self, phase: int, current: Array) -> None:
        """Charge; at the end of the window load the firing register."""
        self.accumulator = current if phase == 0 else charge_step(self.accumulator, current, 2)
        if phase == self.window - 1:
            carry = None
            if self.op.carries and self.place % self.windows:
                # The last digit has just left: what remains is the carry, but not into another sample.
                carry = carry_of(self.op, self.start, unloaded(self.op, self.register, self.sign))
            self.start = start_of(self.op, self.accumulator, carry)
            self.register, self.sign = load_register(self.op, self.start)
            self.place += 1


class _Membrane:
    """A readout between two time steps: it only integrates."""

    def __init__(self, op: Readout, window: int) -> None:
        self.op, self.window = op, window
        self.accumulator: Any = None
        self.codes: list[Array] = []

    def receive(self, phase: int, current: Array) -> None:
        """Charge; keep the membrane at the end of the window."""
        self.accumulator = current if phase == 0 else charge_step(self.accumulator, current, 2)
        if phase == self.window - 1:
            self.codes.append(add_bias(self.op.bias, self.accumulator))


class _State:
    """The whole network between two time steps."""

    def __init__(self, network: Network, batch: int, windows: int = 1) -> None:
        self.network, window = network, network.time_steps
        self.populations: dict[str, _Population] = {}
        self.membranes = {op.name: _Membrane(op, window) for op in network.readouts}
        self.lines: dict[str, deque[Array]] = {}
        self.pools = {op.name: DigitPool(op) for op in network.ops.values() if isinstance(op, MaxPool2d)}
        for op in network.ops.values():
            shape = (batch, *network.shapes[op.name])
            if isinstance(op, Neuron):
                first = network.latency[op.name] - 1
                self.populations[op.name] = _Population(op, window, shape, first, windows)
            elif isinstance(op, Delay):
                self.lines[op.name] = deque([np.zeros(shape, np.int8)] * (op.windows * window))

    def step(self, phase: int, digits: Mapping[str, Array]) -> None:
        """Advance every operation by one time step, sources first."""
        values = dict(digits)
        for op in self.network.ops.values():
            parts = [values[name] for name in op.inputs]
            if isinstance(op, Neuron):
                population = self.populations[op.name]
                values[op.name] = population.fire(phase)
                population.receive(phase, parts[0])
            elif isinstance(op, Readout):
                self.membranes[op.name].receive(phase, parts[0])
            elif isinstance(op, Synapse):
                values[op.name] = op.apply(parts[0])
            elif isinstance(op, Delay):
                self.lines[op.name].append(parts[0])
                values[op.name] = self.lines[op.name].popleft()
            elif isinstance(op, MaxPool2d):
                values[op.name] = self.pools[op.name].step(phase, parts[0])
            elif not isinstance(op, Input):
                values[op.name] = wire(op, parts)

    def results(self, length: int) -> dict[str, Array]:
        """``[W, B, *]`` of every neuron and readout, the latency of each cut off."""
        records = {**self.populations, **self.membranes}
        latency = self.network.latency
        return {name: np.stack(item.codes[latency[name] :][:length]) for name, item in records.items()}


def run_serial_single_step(
    network: Network, codes: Codes | Array, streams: int = 1, windows: int | None = None
) -> dict[str, Array]:
    """Run all time steps of all samples through the pipeline.

    Args:
        network: A network whose branches are balanced by delays (:meth:`.Network.balanced`).
        codes: Input codes ``[N, *shape]`` or ``[W, N, *shape]``, as :func:`.execute.run_packed`.
        streams: Pipelines side by side; each takes ``N / streams`` samples back to back.
        windows: As there.

    Returns:
        As :func:`.execute.run_packed`: the latency of each layer is cut.

    Raises:
        UnsupportedError: Branches meet in different windows.
        ParameterError: ``streams`` or ``windows`` is no positive integer.
    """
    if broken := network.unbalanced():
        raise UnsupportedError(
            f"Network: branches reach {broken[0].label} in different windows; call balanced() first."
        )
    streams = integer(
        "run_serial_single_step", "streams", streams, 1, MAX_SIZE, "start at least one pipeline"
    )
    count = windows_of(network, windows)
    inputs = as_stream(network, codes, count)
    total = len(next(iter(inputs.values())))  # windows of all samples
    length = count * max(1, -(-total // (count * streams)))
    trains = {name: _streams(array, streams, length, network.time_steps) for name, array in inputs.items()}
    state = _State(network, streams, count)
    for window in range(length + max(network.latency.values())):
        for phase in range(network.time_steps):
            state.step(phase, {name: train[phase, min(window, length)] for name, train in trains.items()})
    flat = {
        name: value.swapaxes(0, 1).reshape(streams * length, *value.shape[2:])[:total]
        for name, value in state.results(length).items()
    }
    return {name: by_window((inputs | flat)[name], count) for name in visible(network)}


def _streams(codes: Array, streams: int, length: int, window: int) -> Array:
    """Digits ``[T, L + 1, B, *]``: stream b holds windows b * L onwards; the last window is silence."""
    padded = np.zeros((streams * length, *codes.shape[1:]), codes.dtype)
    padded[: len(codes)] = codes
    grid = padded.reshape(streams, length, *codes.shape[1:]).swapaxes(0, 1)
    silent = np.zeros_like(grid[:1])
    return unpack(np.concatenate([grid, silent]), window)
