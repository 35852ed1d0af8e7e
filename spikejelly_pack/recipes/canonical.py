"""First pass over a traced network: every known operation becomes a step-mode module of its own.

Functions and methods (``F.relu``, ``x.flatten(1)``, ``torch.cat``) turn into modules, a module called
several times is copied per call site, dropout and identity vanish, what overwrites its input no longer
does. After it, a graph holds only placeholders, outputs, additions and modules, so that later passes ask
one question per node: which module is it? What no rule covers is refused by name, never skipped.
"""

from __future__ import annotations

import copy
import operator
from typing import Any

import torch
from spikingjelly.activation_based import base
from spikingjelly.activation_based import layer as sj
from torch import fx, nn

from ..spec.errors import UnsupportedError
from .graph import ADD, adopt, follow, fresh_name, module_of
from .operations import FEATURES, RULES, is_shape_query, operation_name, overwritten

__all__ = ["canonicalize"]

_ADDS = {operator.add, operator.iadd, torch.add, "add", "add_"}
_DROPPED = (
    nn.Identity, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d,
    nn.AlphaDropout, nn.FeatureAlphaDropout, sj.Dropout, sj.Dropout2d,
)  # fmt: skip
_ADOPTED: dict[type[nn.Module], type[nn.Module]] = {
    source: getattr(sj, source.__name__)
    for source in (
        nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d,
        nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
        nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d,
        nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d,
        nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d,
        nn.Flatten, nn.Upsample,
    )
}  # fmt: skip
_RECTIFIERS = (nn.ReLU, nn.ReLU6)


def canonicalize(model: fx.GraphModule) -> fx.GraphModule:
    """Rewrite ``model`` in place; returns it.

    Raises:
        UnsupportedError: An operation has no rule; the message names it and its place.
    """
    _own_module_per_call(model)
    for node in list(model.graph.nodes):
        # Nothing reads annotations; as strings they keep older releases of torch from pickling the network.
        node.type = None
        if node.op == "call_module":
            _canonical_module(model, node)
        elif node.op in {"call_function", "call_method"}:
            _canonical_function(model, node)
        elif node.op == "get_attr" and node.users:
            raise UnsupportedError(
                f"layer {node.target!r}: a tensor used outside a layer has no conversion rule; "
                "wrap it in a module or leave it out of the converted part."
            )
    model.graph.eliminate_dead_code()
    _refuse_leftovers(model)
    model.delete_all_unused_submodules()
    model.graph.lint()
    model.recompile()
    return model


def _own_module_per_call(model: fx.GraphModule) -> None:
    seen: set[int] = set()
    for node in model.graph.nodes:
        module = module_of(model, node)
        if module is None:
            continue
        if id(module) in seen:
            node.target = fresh_name(model, f"{node.target}_again")
            model.add_submodule(node.target, copy.deepcopy(module))
        seen.add(id(module))


def _canonical_module(model: fx.GraphModule, node: fx.Node) -> None:
    module: Any = module_of(model, node)
    if node.kwargs:
        if len(node.args) + len(node.kwargs) > 1:
            raise UnsupportedError(
                f"layer {node.target!r}: must be called with its input only, got {sorted(node.kwargs)} too; "
                "leave them out."
            )
        node.args, node.kwargs = tuple(node.kwargs.values()), {}
    if isinstance(module, _DROPPED):
        assert isinstance(node.args[0], fx.Node)
        node.replace_all_uses_with(node.args[0])
        node.graph.erase_node(node)
    elif type(module) in _ADOPTED:
        model.add_submodule(str(node.target), adopt(_checked(node, module), _ADOPTED[type(module)]))
    elif type(module) in _RECTIFIERS:
        if module.inplace:
            _read_overwritten(node, node.args[0])
        model.add_submodule(str(node.target), type(module)())
    elif not isinstance(module, base.StepModule):
        raise UnsupportedError(
            f"layer {node.target!r}: {type(module).__name__} has no conversion rule; replace it by one of "
            "ReLU, ReLU6, Linear, Conv, BatchNorm, pooling, Upsample, Flatten, addition or concatenation."
        )


def _checked(node: fx.Node, module: Any) -> nn.Module:
    """The module, or a refusal of what its options or hooks make of it."""
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        raise UnsupportedError(
            f"layer {node.target!r}: Flatten must keep the batch axis and nothing else, got start_dim="
            f"{module.start_dim}, end_dim={module.end_dim}; use Flatten()."
        )
    if hasattr(module, "weight") and "weight" not in module._parameters:  # pyright: ignore[reportPrivateUsage]
        raise UnsupportedError(
            f"layer {node.target!r}: weight must be a parameter, got one that a hook computes; "
            "bake it in first (torch.nn.utils.remove_weight_norm)."
        )
    return module


def _read_overwritten(node: fx.Node, source: Any) -> None:
    """Later readers of an overwritten value see what overwrote it."""
    if not isinstance(source, fx.Node):
        return
    later = False
    for other in list(node.graph.nodes):
        if later and other in source.users:
            other.replace_input_with(source, node)
        later = later or other is node


def _canonical_function(model: fx.GraphModule, node: fx.Node) -> None:
    _read_overwritten(node, overwritten(node))
    if node.target in _ADDS:
        if len(node.args) != 2 or not all(isinstance(arg, fx.Node) for arg in node.args) or node.kwargs:
            raise UnsupportedError(
                f"operation {node.name!r}: only the plain sum of two tensors has a conversion rule, got "
                f"arguments {(*node.args[1:], *node.kwargs)}; put constants into a layer's bias."
            )
        node.op, node.target = "call_function", ADD
        return
    rule = RULES.get(node.target)
    if rule is None:
        if is_shape_query(node):
            return  # dead code once the view that asked is a Flatten
        raise _no_rule(node)
    modules, inputs = rule(node)
    result: Any = inputs[0]
    for index, module in enumerate(modules):
        name = fresh_name(model, node.name)
        model.add_submodule(name, module)
        with model.graph.inserting_after(result if index else node):
            result = model.graph.call_module(name, (result,) if index else inputs)
    if FEATURES in node.meta:
        result.meta[FEATURES] = node.meta[FEATURES]
    follow(node, result)
    model.graph.erase_node(node)


def _no_rule(node: fx.Node) -> UnsupportedError:
    return UnsupportedError(
        f"operation {node.name!r} ({operation_name(node)}) has no conversion rule; "
        "write it with layers that have one, or leave it out of the converted part."
    )


def _refuse_leftovers(model: fx.GraphModule) -> None:
    for node in model.graph.nodes:
        if node.op in {"call_function", "call_method"} and node.target is not ADD:
            raise _no_rule(node)
