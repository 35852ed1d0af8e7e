"""A fast, exact model of Lava's stock ``Conv`` Process.

The stock model loops over pairs of channels in Python, ignores ``weight_exp`` and holds geometry in 8
bits. This one gathers every window by index and multiplies once in float64, which is exact below 2^53, as
is every sum of 16-bit weights times digits; equal to the stock model wherever that one is defined.
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
from lava.proc.conv.process import Conv

from spikejelly_pack.spec.graph.conv2d import windows

__all__ = ["PyConvIm2col", "PyConvIm2colFloat"]


@implements(proc=Conv, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyConvIm2col(PyLoihiProcessModel):
    """Convolution as one gather and one matrix product per time step."""

    s_in: PyInPort = LavaPyType(PyInPort.VEC_DENSE, np.int32, precision=24)
    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, np.int32, precision=24)
    a_buf: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=24)
    weight: np.ndarray = LavaPyType(np.ndarray, np.int32, precision=8)
    kernel_size: np.ndarray = LavaPyType(np.ndarray, np.int32)
    stride: np.ndarray = LavaPyType(np.ndarray, np.int32)
    padding: np.ndarray = LavaPyType(np.ndarray, np.int32)
    dilation: np.ndarray = LavaPyType(np.ndarray, np.int32)
    groups: np.ndarray = LavaPyType(np.ndarray, np.int32)
    num_message_bits: np.ndarray = LavaPyType(np.ndarray, np.int32)
    weight_exp: np.ndarray = LavaPyType(np.ndarray, np.int32)
    num_weight_bits: np.ndarray = LavaPyType(np.ndarray, np.int32)

    def __init__(self, proc_params: Any) -> None:
        super().__init__(proc_params)
        self.index: Any = None
        self.rows: Any = None

    def prepare(self) -> None:
        """Positions of all windows' inputs, ``[groups, K, W_out * H_out]`` (0: padding); kernel rows."""
        width, height, channels = (int(n) for n in self.proc_params["input_shape"])
        positions = np.arange(1, width * height * channels + 1).reshape(1, width, height, channels)
        view = windows(
            positions.transpose(0, 3, 1, 2),
            _pair(self.kernel_size),
            _pair(self.stride),
            _pair(self.padding),
            _pair(self.dilation),
        )
        groups, outputs = int(self.groups[0]), view.shape[2] * view.shape[3]
        self.index = view.transpose(0, 1, 4, 5, 2, 3).reshape(groups, -1, outputs)
        # A convolution turns its kernel round, both here and in the stock model.
        kernel = self.weight[:, ::-1, ::-1, :].transpose(0, 3, 1, 2)
        self.rows = kernel.reshape(groups, kernel.shape[0] // groups, -1).astype(np.float64)

    def run_spk(self) -> None:
        """One time step: send what the step before summed, as the stock synapses do."""
        if self.index is None:
            self.prepare()
        self.a_out.send(self.a_buf)
        spikes = self.s_in.recv()
        if self.num_message_bits.item() == 0:
            spikes = spikes.astype(bool)
        flat = np.concatenate([[0.0], spikes.reshape(-1)])
        sums = (self.rows @ flat[self.index]).astype(np.int64)
        width, height, channels = self.a_buf.shape
        image = sums.reshape(channels, width, height).transpose(1, 2, 0)
        self.a_buf = np.left_shift(image, self.weight_exp.item()).astype(self.a_buf.dtype)


@implements(proc=Conv, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyConvIm2colFloat(PyConvIm2col):
    """The same with messages in float64; weights must be whole numbers, as ours are."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    a_buf: np.ndarray = LavaPyType(np.ndarray, float)
    weight: np.ndarray = LavaPyType(np.ndarray, float)


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])
