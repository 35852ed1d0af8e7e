"""A fast, exact model of Lava's stock ``Conv`` Process.

The stock model loops over pairs of channels in Python, ignores ``weight_exp`` and holds geometry in 8
bits. This one gathers every window by index and multiplies once in float64, which is exact below 2^53, as
is every sum of 16-bit weights times digits; equal to the stock model wherever that one is defined.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from lava.magma.core.decorator import implements, requires, tag
from lava.magma.core.model.py.model import PyLoihiProcessModel
from lava.magma.core.model.py.ports import PyInPort, PyOutPort
from lava.magma.core.model.py.type import LavaPyType
from lava.magma.core.resources import CPU
from lava.magma.core.sync.protocols.loihi_protocol import LoihiProtocol
from lava.proc.conv.process import Conv

from lava_bridge.processes.batched import BatchedConv
from spikejelly_pack.spec.graph.conv2d import windows

__all__ = ["PyBatchedConv", "PyBatchedConvFloat", "PyConvIm2col", "PyConvIm2colFloat"]


class _Im2col(PyLoihiProcessModel):
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
        image = self.sums(spikes)
        self.a_buf = np.left_shift(image, self.weight_exp.item()).astype(self.a_buf.dtype)

    def sums(self, spikes: Any) -> Any:
        """Weighted sums of a message, of every sample in it."""
        width, height, channels = self.a_buf.shape[-3:]
        samples = spikes.reshape(-1, math.prod(spikes.shape[-3:]))
        flat = np.zeros((samples.shape[1] + 1, len(samples)))  # the first row is padding
        flat[1:] = samples.T
        columns = flat.take(
            self.index, axis=0
        )  # [groups, K, W_out * H_out, batch]: one product for all samples
        sums = self.rows @ columns.reshape(*columns.shape[:2], -1)
        image = sums.astype(np.int64).reshape(channels, width, height, len(samples))
        return image.transpose(3, 1, 2, 0).reshape(self.a_buf.shape)


class _Im2colFloat(_Im2col):
    """The same with messages in float64; weights must be whole numbers, as ours are."""

    a_out: PyOutPort = LavaPyType(PyOutPort.VEC_DENSE, float)
    a_buf: np.ndarray = LavaPyType(np.ndarray, float)
    weight: np.ndarray = LavaPyType(np.ndarray, float)


@implements(proc=Conv, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyConvIm2col(_Im2col):
    """Convolution on integers."""


@implements(proc=Conv, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyConvIm2colFloat(_Im2colFloat):
    """Convolution in float64."""


@implements(proc=BatchedConv, protocol=LoihiProtocol)
@requires(CPU)
@tag("fixed_pt")
class PyBatchedConv(_Im2col):
    """Several samples, one product, on integers."""


@implements(proc=BatchedConv, protocol=LoihiProtocol)
@requires(CPU)
@tag("floating_pt")
class PyBatchedConvFloat(_Im2colFloat):
    """Several samples, one product, in float64."""


def _pair(values: Any) -> tuple[int, int]:
    return int(values[0]), int(values[1])
