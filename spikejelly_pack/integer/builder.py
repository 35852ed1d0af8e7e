"""Collects the integer operations while the exporter walks a network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from ..spec.errors import UnsupportedError
from ..spec.graph import OPS, Add, Concat, Flatten, Input, Network, Neuron, Op, Readout, Shape
from ..spec.parameters import NeuronParameters
from .adaptive import Rounder
from .exportable import check_exportable, leak_shift
from .grid import exact_population, exact_readout
from .pooling import unpool
from .quantize import Quantized, quantize_population, quantize_readout
from .values import Analog, Branch, Current, FloatArray, Joined, Pooled, Spikes, Value, parts_of

__all__ = ["IntegerBuilder", "analog_error"]


def analog_error(name: str) -> UnsupportedError:
    """The refusal of a layer that reads the input before its encoder."""
    return UnsupportedError(
        f"layer {name!r}: must read spikes, got the analog input; let the input pass a SpikePackNode first "
        "(convert with encode_input=True)."
    )


def _lsb(full: FloatArray, parameters: NeuronParameters, shape: Shape) -> FloatArray:
    """Real value of one LSB per channel, when the full code stands for ``full``."""
    return np.broadcast_to(full / parameters.max_code, shape[:1]).astype(np.float64)


class IntegerBuilder:
    """The integer network in the making.

    Args:
        weight_bits: Declared width of convolution, linear and pooling weights.
        skip_bits: Declared width of identity synapses.
        state_bits: Declared width of every membrane register.
        exact: Keep the integers of quantized weights and prove every decision, or refuse.
        own_bits: Declare for weights that are quantized already the width they have.
        rounder: Rounds weights by their effect on data; None: to the nearest.
        windows: W, windows of one sample.

    Attributes:
        entries: Name of the source network's input by that of its encoder.
    """

    def __init__(
        self,
        weight_bits: int,
        skip_bits: int,
        state_bits: int,
        exact: bool = False,
        own_bits: bool = False,
        rounder: Rounder | None = None,
        windows: int = 1,
    ) -> None:
        self.rounder, self.windows = rounder, windows
        self.entries: dict[str, str] = {}
        self.exact, self.own_bits = exact, own_bits
        self.bits = {"scale": skip_bits}
        self.weight_bits, self.state_bits = weight_bits, state_bits
        self.ops: list[Op] = []
        self.window = 1

    def network(self, provenance: dict[str, str]) -> Network:
        """The finished network, branches balanced; its window is that of its nodes, the longest code's."""
        return Network(self.ops, self.window, provenance, self.windows).balanced()

    def _check(self, name: str, parameters: NeuronParameters) -> None:
        check_exportable(name, parameters)
        self.window = max(self.window, parameters.window_steps)

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
        self, name: str, value: Analog, theta: FloatArray, amplitude: FloatArray, parameters: NeuronParameters
    ) -> Spikes:
        """An input whose values are coded outside; arguments as :meth:`neuron`."""
        self._check(name, parameters)
        if parameters.leak:
            raise UnsupportedError(
                f"neuron {name!r}: the encoder of an input codes every window for itself, got leak = "
                f"{parameters.leak}; set its leak to 0 and leave memory to the layers behind it."
            )
        shape = value.shape
        source = self._emit(
            Input.kind, name, (), threshold=theta.astype(np.float32), shape=shape,
            time_steps=parameters.time_steps, signed=parameters.signed, rounding=parameters.rounding,
        )  # fmt: skip
        self.entries[source] = value.entry
        unit = _lsb(amplitude, parameters, shape)
        return Spikes(source, unit, shape, parameters.max_code, parameters.signed)

    def rearranged(self, name: str, value: Spikes, kind: str, constants: dict[str, Any]) -> Spikes:
        """Spikes behind an operation without weights that keeps channels: a pool, an upsampling."""
        source = self._emit(kind, name, (value.source,), **constants)
        shape = self.ops[-1].output_shape(value.shape)
        return replace(value, source=source, shape=shape)

    def flatten(self, name: str, value: Spikes) -> Spikes:
        """All axes of the sample into one."""
        size = int(np.prod(value.shape))
        unit = np.repeat(value.unit, size // len(value.unit))
        source = self._emit(Flatten.kind, name, (value.source,))
        return replace(value, source=source, unit=unit, shape=(size,))

    def concat(self, name: str, values: list[Spikes]) -> Spikes:
        """Concatenation along the channels."""
        source = self._emit(Concat.kind, name, tuple(value.source for value in values))
        unit = np.concatenate([value.unit for value in values])
        largest, signed = max(value.max_code for value in values), any(value.signed for value in values)
        return Spikes(source, unit, (len(unit), *values[0].shape[1:]), largest, signed)

    def as_current(self, name: str, value: Value) -> Current | Joined:
        """A value as a sum of synapses: spikes pass an identity synapse, pooled ones a depthwise one.

        Args:
            name: Name for the synapse, if one has to be made.
            value: Any value of the walk but the analog input.

        Raises:
            UnsupportedError: The value is the analog input.
        """
        if isinstance(value, (Current, Joined)):
            return value
        if isinstance(value, Analog):
            raise analog_error(name)
        if isinstance(value, Spikes):
            branch = Branch("scale", name, value, value.unit[:, None], "multiplier", value.unit.shape)
            return Current((branch,), np.zeros(len(value.unit)), value.shape)
        if (
            value.flat
        ):  # a sum that is read feature by feature: a linear layer with the identity as its weight
            return self.linear(name, value, np.eye(value.shape[0]), np.zeros(value.shape[0]))
        area = value.kernel[0] * value.kernel[1]
        rows = value.spikes.unit * value.gain / area
        options = {"kernel": value.kernel, "stride": value.stride, "padding": value.padding}
        branch = Branch(
            "avg_pool2d", name, value.spikes, rows[:, None], "multiplier", rows.shape, options, copies=area
        )
        return Current((branch,), np.zeros(len(rows)), value.shape)

    def linear(
        self,
        name: str,
        value: Spikes | Pooled,
        weight: FloatArray,
        bias: FloatArray,
        quantized_bits: int | None = None,
    ) -> Current:
        """A dense synapse; flattened average pooling in front of it is folded into its weight.

        Args:
            name: Path of the layer.
            value: One-dimensional spikes, or flattened pooled ones.
            weight: ``[out, in]``, in real units.
            bias: ``[out]``.
            quantized_bits: Width of the weights where they are quantized already.
        """
        if isinstance(value, Pooled):
            weight, source = unpool(weight, value), self.flatten(f"{name}_flatten", value.spikes)
        else:
            source = value
        rows = weight * source.unit
        branch = Branch("dense", name, source, rows, "weight", weight.shape, quantized_bits=quantized_bits)
        return Current((branch,), bias, (len(weight),))

    def neuron(
        self,
        name: str,
        current: Current | Joined,
        theta: FloatArray,
        amplitude: FloatArray,
        parameters: NeuronParameters,
    ) -> Spikes:
        """A firing population behind its quantized synapses.

        Args:
            name: Path of the node.
            current: What it receives.
            theta: Threshold ``[1]`` or ``[C]``, in real units.
            amplitude: What a full code stands for to its readers: 1 (unit output; less where it is
                right-aligned in a longer window) or theta.
            parameters: Constants of the node.
        """
        self._check(name, parameters)
        unit = _lsb(theta, parameters, current.shape)
        shift = leak_shift(name, parameters)
        if self.exact and shift is not None:
            raise UnsupportedError(
                f"neuron {name!r}: an exact integer form needs leak = 0, got {parameters.leak}, whose shift "
                "rounds; export with exact=False."
            )
        carried = 0.0 if shift is None else parameters.max_code * 2.0**-shift

        def quantize(part: Current, channels: slice) -> Quantized:
            received = name, part.branches, self._bits(part), part.bias, unit[channels]
            if self.exact:
                return exact_population(*received, parameters, self.state_bits)
            steps = parameters.time_steps
            return quantize_population(*received, steps, self.state_bits, self._informed(), carried)

        before, quantized = self._received(name, current, quantize)
        source = self._emit(
            Neuron.kind, name, (before,), threshold=quantized.threshold,
            bias=quantized.bias, time_steps=parameters.time_steps, signed=parameters.signed,
            rounding=parameters.rounding, state_bits=self.state_bits, leak_shift=shift,
            carry="residual" if shift is None else parameters.carry,
        )  # fmt: skip
        unit = _lsb(amplitude, parameters, current.shape)
        return Spikes(source, unit, current.shape, parameters.max_code, parameters.signed)

    def readout(self, name: str, current: Current | Joined) -> None:
        """An output: membranes that never fire."""

        def quantize(part: Current, _channels: slice) -> Quantized:
            received = name, part.branches, self._bits(part), part.bias, self.state_bits
            return exact_readout(*received) if self.exact else quantize_readout(*received, self._informed())

        source, quantized = self._received(name, current, quantize)
        self._emit(
            Readout.kind,
            name,
            (source,),
            scale=quantized.scale,
            bias=quantized.bias,
            state_bits=self.state_bits,
        )

    def _received(
        self, name: str, current: Current | Joined, quantize: Callable[[Current, slice], Quantized]
    ) -> tuple[str, Quantized]:
        """What feeds a population, and its constants; sums side by side are quantized one by one."""
        parts = parts_of(current)
        if len(parts) == 1:
            quantized = quantize(parts[0], slice(None))
            return self._synapses(name, parts[0], quantized), quantized
        sources, found, first = [], [], 0
        for index, part in enumerate(parts):
            found.append(quantize(part, slice(first, first + part.shape[0])))
            sources.append(self._synapses(f"{name}_part{index}", part, found[-1]))
            first += part.shape[0]
        source = self._emit(Concat.kind, f"{name}_join", tuple(sources))
        threshold = np.concatenate([one.threshold for one in found])
        bias = np.concatenate([one.bias for one in found])
        return source, Quantized(threshold, bias, [], np.concatenate([one.scale for one in found]))

    def _informed(self) -> Rounder | None:
        """The rounder, with the codes of all operations so far."""
        if self.rounder is not None:
            self.rounder.follow(self.ops, self.entries)
        return self.rounder

    def _bits(self, current: Current) -> list[int]:
        return [self._width(branch) for branch in current.branches]

    def _width(self, branch: Branch) -> int:
        if self.own_bits and branch.quantized_bits is not None:
            return max(2, branch.quantized_bits)  # binary weights need a sign and a magnitude there
        return self.bits.get(branch.kind, self.weight_bits)

    def _synapses(self, name: str, current: Current, quantized: Quantized) -> str:
        names = []
        for branch, weight, bits in zip(
            current.branches, quantized.weights, self._bits(current), strict=True
        ):
            constants = {
                branch.weight_field: weight.reshape(branch.weight_shape),
                "weight_bits": bits,
                **branch.options,
            }
            source = self._emit(branch.kind, branch.name, (branch.source.source,), **constants)
            for op in branch.after:
                source = self._unique(op.name)
                self.ops.append(replace(op, name=source, inputs=(self.ops[-1].name,)))
            names.append(source)
        return names[0] if len(names) == 1 else self._emit(Add.kind, f"{name}_sum", tuple(names))
