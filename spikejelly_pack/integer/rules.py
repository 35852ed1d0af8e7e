"""Export rules: what each module of a converted network becomes; one function per module type."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
from spikingjelly.activation_based import layer as sj
from torch import nn

from ..layer.delay import SpikeDelay
from ..layer.synaptic_scale import ChannelConcat, SynapticScale
from ..neuron import SpikePackNode
from ..spec.errors import UnsupportedError
from .builder import IntegerBuilder, analog_error
from .pooling import pooled_size
from .values import Analog, Branch, Current, FloatArray, Joined, Pooled, Spikes, Value, parts_of
from .weight_grid import weight_bits_of

__all__ = ["RULES", "Value", "add", "array_of", "bias_of", "needs", "pair_of", "refuse", "rule", "rule_for"]

Rule = Callable[[IntegerBuilder, str, Any, list[Any]], Value]
RULES: dict[type[nn.Module], Rule] = {}
_Function = TypeVar("_Function", bound=Rule)


def rule(*types: type[nn.Module]) -> Callable[[_Function], _Function]:
    """Decorator: enter the rule of these module types."""

    def enter(function: _Function) -> _Function:
        RULES.update(dict.fromkeys(types, function))
        return function

    return enter


def rule_for(module: nn.Module | None) -> Rule | None:
    """The rule of exactly this type: a subclass may compute something else."""
    return RULES.get(type(module))  # type: ignore[arg-type]


def array_of(tensor: torch.Tensor) -> FloatArray:
    """A tensor as float64 numpy array."""
    return tensor.detach().cpu().to(torch.float64).numpy()


def bias_of(module: Any, outputs: int) -> FloatArray:
    """Bias of a layer, zeros where it has none."""
    return array_of(module.bias) if module.bias is not None else np.zeros(outputs)


def needs(name: str, value: Value, what: str, axes: int | None = None) -> Spikes:
    """``value`` if it is spikes of samples with ``axes`` axes, else a refusal."""
    if isinstance(value, Analog):
        raise analog_error(name)
    if not isinstance(value, Spikes):
        got = "average-pooled spikes" if isinstance(value, Pooled) else "a sum of currents"
        raise UnsupportedError(
            f"layer {name!r}: {what} must read spikes, got {got}; put a SpikePackNode in front of it "
            "(in a source network to convert: a ReLU, which leaves values of rectifiers as they are)."
        )
    if axes is not None and len(value.shape) != axes:
        raise UnsupportedError(
            f"layer {name!r}: {what} must read samples with {axes} axes, got shape {value.shape}; "
            "flatten in front of linear layers only."
        )
    return value


def add(builder: IntegerBuilder, name: str, values: list[Value]) -> Current:
    """Sum of branches: all of them become synapses of one population."""
    received = [builder.as_current(f"{name}_branch{index}", value) for index, value in enumerate(values)]
    currents = [current for current in received if isinstance(current, Current)]
    if len(currents) < len(received):
        raise UnsupportedError(
            f"operation {name!r}: a sum must not read a concatenation of currents; put a SpikePackNode "
            "behind the concatenation."
        )
    shapes = [current.shape for current in currents]
    if len(set(shapes)) > 1:
        raise UnsupportedError(
            f"operation {name!r}: a sum must be of equal shapes, got {shapes}; broadcasting has no integer "
            "form."
        )
    branches = tuple(branch for current in currents for branch in current.branches)
    return Current(branches, np.sum([current.bias for current in currents], axis=0), shapes[0])


def _scales(name: str, node: SpikePackNode, axes: int) -> tuple[FloatArray, FloatArray]:
    """Threshold of a node and what its full code stands for to its readers, each ``[1]`` or ``[C]``."""
    theta = array_of(node.threshold).reshape(-1)
    if node.threshold.dim() and node.channel_dim % (axes + 1) != 1:
        raise UnsupportedError(
            f"neuron {name!r}: channels must be dimension 1 of [N, *] in the integer form, got channel_dim="
            f"{node.channel_dim}; use one threshold for all."
        )
    # a right-aligned code in a longer window stands for 1 / window_gain of a unit
    return theta, theta if node.scale_output else np.full(1, 1 / node.window_gain)


@rule(SpikePackNode)
def _node(builder: IntegerBuilder, name: str, module: SpikePackNode, inputs: list[Value]) -> Value:
    (value,) = inputs
    scales = _scales(name, module, len(value.shape))
    if isinstance(value, Analog):
        return builder.encoder(name, value, *scales, module.params)
    return builder.neuron(name, builder.as_current(f"{name}_synapse", value), *scales, module.params)


@rule(sj.Linear)
def _linear(builder: IntegerBuilder, name: str, module: nn.Linear, inputs: list[Value]) -> Value:
    value = inputs[0]
    if not (isinstance(value, Pooled) and value.flat):
        value = needs(name, value, "a linear layer", axes=1)
    weight, bias = array_of(module.weight), bias_of(module, module.out_features)
    return builder.linear(name, value, weight, bias, weight_bits_of(module))


def _padding(name: str, module: nn.Conv2d) -> tuple[int, int]:
    """Zeros at either side of the rows and of the columns."""
    if module.padding_mode != "zeros":
        raise UnsupportedError(
            f"layer {name!r}: padding must be zeros, got padding_mode={module.padding_mode!r}; use 'zeros'."
        )
    if not isinstance(module.padding, str):
        return pair_of(module.padding)
    if module.padding == "valid":
        return 0, 0
    rows, columns = (d * (k - 1) for d, k in zip(module.dilation, module.kernel_size, strict=True))
    if rows % 2 or columns % 2:
        raise UnsupportedError(
            f"layer {name!r}: padding must be the same on both sides, got 'same' with a kernel of "
            f"{module.kernel_size}, which puts one zero more behind the map; give the padding in numbers, or "
            "the kernel an odd size."
        )
    return rows // 2, columns // 2


@rule(sj.Conv2d)
def _conv2d(_builder: IntegerBuilder, name: str, module: nn.Conv2d, inputs: list[Value]) -> Value:
    source = needs(name, inputs[0], "a convolution", axes=3)
    padding = _padding(name, module)
    weight = array_of(module.weight)
    per_group = source.unit.reshape(module.groups, 1, -1)
    unit = np.broadcast_to(per_group, (module.groups, len(weight) // module.groups, weight.shape[1]))
    rows = (weight * unit.reshape(len(weight), -1, 1, 1)).reshape(len(weight), -1)
    options = {
        "stride": module.stride, "padding": padding,
        "dilation": module.dilation, "groups": module.groups,
    }  # fmt: skip
    branch = Branch(
        "conv2d", name, source, rows, "weight", weight.shape, options, quantized_bits=weight_bits_of(module)
    )
    height, width = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(
            source.shape[1:], padding, module.dilation, module.kernel_size, module.stride, strict=True
        )
    )
    return Current((branch,), bias_of(module, len(weight)), (len(weight), height, width))


@rule(SynapticScale)
def _scale(builder: IntegerBuilder, name: str, module: SynapticScale, inputs: list[Value]) -> Value:
    value, gain = inputs[0], array_of(module.scale)
    if isinstance(value, Pooled):
        return replace(value, gain=value.gain * _per_map(name, value, gain))
    spikes = needs(name, value, "an identity synapse")
    return builder.as_current(name, replace(spikes, unit=spikes.unit * gain))


def _per_map(name: str, value: Pooled, gain: FloatArray) -> FloatArray:
    """A gain ``[1]``, ``[C]`` or, of flattened maps, ``[C * H' * W']`` as one value per channel."""
    if not value.flat or gain.size == 1:
        return gain
    maps = gain.reshape(value.spikes.shape[0], -1)
    if not (maps == maps[:, :1]).all():
        raise UnsupportedError(
            f"layer {name!r}: a scale behind average pooling must be one per channel, got one per feature; "
            "put a SpikePackNode behind the pooling."
        )
    return maps[:, 0]


@rule(SpikeDelay)
def _delay(_builder: IntegerBuilder, _name: str, _module: SpikeDelay, inputs: list[Value]) -> Value:
    return inputs[0]  # the integer graph balances its own branches


def pair_of(value: Any) -> tuple[int, int]:
    """Two integers from one or a pair."""
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _pooled(value: Spikes, kernel: Any, stride: Any, padding: Any) -> Pooled:
    size = pooled_size(value.shape, kernel, stride, padding)
    return Pooled(value, kernel, stride, padding, size, flat=False, gain=np.ones(value.shape[0]))


@rule(sj.AvgPool2d)
def _avg_pool2d(_builder: IntegerBuilder, name: str, module: nn.AvgPool2d, inputs: list[Value]) -> Value:
    value = needs(name, inputs[0], "average pooling", axes=3)
    padding = pair_of(module.padding)
    if module.ceil_mode or module.divisor_override or (any(padding) and not module.count_include_pad):
        raise UnsupportedError(
            f"layer {name!r}: average pooling must divide every window alike (no ceil_mode, no "
            "divisor_override, padding only with count_include_pad); change these options."
        )
    return _pooled(value, pair_of(module.kernel_size), pair_of(module.stride), padding)


@rule(sj.AdaptiveAvgPool2d)
def _adaptive(
    _builder: IntegerBuilder, name: str, module: nn.AdaptiveAvgPool2d, inputs: list[Value]
) -> Value:
    value = needs(name, inputs[0], "average pooling", axes=3)
    sizes: Any = pair_of(module.output_size)  # None: the size stays
    wanted = [n if w is None else w for n, w in zip(value.shape[1:], sizes, strict=True)]
    if any(n % w for n, w in zip(value.shape[1:], wanted, strict=True)):
        raise UnsupportedError(
            f"layer {name!r}: adaptive pooling must divide {value.shape[1:]} evenly, got output size "
            f"{tuple(wanted)}; choose a divisor."
        )
    kernel = (value.shape[1] // wanted[0], value.shape[2] // wanted[1])
    return _pooled(value, kernel, kernel, (0, 0))


@rule(sj.Flatten)
def _flatten(builder: IntegerBuilder, name: str, _module: nn.Flatten, inputs: list[Value]) -> Value:
    value = inputs[0]
    if isinstance(value, Pooled):
        return replace(value, flat=True)
    return builder.flatten(name, needs(name, value, "flatten"))


@rule(ChannelConcat)
def _concat(builder: IntegerBuilder, name: str, _module: ChannelConcat, inputs: list[Value]) -> Value:
    spikes = [value for value in inputs if isinstance(value, Spikes)]
    if len(spikes) == len(inputs):
        return builder.concat(name, spikes)
    currents = [builder.as_current(f"{name}_branch{index}", value) for index, value in enumerate(inputs)]
    if len({current.shape[1:] for current in currents}) > 1:
        shapes = [current.shape for current in currents]
        raise UnsupportedError(
            f"operation {name!r}: a concatenation must be of maps of one size, got {shapes}; crop or pad "
            "them."
        )
    return Joined(tuple(part for current in currents for part in parts_of(current)))


def refuse(name: str, module: nn.Module | None) -> UnsupportedError:
    """The refusal of a layer without a rule."""
    kinds = sorted(cls.__name__ for cls in RULES)
    return UnsupportedError(
        f"layer {name!r}: {type(module).__name__} has no integer form; use one of {', '.join(kinds)}, "
        "or keep the float forms."
    )
