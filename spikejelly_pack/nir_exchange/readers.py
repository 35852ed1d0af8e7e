"""What each kind of NIR node becomes; one function per kind, which returns modules with name suffixes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn

from ..layer.channel_bias import ChannelBias
from ..layer.synaptic_scale import SynapticScale
from ..neuron import SpikePackNode
from ..spec.errors import ExchangeFileError, ParameterError, ShapeError, UnsupportedError
from ..spec.graph.base import Array, Shape
from .digits import Digits

__all__ = ["RULES", "Reading"]


@dataclass(frozen=True)
class Reading:
    """How the graph is read; see :func:`.read_nir`."""

    time: str
    time_steps: int
    dt: float
    dtype: torch.dtype


Modules = list[tuple[str, nn.Module]]
Rule = Callable[[str, Any, Shape, Reading], Modules]
RULES: dict[str, Rule] = {}
_Function = TypeVar("_Function", bound=Rule)


def _rule(*kinds: str) -> Callable[[_Function], _Function]:
    def enter(function: _Function) -> _Function:
        RULES.update(dict.fromkeys(kinds, function))
        return function

    return enter


def _numbers(name: str, what: str, values: Any) -> Array:
    """Finite float64 values."""
    array = np.asarray(values, np.float64)
    if not np.isfinite(array).all():
        raise ParameterError(
            f"NIR: node {name!r}: {what} must be finite, got NaN or infinity; mend the graph."
        )
    return array


def _whole(value: Any) -> Any:
    """A size, a pair of sizes or the name of a padding, as torch takes them."""
    if isinstance(value, (str, bytes)):
        text = value.decode() if isinstance(value, bytes) else value
        return 0 if text == "valid" else text
    array = np.asarray(value)
    return int(array) if array.ndim == 0 else tuple(int(n) for n in array)


def _per_channel(name: str, what: str, values: Array, shape: Shape) -> Array:
    """One value ``[1]`` or one per channel ``[C]`` of constants that NIR keeps per neuron."""
    if values.shape != shape:
        raise ShapeError(
            f"NIR: node {name!r}: {what} must have the shape {shape} of its input, got {values.shape}; "
            "mend the graph."
        )
    maps = values.reshape(shape[0], -1)
    if (maps == maps[0, 0]).all():
        return maps[0, :1]
    if not (maps == maps[:, :1]).all():
        raise UnsupportedError(
            f"NIR: node {name!r}: {what} must be equal within a channel, got one per neuron; SpikePackNode "
            "has one threshold per tensor or channel."
        )
    return maps[:, 0]


def _constant(name: str, what: str, values: Any, shape: Shape, wanted: float, remedy: str) -> None:
    if not (_per_channel(name, what, _numbers(name, what, values), shape) == wanted).all():
        raise UnsupportedError(f"NIR: node {name!r}: {what} must be {wanted:g}, got other values; {remedy}.")


def _threshold(name: str, theta: Array) -> Any:
    if not (theta > 0.0).all():
        raise UnsupportedError(
            f"NIR: node {name!r}: the threshold, over r and from v_reset, must be positive, got "
            f"{theta.min():g}; a SpikePackNode fires on positive membranes."
        )
    return float(theta[0]) if theta.size == 1 else torch.from_numpy(theta.copy())


def _tensor(name: str, what: str, values: Any, reading: Reading) -> nn.Parameter:
    return nn.Parameter(torch.from_numpy(_numbers(name, what, values)).to(reading.dtype))


@_rule("Linear", "Affine")
def _linear(name: str, node: Any, _shape: Shape, reading: Reading) -> Modules:
    if node.weight.ndim != 2:
        raise UnsupportedError(
            f"NIR: node {name!r}: weight must be [out, in], got shape {node.weight.shape}; read one "
            "matrix at a time."
        )
    bias = getattr(node, "bias", None)
    layer = sj.Linear(node.weight.shape[1], node.weight.shape[0], bias=bias is not None)
    layer.weight = _tensor(name, "weight", node.weight, reading)
    if bias is not None:
        layer.bias = _fitted(name, _tensor(name, "bias", bias, reading), node.weight.shape[:1])
    return [("", layer)]


def _fitted(name: str, bias: nn.Parameter, shape: Shape) -> nn.Parameter:
    if tuple(bias.shape) != tuple(shape):
        raise ShapeError(
            f"NIR: node {name!r}: bias must have shape {tuple(shape)}, got {tuple(bias.shape)}; mend the "
            "graph."
        )
    return bias


@_rule("Conv1d", "Conv2d")
def _conv(name: str, node: Any, _shape: Shape, reading: Reading) -> Modules:
    kind, axes = (sj.Conv2d, 2) if type(node).__name__ == "Conv2d" else (sj.Conv1d, 1)
    weight = node.weight
    if weight.ndim != 2 + axes:
        raise ShapeError(
            f"NIR: node {name!r}: weight must have {2 + axes} axes, got shape {weight.shape}; mend the graph."
        )
    groups = _whole(node.groups)
    options = {option: _whole(getattr(node, option)) for option in ("stride", "padding", "dilation")}
    layer = kind(weight.shape[1] * groups, len(weight), weight.shape[2:], groups=groups, bias=True, **options)
    layer.weight = _tensor(name, "weight", weight, reading)
    layer.bias = _fitted(name, _tensor(name, "bias", node.bias, reading), weight.shape[:1])
    return [("", layer)]


@_rule("AvgPool2d", "SumPool2d")
def _pool(_name: str, node: Any, _shape: Shape, _reading: Reading) -> Modules:
    kernel = _whole(node.kernel_size)
    pool = sj.AvgPool2d(kernel, _whole(node.stride), _whole(node.padding))
    if type(node).__name__ == "AvgPool2d":
        return [("", pool)]
    area = float(np.prod(np.broadcast_to(kernel, 2)))
    return [("", pool), ("_area", SynapticScale(torch.tensor([area])))]


@_rule("Flatten")
def _flatten(name: str, node: Any, shape: Shape, _reading: Reading) -> Modules:
    start, end = _whole(node.start_dim), _whole(node.end_dim)
    # a sample in NIR has no batch axis
    start, end = (n + 1 if n >= 0 else n for n in (start, end))
    if start % (len(shape) + 1) != 1 or end % (len(shape) + 1) != len(shape):
        raise UnsupportedError(
            f"NIR: node {name!r}: Flatten must join all axes of the sample, got "
            f"start_dim={node.start_dim} and "
            f"end_dim={node.end_dim} of shape {shape}; only that has an integer form."
        )
    return [("", sj.Flatten())]


@_rule("Scale")
def _scale(name: str, node: Any, shape: Shape, _reading: Reading) -> Modules:
    factors = _per_channel(name, "scale", _numbers(name, "scale", node.scale), shape)
    return [("", SynapticScale(torch.from_numpy(factors.copy())))]


@_rule("Threshold")
def _heaviside(name: str, node: Any, shape: Shape, reading: Reading) -> Modules:
    theta = _per_channel(name, "threshold", _numbers(name, "threshold", node.threshold), shape)
    # fires on v > threshold: at the next float of the dtype the network computes in
    kind = np.float32 if reading.dtype is torch.float32 else np.float64
    theta = np.nextafter(theta.astype(kind), kind(np.inf)).astype(np.float64)
    return [("", SpikePackNode(1, v_threshold=_threshold(name, theta), rounding="floor"))]


@_rule("IF")
def _integrate_and_fire(name: str, node: Any, shape: Shape, reading: Reading) -> Modules:
    r, threshold, reset = (
        _numbers(name, what, getattr(node, what)) for what in ("r", "v_threshold", "v_reset")
    )
    if not (r > 0.0).all():
        raise UnsupportedError(
            f"NIR: node {name!r}: r must be positive, got {r.min():g}; negate the weights."
        )
    if reading.time == "steps":
        _constant(name, "v_reset", reset, shape, 0.0, "shift the membrane")
        reset = np.zeros_like(threshold)
    theta = _per_channel(name, "(v_threshold - v_reset) / r", (threshold - reset) / (r * reading.dt), shape)
    return [("", _windowed(name, theta, 1.0, reading))]


def _windowed(name: str, theta: Array, leak: float, reading: Reading) -> SpikePackNode:
    value = _threshold(name, theta)
    if reading.time == "rate":
        return SpikePackNode(reading.time_steps, v_threshold=value)
    return SpikePackNode(reading.time_steps, v_threshold=value, leak=leak, rounding="floor")


@_rule("LIF")
def _leaky(name: str, node: Any, shape: Shape, reading: Reading) -> Modules:
    if reading.time == "rate":
        raise UnsupportedError(
            f"NIR: node {name!r}: LIF has no meaning with time='rate', its rate is no clipped line of its "
            "input; read with time='steps', where the leak acts between windows."
        )
    for what in ("v_reset", "v_leak"):
        _constant(name, what, getattr(node, what), shape, 0.0, "shift the membrane")
    tau, r, threshold = (_numbers(name, what, getattr(node, what)) for what in ("tau", "r", "v_threshold"))
    decay = np.unique(reading.dt / tau)
    if decay.size != 1 or not 0.0 < decay[0] <= 1.0 or not (r > 0.0).all():
        raise UnsupportedError(
            f"NIR: node {name!r}: r must be positive and tau one value of at least dt = {reading.dt:g}, got "
            f"r >= {r.min():g} and tau in {tau.min():g}..{tau.max():g}; pass the dt of the simulation it "
            "was made for."
        )
    theta = _per_channel(name, "v_threshold / r", threshold / (r * decay[0]), shape)
    return [("", _windowed(name, theta, 1.0 - float(decay[0]), reading))]


@_rule("NIRGraph")
def _population(name: str, node: Any, shape: Shape, _reading: Reading) -> Modules:
    digits = Digits.of(name, node)
    if digits.shape != shape:
        raise ShapeError(
            f"NIR: sub-graph {name!r} must read samples of shape {digits.shape}, got {shape}; mend the graph."
        )
    modules: Modules = []
    if digits.bias.any():
        bias = np.broadcast_to(digits.bias, shape[:1]).copy()
        modules.append(("_bias", ChannelBias(torch.from_numpy(bias))))
    scaled = bool((digits.amplitude == digits.theta).all() and (digits.amplitude != 1.0).any())
    p = digits.parameters
    theta = _number_or_tensor(digits.theta)
    modules.append(
        (
            "",
            SpikePackNode(
                p.time_steps, p.tau, theta, signed=p.signed, rounding=p.rounding, scale_output=scaled
            ),
        )
    )
    if not scaled and (digits.amplitude != 1.0).any():
        modules.append(("_amplitude", SynapticScale(torch.from_numpy(digits.amplitude.copy()))))
    return modules


def _number_or_tensor(theta: Array) -> float | Tensor:
    if not (np.isfinite(theta) & (theta > 0.0)).all():
        raise ExchangeFileError(
            f"NIR: a threshold in the metadata must be positive, got {theta.min()}; write it again."
        )
    return float(theta[0]) if theta.size == 1 else torch.from_numpy(theta.copy())
