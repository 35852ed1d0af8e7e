"""A network of the FX route as data: its graph and its modules as JSON, its numbers as tensors.

Rebuilding runs no code of the file's maker: only the modules in :data:`MODULES` are made, and every name in
the graph is checked before torch.fx writes code with it.
"""

from __future__ import annotations

import keyword
import os
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from spikingjelly.activation_based import layer as sj
from torch import Tensor, fx, nn

from ..layer.channel_bias import ChannelBias
from ..layer.delay import SpikeDelay
from ..layer.max_pool import SpikePackMaxPool2d
from ..layer.synaptic_scale import ChannelConcat, SynapticScale
from ..neuron import SpikePackNode
from ..spec.errors import ExchangeFileError, UnsupportedError
from .files import read_about, read_tensors, write_tensors
from .graph import ADD, module_of

__all__ = ["MODULES", "graph_of", "load_graph", "network_from", "save_graph"]

KEY = "spikepack_graph"
VERSION = 1

_CONV = (
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "groups",
    "padding_mode",
)
_POOL = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad")
_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode")
_NODE = ("scale_output", "nan_policy", "channel_dim")
_CODE = ("time_steps", "tau", "leak", "carry", "signed", "rounding", "window")

#: Modules a stored network may have, with the constructor arguments that are attributes of theirs.
MODULES: dict[type[nn.Module], tuple[str, ...]] = {
    sj.Linear: ("in_features", "out_features"),
    **dict.fromkeys((sj.Conv1d, sj.Conv2d, sj.Conv3d), _CONV),
    **dict.fromkeys((sj.ConvTranspose1d, sj.ConvTranspose2d, sj.ConvTranspose3d), (*_CONV, "output_padding")),
    sj.AvgPool1d: _POOL,
    **dict.fromkeys((sj.AvgPool2d, sj.AvgPool3d), (*_POOL, "divisor_override")),
    **dict.fromkeys((sj.AdaptiveAvgPool1d, sj.AdaptiveAvgPool2d, sj.AdaptiveAvgPool3d), ("output_size",)),
    sj.MaxPool2d: _MAX,
    SpikePackMaxPool2d: (*_MAX, "time_steps", "tau"),
    sj.Flatten: ("start_dim", "end_dim"),
    sj.Upsample: ("size", "scale_factor", "mode", "align_corners"),
    SpikeDelay: ("windows", "time_steps", "tau"),
    ChannelConcat: (),
    SynapticScale: (),
    ChannelBias: (),
    SpikePackNode: _NODE,
}
_BY_NAME = {kind.__name__: kind for kind in MODULES}
_BIASED = (nn.Linear, nn.modules.conv._ConvNd)  # pyright: ignore[reportPrivateUsage]
#: Made from a tensor of the file: class name, and the constructor argument with the state's name.
_FROM_TENSOR: dict[type[nn.Module], tuple[str, str]] = {
    SpikePackNode: ("v_threshold", "theta"),
    SynapticScale: ("scale", "scale"),
    ChannelBias: ("bias", "bias"),
}
# What torch.fx and constructors raise on graphs that no network has: SyntaxError where a layer is named "if".
_FAULTS = (
    ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, SyntaxError, TypeError,
    ValueError,
)  # fmt: skip
_PATH = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")


def save_graph(network: fx.GraphModule, path: str | os.PathLike[str]) -> None:
    """Write a network of the FX route, whole or not at all, so that :func:`load_graph` rebuilds it alone.

    Raises:
        UnsupportedError: It has a module or an operation that cannot be stored.
        OutputError: The file cannot be written.
    """
    if not isinstance(network, fx.GraphModule):
        raise UnsupportedError(
            f"save_graph: network must be a GraphModule, got {type(network).__name__}; a SpikePackNetwork "
            "has save()."
        )
    write_tensors(path, network.state_dict(), KEY, {"version": VERSION, "graph": graph_of(network)})


def load_graph(path: str | os.PathLike[str]) -> fx.GraphModule:
    """Rebuild it, in packed form and evaluation mode; no data, source network or code of the file is needed.

    Raises:
        ExchangeFileError: The file is no such network, or of another version.
    """
    found = read_about(path, KEY, "save_graph")
    if not isinstance(found, dict) or found.get("version") != VERSION:
        raise ExchangeFileError(f"{path}: must be a graph of version {VERSION}; convert and save again.")
    return network_from(found.get("graph"), read_tensors(path), path)


def graph_of(network: fx.GraphModule) -> dict[str, Any]:
    """Graph and modules, for JSON; the numbers are in ``network.state_dict()``.

    Raises:
        UnsupportedError: It has a module or an operation that cannot be stored.
    """
    modules = {}
    nodes = []
    for node in network.graph.nodes:
        module = module_of(network, node)
        if module is not None:
            modules[str(node.target)] = _described(str(node.target), module)
        elif node.op == "call_function" and node.target is not ADD:
            raise UnsupportedError(
                f"operation {node.name!r}: has no stored form; convert with route='module'."
            )
        target = str(node.target) if node.op in {"call_module", "placeholder"} else ""
        nodes.append({"op": node.op, "name": node.name, "target": target, "args": _stored(node.args)})
    return {"nodes": nodes, "modules": modules}


def _described(path: str, module: nn.Module) -> dict[str, Any]:
    kind = type(module)
    theta = getattr(module, "theta", None)
    if kind not in MODULES or isinstance(theta, nn.Parameter):
        what = f"{kind.__name__} with a learned threshold" if kind in MODULES else kind.__name__
        raise UnsupportedError(
            f"layer {path!r}: {what} has no stored form, known are {', '.join(sorted(_BY_NAME))}; "
            "convert with route='module'."
        )
    arguments: dict[str, Any] = {name: getattr(module, name) for name in MODULES[kind]}
    if isinstance(module, SpikePackNode):
        arguments |= {name: getattr(module.params, name) for name in _CODE}
        if "theta" not in dict(module.named_buffers()):
            arguments["v_threshold"] = float(module.v_threshold)
    if isinstance(module, _BIASED):
        arguments["bias"] = module.bias is not None
    return {"kind": kind.__name__, "arguments": arguments}


def _stored(value: Any) -> Any:
    if isinstance(value, fx.Node):
        return {"node": value.name}
    if isinstance(value, (tuple, list)):
        return [_stored(part) for part in value]
    if isinstance(value, dict):
        return {"dict": {str(key): _stored(part) for key, part in value.items()}}
    if value is None:
        return None
    raise UnsupportedError(
        f"operation: an argument {value!r} has no stored form; convert with route='module'."
    )


def network_from(stored: Any, tensors: Mapping[str, Tensor], path: Any = "file") -> fx.GraphModule:
    """The network again, in packed form and evaluation mode.

    Args:
        stored: Result of :func:`graph_of`.
        tensors: Its state.
        path: File, for messages.

    Raises:
        ExchangeFileError: It is no such network.
    """
    try:
        root = nn.Module()
        for name, about in stored["modules"].items():
            _place(root, _checked(name, _PATH.fullmatch), _made(name, about, tensors))
        graph, known = fx.Graph(), {}
        for node in stored["nodes"]:
            _add(graph, node, known)
        graph.lint()
        network = fx.GraphModule(root, graph)
        network.load_state_dict(dict(tensors), assign=True)
    except _FAULTS as error:
        reason = " ".join(str(error).split())[:200]
        raise ExchangeFileError(
            f"{path}: must hold a converted network, got {type(error).__name__}: {reason}; convert again."
        ) from None
    return network.eval()


def _made(name: str, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> nn.Module:
    kind: Any = _BY_NAME[about["kind"]]
    stored = about["arguments"].items()
    arguments: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in stored}
    allowed = {*MODULES[_BY_NAME[about["kind"]]], "bias", "v_threshold", *_CODE}
    if unknown := sorted(set(arguments) - allowed):
        raise ValueError(f"layer {name!r} has unknown arguments {unknown}")
    if kind in _FROM_TENSOR:
        parameter, key = _FROM_TENSOR[_BY_NAME[about["kind"]]]
        if f"{name}.{key}" in tensors:
            arguments[parameter] = tensors[f"{name}.{key}"]
    if kind in (SpikePackNode, SpikePackMaxPool2d, SpikeDelay):
        arguments["form"] = "packed"
    if issubclass(_BY_NAME[about["kind"]], _BIASED):
        with torch.device("meta"):  # sizes are checked against the tensors before memory is taken
            return kind(**arguments)
    return kind(**arguments)


def _place(root: nn.Module, path: str, module: nn.Module) -> None:
    *parents, leaf = path.split(".")
    for name in parents:
        if name not in root._modules:  # pyright: ignore[reportPrivateUsage]
            root.add_module(name, nn.Module())
        root = root.get_submodule(name)
    root.add_module(leaf, module)


def _add(graph: fx.Graph, node: Mapping[str, Any], known: dict[str, fx.Node]) -> None:
    op, name = node["op"], _checked(node["name"], _identifier)
    args = _loaded(node["args"], known)
    if op == "placeholder":
        target = _checked(node["target"], _identifier)
        known[name] = graph.create_node(op, target, (), {}, name)
    elif op == "call_module":
        known[name] = graph.create_node(op, _checked(node["target"], _PATH.fullmatch), args, {}, name)
    elif op == "call_function":
        known[name] = graph.create_node(op, ADD, args, {}, name)
    elif op == "output":
        graph.output(args[0])
    else:
        raise ValueError(f"unknown operation {op!r}")


def _identifier(text: str) -> bool:
    return text.isidentifier() and text.isascii() and not keyword.iskeyword(text)


def _checked(text: Any, fits: Callable[[str], Any]) -> str:
    if not isinstance(text, str) or not fits(text):
        raise ValueError(f"{text!r} is no name of the graph")
    return text


def _loaded(value: Any, known: Mapping[str, fx.Node]) -> Any:
    if isinstance(value, list):
        return tuple(_loaded(part, known) for part in value)
    if isinstance(value, dict):
        if "node" in value:
            return known[value["node"]]
        return {_checked(key, _PATH.fullmatch): _loaded(part, known) for key, part in value["dict"].items()}
    if value is not None:
        raise ValueError(f"{value!r} is no argument of the graph")
    return None
