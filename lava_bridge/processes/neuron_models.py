"""Fixed-point models of the integrating populations; the equations are those of ``spikejelly_pack.spec``."""

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
from spikejelly_pack.spec.equations import charge_step, fire_digit, integer_code
from spikejelly_pack.spec.errors import BoundError

__all__ = ["PyReadoutFixed", "PySpikePackFixed"]


class _Integrator(PyLoihiProcessModel):
    """Charge register and its width; what a subclass does with a full window is ``window_done``."""

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.window = int(proc_params["window"])
        self.state_bits = int(proc_params["state_bits"])
        self.label = str(proc_params["name"])

    def charge(self) -> int:
        """Take the current of this time step; return the phase, 0 for the first step of a window."""
        current = self.a_in.recv().astype(np.int64)
        phase = (self.time_step - 2) % self.window
        self.v = current if phase == 0 else charge_step(self.v, current, 2)
        self.check_width(self.v)
        return phase

    def record(self, membrane: Any) -> None:
        """Keep the membrane of the window that is full now; the first time step completes none."""
        recorder = self.proc_params["recorder"]
        if recorder is not None and self.time_step > 1:
            recorder.write((self.time_step - 2) // self.window, membrane)

    def check_width(self, register: Any) -> None:
        """Raise if a value does not fit the declared register: hardware would wrap silently."""
        limit = 1 << (self.state_bits - 1)
        low, high = int(register.min()), int(register.max())
        if low < -limit or high >= limit:
            raise BoundError(
                f"neuron {self.label!r}: the membrane must fit {self.state_bits} bits, got {low}..{high} "
                f"at time step {self.time_step}; use fewer time steps, narrower weights or a wider state."
            )


@implements(proc=SpikePack, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PySpikePackFixed(_Integrator):
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
            return check_payload(self.label, code, payload_bits)
        shift = self.window - 1 - (phase + 1) % self.window
        if shift >= time_steps:  # a shorter code: leading digits are zero
            return np.zeros_like(self.u)
        spike, self.u = fire_digit(self.u, self.threshold << shift)
        return spike

    def load(self) -> None:
        """Move the membrane of a full window to the firing register."""
        membrane = self.v + self.bias
        self.check_width(membrane)
        self.record(membrane)
        if self.proc_params["signed"]:
            self.sign = np.sign(membrane)
            membrane = membrane * self.sign
        self.u = membrane + (self.threshold // 2 if self.proc_params["half"] else 0)
        self.check_width(self.u)


@implements(proc=Readout, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyReadoutFixed(_Integrator):
    """Charge only; the membrane of every full window goes to the recorder."""

    a_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    v: np.ndarray = LavaPyType(np.ndarray, np.int64)
    bias: np.ndarray = LavaPyType(np.ndarray, np.int64)

    def run_spk(self) -> None:
        """One time step."""
        phase = self.charge()
        if phase == self.window - 1:
            membrane = self.v + self.bias
            self.check_width(membrane)
            self.record(membrane)
