"""Networks quantized as exported graphs (PT2E): layers for their operators, a marker for every quantizer.

``convert_pt2e`` of torchao leaves a graph of ``aten`` operators in which every quantizer is a pair of
``quantized_decomposed`` operators. The graph brings them along, so that torchao itself is not needed here.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from ...spec.errors import UnsupportedError
from .base import QuantizerSpec, rounding_quantizer
from .prepare import marker_of

__all__ = ["DecomposedQuantizer", "is_exported", "layers_of_export"]

_QUANTIZE = "quantized_decomposed::quantize_per_tensor"
_DEQUANTIZE = "quantized_decomposed::dequantize_per_tensor"
_PASSED = {
    "aten::dropout",
    "aten::dropout_",
    "aten::clone",
    "aten::contiguous",
    "aten::detach",
    "aten::alias",
}


class DecomposedQuantizer(nn.Module):
    """One quantize and dequantize pair of a graph, as a module.

    Args:
        quantize: The operator that quantizes.
        dequantize: The operator that follows it.
        scale: Its step.
        zero_point: Its zero point.
        low: Smallest stored integer.
        high: Largest stored integer.
        dtype: Type of the stored integers.
    """

    def __init__(
        self,
        quantize: Any,
        dequantize: Any,
        scale: float,
        zero_point: int,
        low: int,
        high: int,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        self.quantize, self.dequantize = quantize, dequantize
        self.arguments = (scale, zero_point, low, high, dtype)

    def extra_repr(self) -> str:
        """Scale, zero point, range."""
        return "scale={}, zero_point={}, low={}, high={}, dtype={}".format(*self.arguments)

    def forward(self, x: Tensor) -> Tensor:
        """Quantize ``x``; any shape, float32."""
        return self.dequantize(self.quantize(x, *self.arguments), *self.arguments)

    def spikepack_quantizer(self, path: str, nonnegative: bool) -> QuantizerSpec:
        """Description for the conversion: ``(clamp(rint(x * (1 / s)) + zp, low, high) - zp) * s``."""
        scale, zero_point, low, high, _ = self.arguments
        return rounding_quantizer(
            path, torch.tensor(scale, dtype=torch.float32), low - zero_point, high - zero_point,
            nonnegative=nonnegative, reciprocal=torch.tensor(1.0 / scale, dtype=torch.float32),
            dtype=torch.float32,
        )  # fmt: skip


def is_exported(module: nn.Module) -> bool:
    """Whether ``module`` is a graph of operators, as ``torch.export`` makes it."""
    return isinstance(module, fx.GraphModule) and any(_name(node) for node in module.graph.nodes)


def layers_of_export(model: fx.GraphModule) -> fx.GraphModule:
    """The same network as a graph of layers; the source stays.

    Raises:
        UnsupportedError: The graph is only prepared, or an operator has no layer; the message names it.
    """
    return _Rewriter(model).run()


def _name(node: fx.Node) -> str:
    """``aten::conv2d``: operator of a node without its overload; empty for anything else."""
    schema = getattr(node.target, "_schema", None) if node.op == "call_function" else None
    return schema.name if schema is not None else ""


class _Rewriter:
    """Walks through an exported graph and builds the other one."""

    def __init__(self, model: fx.GraphModule) -> None:
        self.model, self.root, self.graph = model, nn.Module(), fx.Graph()
        self.values: dict[fx.Node, fx.Node] = {}
        self.constants: dict[fx.Node, Any] = {}

    def run(self) -> fx.GraphModule:
        for node in self.model.graph.nodes:
            self._visit(node)
        self.graph.lint()
        return fx.GraphModule(self.root, self.graph)

    def _visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.values[node] = self.graph.placeholder(node.name)
        elif node.op == "get_attr":
            self.constants[node] = operator.attrgetter(str(node.target))(self.model)
        elif node.op == "output":
            self._output(node)
        elif not any(source in self.values for source in node.all_input_nodes):
            self._constant(node)
        elif node.users:  # what nobody reads are guards and shape queries
            self._operator(node)

    def _output(self, node: fx.Node) -> None:
        found = [node.args[0]] if isinstance(node.args[0], fx.Node) else list(node.args[0])  # type: ignore[arg-type]
        if len(found) != 1 or found[0] not in self.values:
            raise UnsupportedError(
                f"SpikePackQuantizedRecipe: an exported network must have one output, got {len(found)}; "
                "export the part in front of it."
            )
        self.graph.output(self.values[found[0]])

    def _constant(self, node: fx.Node) -> None:
        if node.op == "call_function":
            args, kwargs = fx.map_arg((node.args, node.kwargs), self.constants.__getitem__)
            self.constants[node] = node.target(*args, **kwargs)  # type: ignore[operator]

    def _operator(self, node: fx.Node) -> None:
        name = _name(node)
        source = next(one for one in node.all_input_nodes if one in self.values)
        if node.op == "call_module":
            raise UnsupportedError(
                f"layer {node.target!r}: an exported network must be converted, got "
                f"{type(self.model.get_submodule(str(node.target))).__name__} in its graph; apply "
                "convert_pt2e to the trained network."
            )
        if name in _PASSED and not (name.startswith("aten::dropout") and node.args[2]):
            self.values[node] = self.values[source]
        elif name == _QUANTIZE:
            self._quantizer(node, source)
        elif name == _DEQUANTIZE and _name(source) == _QUANTIZE:
            self.values[node] = self.values[source]
        elif name in {"aten::add", "aten::add_", "aten::cat"}:
            self._join(node, name)
        else:
            self._layer(node, self._made(node, name), source)

    def _made(self, node: fx.Node, name: str) -> nn.Module:
        args, _ = fx.map_arg((node.args, node.kwargs), lambda one: self.constants.get(one, one))
        make = _LAYERS.get(name)
        found = make(*args[1:]) if make is not None and not node.kwargs else None
        if found is None:
            raise UnsupportedError(
                f"operation {node.name!r} ({name}) of the exported network has no conversion rule; write "
                "it with convolution, linear layer, ReLU, pooling, torch.flatten(x, 1), addition or "
                "concatenation."
            )
        return found

    def _layer(self, node: fx.Node, layer: nn.Module, source: fx.Node) -> None:
        name = node.name
        self.root.add_module(name, layer)
        self.values[node] = self.graph.call_module(name, (self.values[source],))

    def _quantizer(self, node: fx.Node, source: fx.Node) -> None:
        numbers: list[Any] = [self.constants.get(arg, arg) for arg in node.args[1:]]  # type: ignore
        readers = list(node.users)
        if any(_name(reader) != _DEQUANTIZE or reader.args[1:] != node.args[1:] for reader in readers):
            raise UnsupportedError(
                f"operation {node.name!r}: quantized values must be dequantized with the same scale, got "
                f"{', '.join(sorted({str(reader.target) for reader in readers}))}; convert with "
                "use_reference_representation=False."
            )
        pair = _default(node.target), _default(readers[0].target)
        scale, zero_point, low, high, kind = numbers
        quantizer = DecomposedQuantizer(*pair, float(scale), int(zero_point), low, high, kind)
        self._layer(node, marker_of(quantizer), source)

    def _join(self, node: fx.Node, name: str) -> None:
        parts = node.args[:2] if name != "aten::cat" else node.args[0]
        known = [self.values.get(part) for part in parts]  # type: ignore[union-attr, arg-type]
        if None in known or node.kwargs or (name != "aten::cat" and len(node.args) > 2):
            raise UnsupportedError(
                f"operation {node.name!r} ({name}) of the exported network must join values of the network "
                f"only, got {node.args}; put constants into a layer's bias."
            )
        function, args = (
            (operator.add, tuple(known)) if name != "aten::cat" else (torch.cat, (known, *node.args[1:]))
        )
        self.values[node] = self.graph.call_function(function, args)


def _default(operator_: Any) -> Any:
    """The overload that takes numbers."""
    return operator_.overloadpacket.default


def _with(layer: Any, weight: Tensor, bias: Tensor | None) -> nn.Module:
    layer.weight = nn.Parameter(weight.detach().clone())
    layer.bias = None if bias is None else nn.Parameter(bias.detach().clone())
    return layer


def _convolution(kind: Any) -> Callable[..., nn.Module]:
    def make(
        weight: Tensor,
        bias: Tensor | None = None,
        stride: Any = 1,
        padding: Any = 0,
        dilation: Any = 1,
        groups: int = 1,
    ) -> nn.Module:
        axes = weight.dim() - 2
        steps, gaps = (_per_axis(value, axes) for value in (stride, dilation))
        margin = padding if isinstance(padding, str) else _per_axis(padding, axes)
        channels = weight.shape[1] * groups, weight.shape[0]
        layer = kind(*channels, tuple(weight.shape[2:]), steps, margin, gaps, groups, bias is not None)
        return _with(layer, weight, bias)

    return make


def _per_axis(value: Any, axes: int) -> tuple[int, ...]:
    listed = _listed(value)
    return tuple(listed if len(listed) == axes else listed * axes)


def _listed(value: Any) -> list[int]:
    return list(value) if isinstance(value, (list, tuple)) else [value]


def _linear(weight: Tensor, bias: Tensor | None = None) -> nn.Module:
    return _with(nn.Linear(weight.shape[1], weight.shape[0], bias is not None), weight, bias)


def _hardtanh(low: float = -1.0, high: float = 1.0) -> nn.Module | None:
    return nn.ReLU6() if (low, high) == (0.0, 6.0) else None


def _max_pool(
    kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil: bool = False
) -> nn.Module:
    return nn.MaxPool2d(*map(_pair, (kernel, stride or kernel, padding, dilation)), ceil_mode=ceil)


def _average_pool(
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil: bool = False,
    count: bool = True,
    divisor: Any = None,
) -> nn.Module:
    window, step, margin = map(_pair, (kernel, stride or kernel, padding))
    return nn.AvgPool2d(window, step, margin, ceil, count, divisor)


def _pair(value: Any) -> Any:
    """One number where all axes have the same."""
    listed = _listed(value)
    return listed[0] if len(set(listed)) == 1 else tuple(listed)


def _adaptive_pool(size: Any) -> nn.Module:
    return nn.AdaptiveAvgPool2d(_pair(size))


_LAYERS: dict[str, Callable[..., nn.Module | None]] = {
    "aten::conv1d": _convolution(nn.Conv1d),
    "aten::conv2d": _convolution(nn.Conv2d),
    "aten::conv3d": _convolution(nn.Conv3d),
    "aten::linear": _linear,
    "aten::relu": nn.ReLU,
    "aten::relu_": nn.ReLU,
    "aten::relu6": nn.ReLU6,
    "aten::hardtanh": _hardtanh,
    "aten::hardtanh_": _hardtanh,
    "aten::max_pool2d": _max_pool,
    "aten::avg_pool2d": _average_pool,
    "aten::adaptive_avg_pool2d": _adaptive_pool,
    "aten::flatten": nn.Flatten,
}
