"""Export rules: what each module of a converted network becomes; one function per module type."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from ..layer.synaptic_scale import ChannelConcat, SynapticScale
from ..neuron import SpikePackNode
from ..spec.errors import UnsupportedError
from .builder import IntegerBuilder, as_current
from .values import Branch, Current, FloatArray, Pooled, Spikes

__all__ = ["RULES", "Value", "add", "array", "node_scales", "rule_for"]

Value = Spikes | Pooled | Current
Rule = Callable[[IntegerBuilder, str, Any, list[Any]], Value]
RULES: dict[type[nn.Module], Rule] = {}
_Function = TypeVar("_Function", bound=Rule)


def _rule(*types: type[nn.Module]) -> Callable[[_Function], _Function]:
    def enter(function: _Function) -> _Function:
        RULES.update(dict.fromkeys(types, function))
        return function

    return enter


def rule_for(module: nn.Module) -> Rule | None:
    """The rule of a module's nearest base class that has one."""
    return next((RULES[cls] for cls in type(module).__mro__ if cls in RULES), None)


def array(tensor: torch.Tensor) -> FloatArray:
    """A tensor as float64 numpy array."""
    return tensor.detach().cpu().to(torch.float64).numpy()


def _bias(module: Any, outputs: int) -> FloatArray:
    return array(module.bias) if module.bias is not None else np.zeros(outputs)


def _needs(name: str, value: Value, what: str) -> Spikes:
    if not isinstance(value, Spikes):
        raise UnsupportedError(
            f"layer {name!r}: {what} must read spikes, got {'pooled spikes' if isinstance(value, Pooled) else 'currents'}; "
            "put a SpikePackNode in front of it."
        )
    return value


def add(name: str, values: list[Value]) -> Current:
    """Sum of branches: all of them become synapses of one population."""
    currents = [as_current(f"{name}_branch{index}", value) for index, value in enumerate(values)]
    branches = tuple(branch for current in currents for branch in current.branches)
    return Current(branches, np.sum([current.bias for current in currents], axis=0), currents[0].shape)


@_rule(SpikePackNode)
def _node(builder: IntegerBuilder, name: str, module: SpikePackNode, inputs: list[Value]) -> Value:
    theta, amplitude = node_scales(module)
    return builder.neuron(name, as_current(f"{name}_synapse", inputs[0]), theta, amplitude, module.params)


def node_scales(node: SpikePackNode) -> tuple[FloatArray, FloatArray]:
    """Threshold of a node and what its full code stands for to its readers, each ``[1]`` or ``[C]``."""
    theta = array(node.threshold).reshape(-1)
    return theta, theta if node.scale_output else np.ones(1)


@_rule(nn.Linear)
def _linear(builder: IntegerBuilder, name: str, module: nn.Linear, inputs: list[Value]) -> Value:
    weight, value = array(module.weight), inputs[0]
    if isinstance(value, Pooled):
        weight = _unpool(weight, value)
        source = (
            value.spikes if len(value.spikes.shape) == 1 else builder.flatten(f"{name}_flatten", value.spikes)
        )
    else:
        source = _needs(name, value, "a linear layer")
    branch = Branch("dense", name, source.source, weight * source.unit, "weight", weight.shape)
    return Current((branch,), _bias(module, len(weight)), (len(weight),))


def _unpool(weight: FloatArray, value: Pooled) -> FloatArray:
    """Weights over the pooled map as weights over the map itself: the transpose of average pooling."""
    channels, height, width = value.spikes.shape
    area = value.kernel[0] * value.kernel[1]
    out_h, out_w = _pooled_size(value.spikes.shape, value.kernel, value.stride, value.padding)
    maps = torch.from_numpy(weight.reshape(len(weight), channels, out_h, out_w))
    maps = maps * torch.from_numpy(value.gain)[:, None, None] / area
    ones = torch.ones(channels, 1, *value.kernel, dtype=torch.float64)
    spread = F.conv_transpose2d(maps, ones, stride=value.stride, groups=channels)
    spread = F.pad(spread, (0, max(0, width + 2 * value.padding[1] - spread.shape[3]),
                            0, max(0, height + 2 * value.padding[0] - spread.shape[2])))  # fmt: skip
    top, left = value.padding
    return spread[:, :, top : top + height, left : left + width].reshape(len(weight), -1).numpy()


def _pooled_size(shape: tuple[int, ...], kernel: Any, stride: Any, padding: Any) -> tuple[int, int]:
    height, width = (
        (n + 2 * p - k) // s + 1 for n, k, s, p in zip(shape[1:], kernel, stride, padding, strict=True)
    )
    return height, width


@_rule(nn.Conv2d)
def _conv2d(builder: IntegerBuilder, name: str, module: nn.Conv2d, inputs: list[Value]) -> Value:
    source = _needs(name, inputs[0], "a convolution")
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise UnsupportedError(
            f"layer {name!r}: padding must be numbers of zeros, got {module.padding!r} ({module.padding_mode}); "
            "write the padding out."
        )
    weight = array(module.weight)
    per_group = source.unit.reshape(module.groups, 1, -1)
    unit = np.broadcast_to(per_group, (module.groups, len(weight) // module.groups, weight.shape[1]))
    rows = (weight * unit.reshape(len(weight), -1, 1, 1)).reshape(len(weight), -1)
    options = {
        "stride": module.stride, "padding": module.padding, "dilation": module.dilation, "groups": module.groups,
    }  # fmt: skip
    branch = Branch("conv2d", name, source.source, rows, "weight", weight.shape, options)
    height, width = (
        (n + 2 * p - d * (k - 1) - 1) // s + 1
        for n, p, d, k, s in zip(
            source.shape[1:], module.padding, module.dilation, module.kernel_size, module.stride, strict=True
        )
    )
    return Current((branch,), _bias(module, len(weight)), (len(weight), height, width))


@_rule(SynapticScale)
def _scale(builder: IntegerBuilder, name: str, module: SynapticScale, inputs: list[Value]) -> Value:
    value, gain = inputs[0], array(module.scale)
    if isinstance(value, Pooled):
        return Pooled(value.spikes, value.kernel, value.stride, value.padding, value.shape, value.gain * gain)
    spikes = _needs(name, value, "an identity synapse")
    return as_current(name, Spikes(spikes.source, spikes.unit * gain, spikes.shape))


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _pooled(value: Spikes, kernel: Any, stride: Any, padding: Any) -> Pooled:
    size = _pooled_size(value.shape, kernel, stride, padding)
    return Pooled(value, kernel, stride, padding, (value.shape[0], *size), np.ones(value.shape[0]))


@_rule(nn.AvgPool2d)
def _avg_pool2d(builder: IntegerBuilder, name: str, module: nn.AvgPool2d, inputs: list[Value]) -> Value:
    value = _needs(name, inputs[0], "average pooling")
    padding = _pair(module.padding)
    if module.ceil_mode or module.divisor_override or (any(padding) and not module.count_include_pad):
        raise UnsupportedError(
            f"layer {name!r}: average pooling must divide every window alike (no ceil_mode, no divisor_override, "
            "padding only with count_include_pad); change these options."
        )
    return _pooled(value, _pair(module.kernel_size), _pair(module.stride), padding)


@_rule(nn.AdaptiveAvgPool2d)
def _adaptive(builder: IntegerBuilder, name: str, module: nn.AdaptiveAvgPool2d, inputs: list[Value]) -> Value:
    value = _needs(name, inputs[0], "average pooling")
    wanted = [n if w is None else w for n, w in zip(value.shape[1:], _pair(module.output_size), strict=True)]
    if any(n % w for n, w in zip(value.shape[1:], wanted, strict=True)):
        raise UnsupportedError(
            f"layer {name!r}: adaptive pooling must divide {value.shape[1:]} evenly, got output size {tuple(wanted)}; "
            "choose a divisor."
        )
    kernel = (value.shape[1] // wanted[0], value.shape[2] // wanted[1])
    return _pooled(value, kernel, kernel, (0, 0))


@_rule(nn.Flatten)
def _flatten(builder: IntegerBuilder, name: str, module: nn.Flatten, inputs: list[Value]) -> Value:
    value = inputs[0]
    if isinstance(value, Pooled):
        size = (int(np.prod(value.shape)),)
        return Pooled(value.spikes, value.kernel, value.stride, value.padding, size, value.gain)
    return builder.flatten(name, _needs(name, value, "flatten"))


@_rule(ChannelConcat)
def _concat(builder: IntegerBuilder, name: str, module: ChannelConcat, inputs: list[Value]) -> Value:
    return builder.concat(name, [_needs(name, value, "concatenation") for value in inputs])
