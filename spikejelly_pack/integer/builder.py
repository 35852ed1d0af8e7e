"""Collects the integer operations while the exporter walks a network."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..spec.errors import UnsupportedError
from ..spec.graph import OPS, Add, Concat, Flatten, Input, Network, Neuron, Op, Readout, Shape
from ..spec.parameters import NeuronParameters
from .quantize import Quantized, quantize_population, quantize_readout
from .values import Branch, Current, FloatArray, Pooled, Spikes

__all__ = ["IntegerBuilder", "as_current"]


def as_current(name: str, value: Spikes | Pooled | Current) -> Current:
    """A value as a sum of synapses: spikes pass an identity synapse, pooled ones a depthwise one.

    Args:
        name: Name for the synapse, if one has to be made.
        value: Any value of the walk.
    """
    if isinstance(value, Current):
        return value
    if isinstance(value, Spikes):
        branch = Branch("scale", name, value.source, value.unit[:, None], "multiplier", value.unit.shape)
        return Current((branch,), np.zeros(len(value.unit)), value.shape)
    if len(value.shape) != 3:
        raise UnsupportedError(
            f"layer {name!r}: flattened average pooling must feed a linear layer; put a SpikePackNode behind the pooling."
        )
    rows = value.spikes.unit * value.gain / (value.kernel[0] * value.kernel[1])
    options = {"kernel": value.kernel, "stride": value.stride, "padding": value.padding}
    branch = Branch("avg_pool2d", name, value.spikes.source, rows[:, None], "multiplier", rows.shape, options)
    return Current((branch,), np.zeros(len(rows)), value.shape)


def _lsb(full: FloatArray, parameters: NeuronParameters, shape: Shape) -> FloatArray:
    """Real value of one LSB per channel, when the full code stands for ``full``."""
    return np.broadcast_to(full / parameters.max_code, shape[:1]).astype(np.float64)


class IntegerBuilder:
    """The integer network in the making.

    Args:
        weight_bits: Declared width of convolution, linear and pooling weights.
        skip_bits: Declared width of identity synapses.
        state_bits: Declared width of every membrane register.
    """

    def __init__(self, weight_bits: int, skip_bits: int, state_bits: int) -> None:
        self.bits = {"scale": skip_bits}
        self.weight_bits, self.state_bits = weight_bits, state_bits
        self.ops: list[Op] = []

    def network(self, time_steps: int, provenance: dict[str, str]) -> Network:
        """The finished network, branches balanced."""
        return Network(self.ops, time_steps, provenance).balanced()

    def _unique(self, name: str) -> str:
        taken = {op.name for op in self.ops}
        fresh, count = name, 2
        while fresh in taken:
            fresh, count = f"{name}_{count}", count + 1
        return fresh

    def _emit(self, kind: str, name: str, inputs: tuple[str, ...], **constants: Any) -> str:
        name = self._unique(name)
        self.ops.append(OPS[kind](name=name, inputs=inputs, **constants))
        return name

    def encoder(
        self, name: str, shape: Shape, theta: FloatArray, amplitude: FloatArray, parameters: NeuronParameters
    ) -> Spikes:
        """An input whose values are coded outside; arguments as :meth:`neuron`."""
        source = self._emit(
            Input.kind, name, (), threshold=theta.astype(np.float32), shape=shape, time_steps=parameters.time_steps,
            signed=parameters.signed, rounding=parameters.rounding,
        )  # fmt: skip
        return Spikes(source, _lsb(amplitude, parameters, shape), shape)

    def flatten(self, name: str, value: Spikes) -> Spikes:
        """All axes of the sample into one."""
        size = int(np.prod(value.shape))
        unit = np.repeat(value.unit, size // len(value.unit))
        return Spikes(self._emit(Flatten.kind, name, (value.source,)), unit, (size,))

    def concat(self, name: str, values: list[Spikes]) -> Spikes:
        """Concatenation along the channels."""
        source = self._emit(Concat.kind, name, tuple(value.source for value in values))
        unit = np.concatenate([value.unit for value in values])
        return Spikes(source, unit, (len(unit), *values[0].shape[1:]))

    def neuron(
        self,
        name: str,
        current: Current,
        theta: FloatArray,
        amplitude: FloatArray,
        parameters: NeuronParameters,
    ) -> Spikes:
        """A firing population behind its quantized synapses.

        Args:
            name: Path of the node.
            current: What it receives.
            theta: Threshold ``[1]`` or ``[C]``, in real units.
            amplitude: What a full code stands for to its readers: 1 (unit output) or theta.
            parameters: Constants of the node.
        """
        if parameters.tau != 2.0 or parameters.leak:
            raise UnsupportedError(
                f"neuron {name!r}: the integer form needs tau = 2 and leak = 0, got tau = {parameters.tau}, "
                f"leak = {parameters.leak}; train or convert with these."
            )
        unit = _lsb(theta, parameters, current.shape)
        most = 1 << (self.state_bits - 1 - parameters.time_steps)
        quantized = quantize_population(
            name, [b.rows for b in current.branches], self._bits(current), current.bias, unit, most
        )
        source = self._emit(
            Neuron.kind, name, (self._synapses(name, current, quantized),), threshold=quantized.threshold,
            bias=quantized.bias, time_steps=parameters.time_steps, signed=parameters.signed,
            rounding=parameters.rounding, state_bits=self.state_bits,
        )  # fmt: skip
        return Spikes(source, _lsb(amplitude, parameters, current.shape), current.shape)

    def readout(self, name: str, current: Current) -> None:
        """An output: membranes that never fire."""
        quantized = quantize_readout(
            name, [b.rows for b in current.branches], self._bits(current), current.bias
        )
        source = self._synapses(name, current, quantized)
        self._emit(
            Readout.kind,
            name,
            (source,),
            scale=quantized.scale,
            bias=quantized.bias,
            state_bits=self.state_bits,
        )

    def _bits(self, current: Current) -> list[int]:
        return [self.bits.get(branch.kind, self.weight_bits) for branch in current.branches]

    def _synapses(self, name: str, current: Current, quantized: Quantized) -> str:
        names = []
        for branch, weight, bits in zip(
            current.branches, quantized.weights, self._bits(current), strict=True
        ):
            constants = {
                branch.field: weight.reshape(branch.weight_shape),
                "weight_bits": bits,
                **branch.options,
            }
            names.append(self._emit(branch.kind, branch.name, (branch.source,), **constants))
        return names[0] if len(names) == 1 else self._emit(Add.kind, f"{name}_sum", tuple(names))
