"""Where a traced forward keeps the time axis, and which layers that need it do not find it first.

A node or a pool in multi-step mode takes ``[T, N, *]``: the digits of a window lie along the first axis. A
forward may fold that axis into the batch, ``x.flatten(0, 1)`` or ``functional.seq_to_ann_forward``, around
affine layers only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from torch import fx, nn

from .dataflow import Finding, Kind, operation_name
from .members import is_node
from .window import FormModule

__all__ = ["HIDDEN", "hidden_members", "time_axes"]

#: Why a layer is named where the time axis is hidden from it, and what to do.
HIDDEN = (
    "it needs the time axis first, as [T, N, *], to tell the digits of a window from samples",
    "call it on the sequence itself, as layer.MaxPool2d or in nn.Sequential; fold time around affine layers",
)

#: Position of the time axis; None where it is folded into another one or gone.
Axis = int | None


def time_axes(graph: fx.Graph, net: nn.Module, kinds: dict[fx.Node, Kind]) -> dict[str, Axis]:
    """Where every module called in ``graph`` finds the time axis; of several calls one that is not first.

    Args:
        graph: Traced from ``net``.
        net: The network.
        kinds: What every value of the graph carries.
    """
    axes: dict[fx.Node, Axis] = {}
    found: dict[str, Axis] = {}
    for node in graph.nodes:
        axis = _joined(node, axes, kinds)
        if node.op == "call_module":
            path = str(node.target)
            found[path] = axis if found.get(path, 0) == 0 else found[path]
            axis = _behind(net.get_submodule(path), axis)
        elif node.op in ("call_function", "call_method"):
            axis = _moved(node, axis, axes)
        axes[node] = axis
    return found


def hidden_members(graph: fx.Graph, net: nn.Module, kinds: dict[fx.Node, Kind]) -> Iterator[Finding]:
    """Nodes and layers of whole windows whose input does not have the time axis first, as above."""
    for path, axis in time_axes(graph, net, kinds).items():
        module = net.get_submodule(path)
        if axis != 0 and _needs_time(module):
            yield Finding(path, type(module).__name__, *HIDDEN)


def _needs_time(module: nn.Module) -> bool:
    return is_node(module) or isinstance(module, FormModule)


def _behind(module: nn.Module, axis: Axis) -> Axis:
    if _needs_time(module):
        return 0  # named itself where it is not; what follows is not to be named for it
    if isinstance(module, nn.Flatten) and axis is not None:
        return _flattened(axis, module.start_dim, module.end_dim)
    return axis


def _joined(node: fx.Node, axes: dict[fx.Node, Axis], kinds: dict[fx.Node, Kind]) -> Axis:
    """Common position in everything the node reads that carries trains."""
    found = {axes[source] for source in node.all_input_nodes if kinds[source] is not Kind.CONSTANT}
    return 0 if not found else found.pop() if len(found) == 1 else None


def _moved(node: fx.Node, axis: Axis, axes: dict[fx.Node, Axis]) -> Axis:
    name = operation_name(node)
    if name in ("view", "reshape"):
        return 0 if _keeps_length(node, axes) else None
    if axis is None:
        return 0 if name == "unflatten" and _argument(node, 1, "dim", None) == 0 else None
    rule = _RULES.get(name)
    return axis if rule is None else rule(node, axis)


def _argument(node: fx.Node, index: int, name: str, default: Any) -> Any:
    if len(node.args) > index:
        return node.args[index]
    return node.kwargs.get(name, default)


def _sizes(node: fx.Node, index: int = 1) -> tuple[Any, ...]:
    """Arguments given one by one or as one list."""
    given = node.args[index:] or tuple(node.kwargs.values())
    return tuple(given[0]) if given and isinstance(given[0], list | tuple) else tuple(given)


def _keeps_length(node: fx.Node, axes: dict[fx.Node, Axis]) -> bool:
    """Whether the first size of a view is the length of a time axis (or the view takes a whole shape)."""
    sizes = _sizes(node)
    first = sizes[0] if sizes else None
    if not isinstance(first, fx.Node):
        return False
    return operation_name(first) in ("getattr", "size") or _is_length(first, axes)


def _is_length(size: fx.Node, axes: dict[fx.Node, Axis]) -> bool:
    """``x.shape[0]``, ``x.size(0)``: the first size of a value whose first axis is time."""
    name = operation_name(size)
    source = size.args[0] if size.args else None
    if not isinstance(source, fx.Node):
        return False
    if name == "size":
        return _argument(size, 1, "dim", None) == 0 and axes.get(source) == 0
    asked = operation_name(source) in ("getattr", "size") and source.args
    owner = source.args[0] if asked else None
    if name != "getitem" or not isinstance(owner, fx.Node):
        return False
    index: Any = size.args[1]
    return index == 0 and axes.get(owner) == 0


def _flattened(axis: int, start: int, end: int) -> Axis:
    if start < 0 or axis < start or (end >= 0 and end <= start):
        return axis
    return None if end < 0 or axis <= end else axis - (end - start)


def _flatten(node: fx.Node, axis: int) -> Axis:
    return _flattened(axis, _argument(node, 1, "start_dim", 0), _argument(node, 2, "end_dim", -1))


def _unflatten(node: fx.Node, axis: int) -> Axis:
    dim, sizes = _argument(node, 1, "dim", 0), _argument(node, 2, "sizes", ())
    return axis + len(sizes) - 1 if isinstance(sizes, list | tuple) and 0 <= dim < axis else axis


def _transpose(node: fx.Node, axis: int) -> Axis:
    first, second = _argument(node, 1, "dim0", 0), _argument(node, 2, "dim1", 0)
    return {first: second, second: first}.get(axis, axis)


def _permute(node: fx.Node, axis: int) -> Axis:
    order = _sizes(node)
    return order.index(axis) if axis in order else axis


def _movedim(node: fx.Node, axis: int) -> Axis:
    source, target = _argument(node, 1, "source", 0), _argument(node, 2, "destination", 0)
    if not isinstance(source, int) or not isinstance(target, int) or min(source, target) < 0:
        return axis if axis not in (source, target) else None
    if source == axis:
        return target
    others = axis - (source < axis)
    return others + (target <= others)


def _inserted(node: fx.Node, axis: int) -> Axis:
    """A new axis: unsqueeze, stack."""
    return axis + (0 <= _argument(node, 1, "dim", 0) <= axis)


def _without(node: fx.Node, axis: int) -> Axis:
    """An axis is taken out: squeeze, unbind, a sum or a mean over it."""
    dim = _argument(node, 1, "dim", None)
    dims = tuple(dim) if isinstance(dim, list | tuple) else (dim,)
    if axis in dims:
        return None
    return axis - sum(isinstance(d, int) and 0 <= d < axis for d in dims)


def _reduced(node: fx.Node, axis: int) -> Axis:
    kept = _argument(node, 2, "keepdim", False)
    return axis if kept else _without(node, axis)


def _indexed(node: fx.Node, axis: int) -> Axis:
    """One step of the time axis is no sequence any more; an index in front of it moves it forward."""
    source, index = node.args[0], node.args[1]
    if isinstance(source, fx.Node) and operation_name(source) in ("chunk", "split", "tensor_split", "unbind"):
        return axis
    parts: list[Any] = list(index) if isinstance(index, tuple) else [index]
    if Ellipsis in parts:
        parts = parts[: parts.index(Ellipsis)]
    if axis < len(parts) and not isinstance(parts[axis], slice):
        return None
    return axis - sum(isinstance(part, int) for part in parts[:axis])


def _repeated(_node: fx.Node, _axis: int) -> Axis:
    """A network that repeats an image by itself makes the time axis here, the first one."""
    return 0


_RULES: dict[str, Callable[[fx.Node, int], Axis]] = {
    "flatten": _flatten,
    "unflatten": _unflatten,
    "transpose": _transpose,
    "swapaxes": _transpose,
    "permute": _permute,
    "movedim": _movedim,
    "unsqueeze": _inserted,
    "squeeze": _without,
    "unbind": _without,
    "sum": _reduced,
    "mean": _reduced,
    "stack": _inserted,
    "getitem": _indexed,
    "repeat": _repeated,
}
