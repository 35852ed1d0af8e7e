"""Models of relay and concatenation."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_bridge.processes.wiring import Concat, Relay

__all__ = ["PyConcat", "PyRelay"]


@implements(proc=Relay, protocol=LoihiProtocol)
@requires(CPU)
class PyRelay(PyLoihiProcessModel):
    """A ring of messages."""

    m_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    m_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        silence = np.zeros(proc_params["shape"], np.int32)
        self.line = deque([silence] * int(proc_params["steps"]))

    def run_spk(self) -> None:
        """One time step."""
        self.line.append(self.m_in.recv())
        self.m_out.send(self.line.popleft())


@implements(proc=Concat, protocol=LoihiProtocol)
@requires(CPU)
class PyConcat(PyLoihiProcessModel):
    """Both messages of a time step, side by side."""

    first_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    second_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    m_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        """One time step."""
        self.m_out.send(np.concatenate([self.first_in.recv(), self.second_in.recv()], axis=-1))
