"""First pass over a traced network: every known operation becomes a step-mode module of its own.

Functions and methods (``F.relu``, ``x.flatten(1)``, ``torch.cat``) turn into modules, a module called
several times is copied per call site, dropout and identity vanish. After it, a graph holds only
placeholders, outputs, additions and modules, so that later passes ask one question per node: which
module is it? What no rule covers is refused by name, never skipped.
"""

from __future__ import annotations

import copy
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import base
from spikingjelly.activation_based import layer as sj
from torch import fx, nn

from ..layer.synaptic_scale import ChannelConcat
from ..spec.errors import UnsupportedError

__all__ = ["ADD", "adopt", "canonicalize", "module_of", "place_after"]

ADD = operator.add
_ADDS = {operator.add, operator.iadd, torch.add}
_DROPPED = (
    nn.Identity,
    nn.Dropout,
    nn.Dropout1d,
    nn.Dropout2d,
    nn.Dropout3d,
    nn.AlphaDropout,
    nn.FeatureAlphaDropout,
)
_ADOPTED = {
    source: getattr(sj, source.__name__)
    for source in (
        nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
        nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d, nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
        nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
        nn.Flatten, nn.Upsample,
    )
}  # fmt: skip
_KEPT: tuple[type[nn.Module], ...] = (nn.ReLU, nn.ReLU6)


def module_of(model: fx.GraphModule, node: Any) -> nn.Module | None:
    """The module a node calls, or None."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return model.get_submodule(str(node.target))
    return None


def place_after(model: fx.GraphModule, anchor: fx.Node, name: str, module: nn.Module) -> fx.Node:
    """Insert a call of ``module`` on ``anchor`` right behind it; users of ``anchor`` are left alone."""
    model.add_submodule(name, module)
    with model.graph.inserting_after(anchor):
        return model.graph.call_module(name, (anchor,))


def adopt(module: nn.Module, cls: type[nn.Module]) -> nn.Module:
    """The same module as its SpikingJelly subclass ``cls``: same parameters, buffers and options, plus step mode."""
    twin = cls.__new__(cls)
    twin.__dict__.update(module.__dict__)
    for table in ("_parameters", "_buffers", "_modules"):
        twin.__dict__[table] = dict(module.__dict__[table])
    twin._step_mode = "s"  # type: ignore[assignment]
    return twin


def canonicalize(model: fx.GraphModule) -> fx.GraphModule:
    """Rewrite ``model`` in place; returns it.

    Raises:
        UnsupportedError: An operation has no rule; the message names it and its place.
    """
    _own_module_per_call(model)
    for node in list(model.graph.nodes):
        if node.op == "call_module":
            _canonical_module(model, node)
        elif node.op in {"call_function", "call_method"}:
            _canonical_function(model, node)
        elif node.op == "get_attr":
            raise UnsupportedError(
                f"layer {node.target!r}: a tensor used outside a layer has no conversion rule; "
                "wrap it in a module or leave it out of the converted part."
            )
    model.graph.eliminate_dead_code()
    model.delete_all_unused_submodules()
    model.graph.lint()
    model.recompile()
    return model


def _own_module_per_call(model: fx.GraphModule) -> None:
    seen: dict[int, int] = {}
    for node in model.graph.nodes:
        if node.op != "call_module":
            continue
        module = model.get_submodule(node.target)
        calls = seen[id(module)] = seen.get(id(module), 0) + 1
        if calls > 1:
            node.target = f"{node.target}_call{calls}"
            model.add_submodule(node.target, copy.deepcopy(module))


def _canonical_module(model: fx.GraphModule, node: fx.Node) -> None:
    module = model.get_submodule(str(node.target))
    if isinstance(module, _DROPPED):
        _remove(node)
    elif type(module) in _ADOPTED:
        model.add_submodule(str(node.target), adopt(module, _ADOPTED[type(module)]))
    elif isinstance(module, nn.ReLU) and module.inplace:
        model.add_submodule(str(node.target), nn.ReLU())  # its input may have other readers
    elif isinstance(module, nn.ReLU6) and module.inplace:
        model.add_submodule(str(node.target), nn.ReLU6())
    elif not isinstance(module, (*_KEPT, base.StepModule)):
        raise UnsupportedError(
            f"layer {node.target!r}: {type(module).__name__} has no conversion rule; replace it by one of "
            "ReLU, ReLU6, Linear, Conv, BatchNorm, pooling, Upsample, Flatten, addition or concatenation."
        )


def _remove(node: fx.Node) -> None:
    node.replace_all_uses_with(node.args[0])  # type: ignore[arg-type]
    node.graph.erase_node(node)


def _canonical_function(model: fx.GraphModule, node: fx.Node) -> None:
    if node.target in _ADDS or node.target in {"add", "add_"}:
        if not (
            len(node.args) == 2 and all(isinstance(arg, fx.Node) for arg in node.args) and not node.kwargs
        ):
            raise UnsupportedError(
                f"operation {node.name!r}: only the sum of two tensors has a conversion rule."
            )
        node.op, node.target = "call_function", ADD
        return
    rule = _RULES.get(node.target)
    if rule is None:
        if _is_shape_query(node):
            return  # removed as dead code once the view that asked is a Flatten
        raise UnsupportedError(
            f"operation {node.name!r} ({_name(node.target)}) has no conversion rule; "
            "write it with layers that have one, or leave it out of the converted part."
        )
    modules, inputs = rule(node)
    anchor = node
    for index, module in enumerate(modules):
        name = node.name if index == 0 else f"{node.name}_{index}"
        model.add_submodule(name, module)
        with model.graph.inserting_after(anchor):
            anchor = model.graph.call_module(name, inputs if index == 0 else (anchor,))
    result = anchor if modules else inputs[0]
    node.replace_all_uses_with(result, delete_user_cb=lambda user: user is not anchor)
    model.graph.erase_node(node)


def _name(target: Any) -> str:
    return target if isinstance(target, str) else getattr(target, "__name__", str(target))


def _is_shape_query(node: fx.Node) -> bool:
    return node.target in {"size", "dim"} or (
        node.target in {operator.getitem, getattr} and node.op == "call_function"
    )


_Rewrite = tuple[list[nn.Module], tuple[fx.Node, ...]]


def _call(node: fx.Node, names: list[str], defaults: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call by name; refuses names it does not know."""
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    if unknown := sorted(set(given) - set(names)):
        raise UnsupportedError(f"operation {node.name!r}: arguments {unknown} have no conversion rule.")
    return defaults | given


def _elementwise(factory: Callable[[], nn.Module] | None) -> Callable[[fx.Node], _Rewrite]:
    return lambda node: ([factory()] if factory else [], (node.args[0],))  # type: ignore[list-item,return-value]


def _avg_pool2d(node: fx.Node) -> _Rewrite:
    names = [
        "input",
        "kernel_size",
        "stride",
        "padding",
        "ceil_mode",
        "count_include_pad",
        "divisor_override",
    ]
    given = _call(node, names, {})
    x = given.pop("input")
    return [sj.AvgPool2d(**given)], (x,)


def _max_pool2d(node: fx.Node) -> _Rewrite:
    names = ["input", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices"]
    given = _call(node, names, {})
    x = given.pop("input")
    return [sj.MaxPool2d(**given)], (x,)


def _adaptive(node: fx.Node) -> _Rewrite:
    given = _call(node, ["input", "output_size"], {})
    return [sj.AdaptiveAvgPool2d(given["output_size"])], (given["input"],)


def _flatten(node: fx.Node) -> _Rewrite:
    given = _call(node, ["input", "start_dim", "end_dim"], {"start_dim": 0, "end_dim": -1})
    if given["start_dim"] != 1 or given["end_dim"] != -1:
        raise UnsupportedError(f"operation {node.name!r}: flatten must keep the batch axis (start_dim=1).")
    return [sj.Flatten()], (given["input"],)


def _view(node: fx.Node) -> _Rewrite:
    shape = node.args[1:] if len(node.args) != 2 else node.args[1]
    if not (
        isinstance(shape, (tuple, list))
        and len(shape) == 2
        and isinstance(shape[0], fx.Node)
        and shape[1] == -1
    ):
        raise UnsupportedError(
            f"operation {node.name!r}: a view other than x.view(x.size(0), -1) has no conversion rule; use flatten."
        )
    return [sj.Flatten()], (node.args[0],)  # type: ignore[return-value]


def _mean(node: fx.Node) -> _Rewrite:
    given = _call(node, ["input", "dim", "keepdim"], {"dim": None, "keepdim": False})
    axes = given["dim"]
    if not isinstance(axes, (tuple, list)) or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise UnsupportedError(
            f"operation {node.name!r}: only the mean over height and width has a conversion rule."
        )
    modules: list[nn.Module] = [sj.AdaptiveAvgPool2d(1)]
    return modules if given["keepdim"] else [*modules, sj.Flatten()], (given["input"],)


def _concat(node: fx.Node) -> _Rewrite:
    given = _call(node, ["tensors", "dim"], {"dim": 0})
    if given["dim"] != 1:
        raise UnsupportedError(f"operation {node.name!r}: concatenation must be along the channels (dim=1).")
    return [ChannelConcat()], tuple(given["tensors"])


_RULES: dict[Any, Callable[[fx.Node], _Rewrite]] = {
    F.relu: _elementwise(nn.ReLU), torch.relu: _elementwise(nn.ReLU), torch.relu_: _elementwise(nn.ReLU),
    "relu": _elementwise(nn.ReLU), "relu_": _elementwise(nn.ReLU), F.relu_: _elementwise(nn.ReLU),
    F.relu6: _elementwise(nn.ReLU6),
    F.dropout: _elementwise(None), F.dropout2d: _elementwise(None), "contiguous": _elementwise(None),
    F.avg_pool2d: _avg_pool2d, F.max_pool2d: _max_pool2d, torch.max_pool2d: _max_pool2d,
    F.adaptive_avg_pool2d: _adaptive,
    torch.flatten: _flatten, "flatten": _flatten, "view": _view, "reshape": _view, torch.reshape: _view,
    torch.mean: _mean, "mean": _mean,
    torch.cat: _concat, torch.concat: _concat,
}  # fmt: skip
