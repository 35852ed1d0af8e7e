"""Models of maximum pooling and upsampling; the rule of the maximum is that of ``spikejelly_pack.spec``."""

from __future__ import annotations

from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol

from lava_bridge.processes.maps import MaxPool, Spread, Upsample
from spikejelly_pack.spec.wiring import DigitPool

__all__ = ["PyMaxPool", "PySpread", "PyUpsample"]


@implements(proc=MaxPool, protocol=LoihiProtocol)
@requires(CPU)
class PyMaxPool(PyLoihiProcessModel):
    """A mask of the codes that are still tied, kept for one window."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    s_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.window = int(proc_params["window"])
        self.geometry = proc_params["geometry"]
        self.pool = DigitPool(self.geometry)

    def run_spk(self) -> None:
        """One time step: a population's first digit leaves at time steps ``1 (mod window)``."""
        message = self.s_in.recv()
        spikes = message.reshape(-1, *message.shape[-3:]).transpose(0, 3, 2, 1)  # N C H W, as the geometry
        if self.proc_params["graded"]:
            largest = self.geometry.largest(spikes)
        else:
            largest = self.pool.step((self.time_step - 1) % self.window, spikes)
        self.s_out.send(largest.transpose(0, 3, 2, 1).reshape(self.proc_params["shape_out"]))


@implements(proc=Upsample, protocol=LoihiProtocol)
@requires(CPU)
class PyUpsample(PyLoihiProcessModel):
    """Every value a block."""

    m_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    m_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def run_spk(self) -> None:
        """One time step."""
        columns, rows = self.proc_params["factor"]
        self.m_out.send(self.m_in.recv().repeat(columns, axis=-3).repeat(rows, axis=-2))


@implements(proc=Spread, protocol=LoihiProtocol)
@requires(CPU)
class PySpread(PyLoihiProcessModel):
    """Every value to its place."""

    m_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32)
    m_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.taken, self.places = [], []
        steps = zip(proc_params["stride"], proc_params["first"], strict=True)
        for axis, (stride, first) in enumerate(steps, start=-3):
            places = first + stride * np.arange(proc_params["shape"][axis])
            inside = (places >= 0) & (places < proc_params["canvas"][axis])
            self.taken.append(np.flatnonzero(inside))
            self.places.append(places[inside])

    def run_spk(self) -> None:
        """One time step."""
        canvas = np.zeros(self.proc_params["canvas"], np.int32)
        to, source = ((..., *np.ix_(*axes), slice(None)) for axes in (self.places, self.taken))
        canvas[to] = self.m_in.recv()[source]
        self.m_out.send(canvas)
