"""A SpikePack network of torch modules as a NIR graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from spikingjelly.activation_based import layer as sj
from torch import Tensor, fx, nn

from ..integer.trace import canonical_graph
from ..layer.channel_bias import ChannelBias
from ..layer.delay import SpikeDelay
from ..layer.synaptic_scale import SynapticScale
from ..neuron import SpikePackNode
from ..recipes.graph import ADD, module_of
from ..recipes.shapes import shapes_of
from ..spec.errors import UnsupportedError
from ..spec.graph.base import Array, Shape
from .digits import Digits
from .graph import GraphWriter, Value, ungrouped

__all__ = ["torch_graph"]

Rule = Callable[["_Walk", str, Any, Value, Shape, Shape], Value]
RULES: dict[type[nn.Module], Rule] = {}
_Function = TypeVar("_Function", bound=Rule)


def torch_graph(net: nn.Module, example_input: Tensor) -> GraphWriter:
    """All operations of ``net`` as nodes.

    Raises:
        UnsupportedError: The network does not trace, or an operation has no counterpart in NIR.
        ShapeError: The network does not take ``example_input``.
    """
    model = canonical_graph(net, example_input)
    dtype = next((p.dtype for p in model.parameters()), example_input.dtype)
    dtype = dtype if dtype is torch.float64 else torch.float32
    batch = example_input[:1].detach().cpu().to(dtype)
    shapes = {node: tuple(shape[1:]) for node, shape in shapes_of(model.to(dtype), batch, "NIR").items()}
    return _Walk(model, shapes).run()


class _Walk:
    """One pass over the graph; values by node."""

    def __init__(self, model: fx.GraphModule, shapes: dict[fx.Node, Shape]) -> None:
        self.model, self.shapes = model, shapes
        double = any(parameter.dtype is torch.float64 for parameter in model.parameters())
        self.writer = GraphWriter(np.float64 if double else np.float32)
        self.values: dict[fx.Node, Value] = {}

    def run(self) -> GraphWriter:
        """Visit every node in order."""
        for node in self.model.graph.nodes:
            if node.op == "output":
                self._outputs(node.args[0])
            elif node.op == "placeholder":
                if node.users:
                    shape = np.array(self.shapes[node])
                    self.values[node] = self.writer.add("input", self.writer.nir.Input({"input": shape}))
            elif node.target is ADD:
                self.values[node] = self._sum(node)
            else:
                self.values[node] = self._module(node)
        return self.writer

    def _sum(self, node: fx.Node) -> Value:
        sources = [source for source in node.args if isinstance(source, fx.Node)]
        if len({self.shapes[source] for source in sources}) > 1:
            raise UnsupportedError(
                f"NIR: operation {node.name!r}: a sum must be of equal shapes, got "
                f"{[self.shapes[source] for source in sources]}; edges do not broadcast."
            )
        return tuple(name for source in sources for name in self.values[source])

    def _module(self, node: fx.Node) -> Value:
        module = module_of(self.model, node)
        rule = RULES.get(type(module))  # type: ignore[arg-type]
        sources = [source for source in node.args if isinstance(source, fx.Node)]
        if rule is None or len(sources) != 1:
            raise UnsupportedError(
                f"NIR: layer {str(node.target)!r}: {type(module).__name__} has no counterpart in NIR; use "
                f"{', '.join(sorted(cls.__name__ for cls in RULES))} and sums."
            )
        value, shape = self.values[sources[0]], self.shapes[sources[0]]
        return rule(self, str(node.target), module, value, shape, self.shapes[node])

    def _outputs(self, result: Any) -> None:
        results = result if isinstance(result, (tuple, list)) else (result,)
        for index, one in enumerate(results):
            if not isinstance(one, fx.Node):
                raise UnsupportedError(
                    "NIR: the network must return a tensor or a tuple of tensors, got "
                    f"{type(one).__name__}; return the tensors themselves."
                )
            name = "output" if len(results) == 1 else f"output_{index}"
            node = self.writer.nir.Output({"output": np.array(self.shapes[one])})
            self.writer.add(name, node, self.values[one], self.shapes[one])


def _rule(*types: type[nn.Module]) -> Callable[[_Function], _Function]:
    def enter(function: _Function) -> _Function:
        RULES.update(dict.fromkeys(types, function))
        return function

    return enter


def _array(walk: _Walk, tensor: Tensor) -> Array:
    return tensor.detach().cpu().numpy().astype(walk.writer.dtype)


def _bias(walk: _Walk, module: Any, outputs: int) -> Array:
    return np.zeros(outputs, walk.writer.dtype) if module.bias is None else _array(walk, module.bias)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


@_rule(SpikePackNode)
def _node(walk: _Walk, name: str, node: SpikePackNode, value: Value, shape: Shape, _out: Shape) -> Value:
    if node.threshold.dim() and node.channel_dim % (len(shape) + 1) != 1:
        raise UnsupportedError(
            f"NIR: neuron {name!r}: channels must be dimension 1 of [N, *], got "
            f"channel_dim={node.channel_dim}; "
            "use one threshold for all."
        )
    # a constant threshold is a Python number, more exact than float32
    theta = torch.as_tensor(node.v_threshold, dtype=torch.float64).cpu().reshape(-1).numpy()
    amplitude = theta if node.scale_output else np.full(1, 1 / node.window_gain)
    digits = Digits(node.params, theta, np.zeros(1), amplitude, shape, walk.writer.dtype)
    return walk.writer.add(name, digits.graph(name), value, shape)


@_rule(sj.Linear)
def _linear(walk: _Walk, name: str, module: nn.Linear, value: Value, shape: Shape, _out: Shape) -> Value:
    if len(shape) != 1:
        raise UnsupportedError(
            f"NIR: layer {name!r}: a linear layer must read samples with one axis, got shape {shape}; "
            "flatten in front of it."
        )
    weight = _array(walk, module.weight)
    nir = walk.writer.nir
    bias: Any = module.bias  # annotated as if there always were one
    node = nir.Linear(weight) if bias is None else nir.Affine(weight, _array(walk, bias))
    return walk.writer.add(name, node, value, shape)


@_rule(sj.Conv1d, sj.Conv2d)
def _conv(walk: _Walk, name: str, module: Any, value: Value, shape: Shape, _out: Shape) -> Value:
    if module.padding_mode != "zeros":
        raise UnsupportedError(
            f"NIR: layer {name!r}: padding must be zeros, got {module.padding_mode!r}; write the padding out."
        )
    options = [module.stride, module.padding, module.dilation]
    nir = walk.writer.nir
    kind = nir.Conv2d
    if isinstance(module, nn.Conv1d):
        kind = nir.Conv1d
        options = [value if isinstance(value, str) else value[0] for value in options]
    weight = ungrouped(_array(walk, module.weight), module.groups)
    node = kind(None, weight, *options, 1, _bias(walk, module, len(weight)))
    return walk.writer.add(name, node, value, shape)


@_rule(sj.AvgPool2d)
def _avg_pool2d(
    walk: _Walk, name: str, module: nn.AvgPool2d, value: Value, shape: Shape, _out: Shape
) -> Value:
    padding = _pair(module.padding)
    if module.ceil_mode or module.divisor_override or (any(padding) and not module.count_include_pad):
        raise UnsupportedError(
            f"NIR: layer {name!r}: average pooling must divide every window alike (no ceil_mode, no "
            "divisor_override, padding only with count_include_pad); change these options."
        )
    window = (np.array(_pair(option)) for option in (module.kernel_size, module.stride, padding))
    return walk.writer.add(name, walk.writer.nir.AvgPool2d(*window), value, shape)


@_rule(sj.AdaptiveAvgPool2d)
def _adaptive(
    walk: _Walk, name: str, _module: nn.AdaptiveAvgPool2d, value: Value, shape: Shape, out: Shape
) -> Value:
    if any(n % w for n, w in zip(shape[1:], out[1:], strict=True)):
        raise UnsupportedError(
            f"NIR: layer {name!r}: adaptive pooling must divide {shape[1:]} evenly, got output size "
            f"{out[1:]}; choose a divisor."
        )
    kernel = np.array([n // w for n, w in zip(shape[1:], out[1:], strict=True)])
    return walk.writer.add(name, walk.writer.nir.AvgPool2d(kernel, kernel, np.zeros(2, int)), value, shape)


@_rule(sj.Flatten)
def _flatten(walk: _Walk, name: str, _module: nn.Flatten, value: Value, shape: Shape, _out: Shape) -> Value:
    return walk.writer.add(name, walk.writer.nir.Flatten(np.array(shape), 0, -1), value, shape)


@_rule(SynapticScale)
def _scale(walk: _Walk, name: str, module: SynapticScale, value: Value, shape: Shape, _out: Shape) -> Value:
    return walk.writer.scale(name, value, module.scale.detach().cpu().double().numpy(), shape)


@_rule(ChannelBias)
def _channel_bias(
    walk: _Walk, name: str, module: ChannelBias, value: Value, shape: Shape, _out: Shape
) -> Value:
    shift = _array(walk, module.bias)
    return walk.writer.channel_affine(name, value, np.ones_like(shift), shift, shape)


@_rule(SpikeDelay)
def _delay(_walk: _Walk, _name: str, _module: SpikeDelay, value: Value, _shape: Shape, _out: Shape) -> Value:
    return value  # the identity in packed form
