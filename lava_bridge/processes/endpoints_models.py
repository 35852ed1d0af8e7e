"""Models of source and sink."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_bridge.payload import check_payload
from lava_bridge.processes.endpoints import Sink, Source
from spikejelly_pack.spec.bits import unpack
from spikejelly_pack.spec.equations import charge_step

__all__ = ["PySink", "PySource"]


@implements(proc=Source, protocol=LoihiProtocol)
@requires(CPU)
class PySource(PyLoihiProcessModel):
    """One digit per time step, most significant first, or one code."""

    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.codes = proc_params["codes"]
        self.window = int(proc_params["window"])
        self.payload_bits = int(proc_params["payload_bits"])
        self.label = str(proc_params["name"])
        self.digits: Any = None

    def run_spk(self) -> None:
        """One time step."""
        sample, phase = divmod(self.time_step - 1, self.window)
        if phase == 0:
            code = self.codes[sample] if sample < len(self.codes) else np.zeros_like(self.codes[0])
            if self.payload_bits:
                self.digits = check_payload(self.label, code[None].astype(np.int32), self.payload_bits)
            else:
                self.digits = unpack(code, self.window).astype(np.int32)
        self.s_out.send(self.digits[phase])


@implements(proc=Sink, protocol=LoihiProtocol)
@requires(CPU)
class PySink(PyLoihiProcessModel):
    """Horner's rule over the digits of a window."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.window = int(proc_params["window"])
        self.code: Any = None

    def run_spk(self) -> None:
        """One time step."""
        digit = self.s_in.recv()
        row, phase = divmod(self.time_step - 1, self.window)
        self.code = digit if phase == 0 else charge_step(self.code, digit, 2)
        if phase == self.window - 1:
            self.proc_params["recorder"].write(row, self.code)
