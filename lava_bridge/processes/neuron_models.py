"""Models of the integrating populations, by tag; the equations are those of ``spikejelly_pack.spec``.

``fixed_pt``: integers, a value that leaves its declared width is an error. ``floating_pt``: float64 without
a width, behind Lava's floating point synapses. ``fpga``: integers in the registers of a declared
hardware, which wrap or saturate; every value that did not fit is reported and the run goes on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_bridge.payload import check_payload
from lava_bridge.processes.neuron import Readout, SpikePack
from spikejelly_pack.spec.equations import (
    charge_step,
    clamp_symmetric,
    fire_digit,
    integer_code,
    residual,
    shifted_start,
)
from spikejelly_pack.spec.errors import BoundError
from spikejelly_pack.spec.registers import held, register_range

__all__ = [
    "PyReadoutFixed",
    "PyReadoutFloat",
    "PyReadoutFpga",
    "PySpikePackFixed",
    "PySpikePackFloat",
    "PySpikePackFpga",
]


# Lava's converter to asynchronous models flattens a class and lets an earlier base win over a later one, even
# where Python would not: what differs between tags is no part of a common base, and comes first.


class _Checked:
    """Integers that must fit the declared width."""

    state_bits: int
    label: str
    time_step: int

    def keep(self, _register: str, value: Any) -> Any:
        """What a register holds after ``value`` was written to it."""
        limits = register_range(self.state_bits)
        low, high = int(value.min()), int(value.max())
        if low < limits[0] or high > limits[1]:
            raise BoundError(
                f"neuron {self.label!r}: the membrane must fit {self.state_bits} bits, got {low}..{high} "
                f"at time step {self.time_step}; use fewer time steps, narrower weights or a wider state."
            )
        return value


class _Hardware:
    """Integers in registers of the hardware's width: one adjustment per write, after the step's sum."""

    state_bits: int
    window: int
    time_step: int
    proc_params: Any

    def keep(self, register: str, value: Any) -> Any:
        """What a register holds after ``value`` was written to it; reported where it is something else."""
        kept = held(value, self.state_bits, self.proc_params["overflow"])
        window, phase = divmod(self.time_step - 2, self.window)
        self.proc_params["log"].write(window, phase + 1, register, value, kept)
        return kept


class _Unbounded:
    """No width."""

    def keep(self, _register: str, value: Any) -> Any:
        """The value."""
        return value


class _Integrator(PyLoihiProcessModel):
    """Charge register; ``keep`` says what a register holds of a value."""

    keep: Any

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.window = int(proc_params["window"])
        self.state_bits = int(proc_params["state_bits"])
        self.label = str(proc_params["name"])

    def charge(self) -> int:
        """Take the current of this time step; return the phase, 0 for the first step of a window."""
        current = self.a_in.recv().astype(self.v.dtype)
        phase = (self.time_step - 2) % self.window
        self.v = self.keep("charge", current if phase == 0 else charge_step(self.v, current, 2))
        return phase

    def carried(self, membrane: Any) -> Any:
        """What the window before adds: to a readout, nothing."""
        return membrane

    def membrane(self) -> Any:
        """Membrane of the window that is full now; recorded, but the first time step completes none."""
        membrane = self.keep("membrane", self.carried(self.v + self.bias))
        recorder = self.proc_params["recorder"]
        if recorder is not None and self.time_step > 1:
            recorder.write((self.time_step - 2) // self.window, membrane)
        return membrane


class _SpikePackModel(_Integrator):
    """Charge ``V <- 2 V + a``; fire most significant digit first against ``theta * 2^(T-t)``, soft reset.

    Graded: fire the whole code at once, by the closed form.
    """

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int64)
    u: np.ndarray = LavaPyType(np.ndarray, np.int64)
    sign: np.ndarray = LavaPyType(np.ndarray, np.int64)
    threshold: np.ndarray = LavaPyType(np.ndarray, np.int64)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.origin: Any = None

    def run_spk(self) -> None:
        """One time step."""
        phase = self.charge()
        if phase == self.window - 1:
            self.load()
        self.s_out.send((self.fire(phase) * self.sign).astype(np.int32))

    def fire(self, phase: int) -> Any:
        """Magnitudes of the spikes of this time step."""
        time_steps, payload_bits = self.proc_params["time_steps"], self.proc_params["payload_bits"]
        if payload_bits:
            code = integer_code(self.u, self.threshold, (1 << time_steps) - 1, half=False)
            self.u = residual(self.u, self.threshold, code)
            return check_payload(self.label, code, payload_bits)
        shift = self.window - 1 - (phase + 1) % self.window
        if shift >= time_steps:  # a shorter code: leading digits are zero
            return np.zeros_like(self.u)
        spike, self.u = fire_digit(self.u, self.threshold * (1 << shift))
        return spike

    def load(self) -> None:
        """Move the membrane of a full window to the firing register."""
        self.origin = self.membrane()
        if self.proc_params["signed"]:
            self.sign = np.sign(self.origin)
        self.u = self.keep("fire", self.origin * self.sign + self.offset())

    def offset(self) -> Any:
        """What rounding adds before firing."""
        return self.threshold // 2 if self.proc_params["half"] else 0

    def carried(self, membrane: Any) -> Any:
        """Add what the window before left: its last digit has gone, the firing register holds the rest."""
        carry = self.proc_params["carry"]
        if carry is None:
            return membrane
        place = (self.time_step - 2) // self.window - carry.first
        if place <= 0 or place % carry.windows == 0:  # the first window of a sample
            return membrane
        left = self.origin if carry.membrane else (self.u - self.offset()) * self.sign
        limit = self.threshold * ((1 << self.proc_params["time_steps"]) - 1)
        carried = clamp_symmetric(left, limit).astype(np.int64)  # floats hold integers, but do not shift
        return shifted_start(membrane, carried, carry.shift)


class _ReadoutModel(_Integrator):
    """Charge only; the membrane of every full window goes to the recorder."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int64)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def run_spk(self) -> None:
        """One time step."""
        if self.charge() == self.window - 1:
            self.membrane()


@implements(proc=SpikePack, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikePackFixed(_Checked, _SpikePackModel):
    """Neurons on integers."""


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadoutFixed(_Checked, _ReadoutModel):
    """Readout on integers."""


@implements(proc=SpikePack, protocol=LoihiProtocol)
@requires(CPU)
@tag("fpga")
class PySpikePackFpga(_Hardware, _SpikePackModel):
    """Neurons in registers of a declared hardware."""


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fpga")
class PyReadoutFpga(_Hardware, _ReadoutModel):
    """Readout in registers of a declared hardware."""


@implements(proc=SpikePack, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PySpikePackFloat(_Unbounded, _SpikePackModel):
    """Neurons in float64: the same integers, exact below 2^53."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    v: np.ndarray = LavaPyType(np.ndarray, float)
    u: np.ndarray = LavaPyType(np.ndarray, float)
    sign: np.ndarray = LavaPyType(np.ndarray, float)
    threshold: np.ndarray = LavaPyType(np.ndarray, float)
    bias: np.ndarray = LavaPyType(np.ndarray, float)


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyReadoutFloat(_Unbounded, _ReadoutModel):
    """Readout in float64."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, float)
    v: np.ndarray = LavaPyType(np.ndarray, float)
    bias: np.ndarray = LavaPyType(np.ndarray, float)
