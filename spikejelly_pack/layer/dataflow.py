"""What flows along each edge of a traced network: constants, spikes of one node, or currents.

Currents are affine combinations of spike trains: they charge to the same combination of decoded values.
An operation that is not affine in its trains does not commute with the charge and becomes a finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from torch import fx, nn
from torch.fx.node import map_arg

from .max_pool import SpikePackMaxPool2d
from .members import is_node

__all__ = ["QUESTIONS", "VIEWS", "Finding", "Kind", "edge_kinds", "findings", "operation_name"]


class Kind(IntEnum):
    """What an edge carries; the larger wins where branches join."""

    CONSTANT = 0
    SPIKES = 1
    CURRENT = 2


@dataclass(frozen=True)
class Finding:
    """One operation that does not commute with the charge.

    Attributes:
        name: Module path, or name of the operation in the traced graph and the module it stands in.
        operation: What it is (class or function name).
        reason: Why the forms differ there.
        remedy: What makes them agree.
    """

    name: str
    operation: str
    reason: str
    remedy: str


# Rearrange or select without mixing: the digits of a spike train stay digits.
VIEWS = frozenset(
    {
        "reshape",
        "view",
        "flatten",
        "unflatten",
        "transpose",
        "permute",
        "contiguous",
        "unsqueeze",
        "squeeze",
        "chunk",
        "split",
        "getitem",
        "repeat",
        "expand",
        "repeat_interleave",
        "clone",
        "detach",
        "to",
        "float",
        "double",
        "half",
        "movedim",
        "swapaxes",
        "roll",
        "flip",
        "unbind",
    }
)
_AFFINE = frozenset(
    {
        "add",
        "sub",
        "iadd",
        "isub",
        "radd",
        "rsub",
        "neg",
        "cat",
        "concat",
        "stack",
        "sum",
        "mean",
        "interpolate",
        "avg_pool1d",
        "avg_pool2d",
        "avg_pool3d",
        "adaptive_avg_pool1d",
        "adaptive_avg_pool2d",
        "adaptive_avg_pool3d",
        "linear",
        "conv1d",
        "conv2d",
        "conv3d",
        "conv_transpose1d",
        "conv_transpose2d",
        "pad",
        "upsample",
        "nansum",
        "pixel_shuffle",
    }
)
_PRODUCTS = frozenset(
    {
        "mul",
        "imul",
        "matmul",
        "imatmul",
        "bmm",
        "einsum",
        "baddbmm",
        "mm",
        "multiply",
        "__matmul__",
        "__mul__",
    }
)
_QUOTIENTS = frozenset({"truediv", "div", "itruediv", "divide"})
QUESTIONS = frozenset(
    {
        "getattr",
        "size",
        "dim",
        "numel",
        "eq",
        "ne",
        "lt",
        "le",
        "gt",
        "ge",
        "floordiv",
        "mod",
        "zeros_like",
        "new_zeros",
        "new_ones",
        "new_full",
        "new_empty",
        "ones_like",
        "empty_like",
        "is_floating_point",
        "len",
    }
)
_KEEPING_MODULES = (nn.Flatten, nn.Identity, nn.Unflatten, nn.PixelShuffle, nn.MaxPool2d)


def operation_name(node: fx.Node) -> str:
    """Name of the function or method a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def _inputs(node: fx.Node, kinds: dict[fx.Node, Kind]) -> list[Kind]:
    found: list[Kind] = []
    map_arg((node.args, node.kwargs), lambda n: found.append(kinds[n]) or n)
    return found


def edge_kinds(graph: fx.Graph, net: nn.Module) -> dict[fx.Node, Kind]:
    """Kind of every value of ``graph``, traced from ``net``."""
    kinds: dict[fx.Node, Kind] = {}
    for node in graph.nodes:
        kinds[node] = _RULES.get(node.op, _joined)(node, _inputs(node, kinds), net)
    return kinds


def _joined(_node: fx.Node, inputs: list[Kind], _net: nn.Module) -> Kind:
    return max(inputs, default=Kind.CONSTANT)


def _module_kind(node: fx.Node, inputs: list[Kind], net: nn.Module) -> Kind:
    module = net.get_submodule(str(node.target))
    if is_node(module):
        return Kind.SPIKES
    if isinstance(module, (*_KEEPING_MODULES, SpikePackMaxPool2d)):
        return max(inputs, default=Kind.CONSTANT)
    return Kind.CURRENT


def _operation_kind(node: fx.Node, inputs: list[Kind], _net: nn.Module) -> Kind:
    name = operation_name(node)
    if name in QUESTIONS:
        return Kind.CONSTANT
    widest = max(inputs, default=Kind.CONSTANT)
    return widest if name in VIEWS or widest is Kind.CONSTANT else Kind.CURRENT


_RULES: dict[str, Callable[[fx.Node, list[Kind], nn.Module], Kind]] = {
    "placeholder": lambda _node, _inputs, _net: Kind.CURRENT,
    "get_attr": lambda _node, _inputs, _net: Kind.CONSTANT,
    "call_module": _module_kind,
    "call_function": _operation_kind,
    "call_method": _operation_kind,
    "output": _joined,
}


def findings(
    graph: fx.Graph, net: nn.Module, kinds: dict[fx.Node, Kind], exact_readout: type[nn.Module]
) -> Iterator[Finding]:
    """Functions and methods of ``graph`` that do not commute with the charge (modules have handlers).

    Args:
        graph: Traced from ``net``.
        net: The network.
        kinds: :func:`edge_kinds` of the graph.
        exact_readout: Type of the modules in whose forward a mean over the time axis is weighted already.
    """
    multi_step = any(getattr(module, "step_mode", "s") == "m" for module in net.modules() if is_node(module))
    for node in graph.nodes:
        if node.op in ("call_function", "call_method"):
            paths = list(node.meta.get("nn_module_stack", {}))
            weighted = any(isinstance(net.get_submodule(path), exact_readout) for path in ("", *paths))
            place = f"{paths[-1]}.{node.name}" if paths else node.name
            yield from _judge(node, place, kinds, multi_step and not weighted)


def _judge(node: fx.Node, place: str, kinds: dict[fx.Node, Kind], time_axis: bool) -> Iterator[Finding]:
    name = operation_name(node)
    trains = [kind for kind in _inputs(node, kinds) if kind is not Kind.CONSTANT]
    if not trains or name in QUESTIONS or name in VIEWS:
        return
    if name in ("mean", "sum") and time_axis and 0 in _axes(node):
        yield Finding(
            place,
            f"{name} over the time axis",
            "it weighs all digits alike, while digit t weighs q_t / Q",
            "use decode_output(x_seq, time_steps, tau)",
        )
    elif name in _AFFINE:
        return
    elif name in _PRODUCTS or name in _QUOTIENTS:
        divisor = name in _QUOTIENTS and _divides_by_train(node, kinds)
        if len(trains) > 1 or divisor:
            yield Finding(
                place,
                f"{name} of {len(trains)} spike trains",
                "step by step it is another function than that of the decoded values",
                "use SpikePackMatmul or SpikePackProduct",
            )
    else:
        yield Finding(
            place,
            name,
            "it is not known to be affine in its spike trains",
            "wrap it as a module in SpikePackWindow",
        )


def _axes(node: fx.Node) -> tuple[Any, ...]:
    dims = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else None)
    return tuple(dims) if isinstance(dims, list | tuple) else (0,) if dims is None else (dims,)


def _divides_by_train(node: fx.Node, kinds: dict[fx.Node, Kind]) -> bool:
    divisor = node.args[1] if len(node.args) > 1 else None
    return isinstance(divisor, fx.Node) and kinds[divisor] is not Kind.CONSTANT
