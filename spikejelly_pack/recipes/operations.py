"""Functions and methods that a canonical graph expresses as modules: one rule per operation.

A rule turns a call into the modules that replace it and the values the first of them reads.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from spikingjelly.activation_based import layer as sj
from torch import fx, nn

from ..layer.synaptic_scale import ChannelConcat
from ..spec.errors import UnsupportedError

__all__ = ["FEATURES", "RULES", "Rewrite", "is_shape_query", "operation_name", "overwritten"]

Rewrite = tuple[list[nn.Module], tuple[Any, ...]]
#: Key of a node's ``meta``: the number of features a view asked for, checked once shapes are known.
FEATURES = "spikepack_features"
_OVERWRITING = {torch.relu_, F.relu_, "relu_", "add_", operator.iadd}


def operation_name(node: fx.Node) -> str:
    """Readable name of the function or method a node calls."""
    return node.target if isinstance(node.target, str) else getattr(node.target, "__name__", str(node.target))


def overwritten(node: fx.Node) -> Any:
    """The value that a function or method call changes in place, or None."""
    in_place = node.target in {F.relu, F.relu6} and True in (*node.args[1:], node.kwargs.get("inplace"))
    if in_place or node.target in _OVERWRITING:
        return node.args[0] if node.args else node.kwargs.get("input")
    return None


def is_shape_query(node: fx.Node) -> bool:
    """Whether a call may be a question about a shape; one that stays in use is refused later."""
    return node.target in {"size", "dim"} or node.target in {operator.getitem, getattr}


def _call(node: fx.Node, names: list[str], **defaults: Any) -> dict[str, Any]:
    """Arguments of a call by name; refuses names it does not know."""
    given = dict(zip(names, node.args, strict=False)) | dict(node.kwargs)
    if unknown := sorted(set(given) - set(names)):
        raise UnsupportedError(
            f"operation {node.name!r} ({operation_name(node)}): arguments {unknown} have no conversion rule; "
            "leave them out."
        )
    return defaults | given


def _rectifier(make: Callable[[], nn.Module]) -> Callable[[fx.Node], Rewrite]:
    return lambda node: ([make()], (_call(node, ["input", "inplace"])["input"],))


def _same(node: fx.Node) -> Rewrite:
    return [], (node.args[0],)


def _dropout(node: fx.Node) -> Rewrite:
    given = _call(node, ["input", "p", "training", "inplace"], training=True)
    if given["training"] is not False and given.get("p") != 0.0:
        raise UnsupportedError(
            f"operation {node.name!r} ({operation_name(node)}): training must be False in evaluation, got "
            f"{given['training']!r}; write training=self.training, or the random mask stays."
        )
    return [], (given["input"],)


def _pool(make: Callable[..., nn.Module], *names: str) -> Callable[[fx.Node], Rewrite]:
    def rule(node: fx.Node) -> Rewrite:
        given = _call(node, ["input", *names])
        x = given.pop("input")
        return [make(**given)], (x,)

    return rule


def _flatten(node: fx.Node) -> Rewrite:
    given = _call(node, ["input", "start_dim", "end_dim"], start_dim=0, end_dim=-1)
    if (given["start_dim"], given["end_dim"]) != (1, -1):
        raise UnsupportedError(
            f"operation {node.name!r}: flatten must keep the batch axis and nothing else, got start_dim="
            f"{given['start_dim']}, end_dim={given['end_dim']}; use flatten(1)."
        )
    return [sj.Flatten()], (given["input"],)


def _is_batch_size(value: Any) -> bool:
    """``x.size(0)``, ``x.size()[0]`` or ``x.shape[0]``."""
    if not isinstance(value, fx.Node):
        return False
    if value.target == "size":
        return [*value.args[1:], *value.kwargs.values()] == [0]
    if value.target is not operator.getitem or value.args[1] != 0:
        return False
    shape = value.args[0]
    return isinstance(shape, fx.Node) and bool(
        (shape.target == "size" and len(shape.args) == 1)
        or (shape.target is getattr and shape.args[1] == "shape")
    )


def _view(node: fx.Node) -> Rewrite:
    given = [*node.args[1:], *node.kwargs.values()]
    shape = given[0] if len(given) == 1 else given
    batch, features = shape if isinstance(shape, (tuple, list)) and len(shape) == 2 else (None, None)
    keeps_batch = _is_batch_size(batch) and features == -1
    if isinstance(features, int) and features > 0 and (batch == -1 or _is_batch_size(batch)):
        keeps_batch, node.meta[FEATURES] = True, features
    if not keeps_batch:
        raise UnsupportedError(
            f"operation {node.name!r} ({operation_name(node)}): only x.view(x.size(0), -1) and x.view(-1, "
            "features) have a conversion rule; use flatten(1)."
        )
    return [sj.Flatten()], (node.args[0],)


def _mean(node: fx.Node) -> Rewrite:
    given = _call(node, ["input", "dim", "keepdim"], dim=None, keepdim=False)
    axes = given["dim"]
    if not isinstance(axes, (tuple, list)) or sorted(axis % 4 for axis in axes) != [2, 3]:
        raise UnsupportedError(
            f"operation {node.name!r}: only the mean over height and width has a conversion rule, got "
            f"dim={axes}; use x.mean((2, 3))."
        )
    modules: list[nn.Module] = [sj.AdaptiveAvgPool2d(1)]
    return modules if given["keepdim"] else [*modules, sj.Flatten()], (given["input"],)


def _concat(node: fx.Node) -> Rewrite:
    given = _call(node, ["tensors", "dim"], dim=0)
    if given["dim"] != 1 or not all(isinstance(part, fx.Node) for part in given["tensors"]):
        raise UnsupportedError(
            f"operation {node.name!r}: concatenation must be of tensors along the channels, got "
            f"dim={given['dim']}; use torch.cat(parts, dim=1)."
        )
    return [ChannelConcat()], tuple(given["tensors"])


_AVG = ("kernel_size", "stride", "padding", "ceil_mode", "count_include_pad", "divisor_override")
_MAX = ("kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")

RULES: dict[Any, Callable[[fx.Node], Rewrite]] = {
    **dict.fromkeys((F.relu, F.relu_, torch.relu, torch.relu_, "relu", "relu_"), _rectifier(nn.ReLU)),
    F.relu6: _rectifier(nn.ReLU6),
    **dict.fromkeys((F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.alpha_dropout), _dropout),
    "contiguous": _same,
    F.avg_pool2d: _pool(sj.AvgPool2d, *_AVG),
    **dict.fromkeys((F.max_pool2d, torch.max_pool2d), _pool(sj.MaxPool2d, *_MAX)),
    F.adaptive_avg_pool2d: _pool(sj.AdaptiveAvgPool2d, "output_size"),
    **dict.fromkeys((torch.flatten, "flatten"), _flatten),
    **dict.fromkeys((torch.reshape, "view", "reshape"), _view),
    **dict.fromkeys((torch.mean, "mean"), _mean),
    **dict.fromkeys((torch.cat, torch.concat, torch.concatenate), _concat),
}
