"""Small tools on a traced network: which module a node calls, how to place one, how to adopt one."""

from __future__ import annotations

import operator
from typing import Any

from torch import fx, nn

__all__ = ["ADD", "adopt", "call_after", "follow", "fresh_name", "module_of", "node_input"]

#: The one target of a sum in a canonical graph.
ADD = operator.add


def module_of(model: fx.GraphModule, node: Any) -> nn.Module | None:
    """The module a node calls, or None."""
    if isinstance(node, fx.Node) and node.op == "call_module":
        return model.get_submodule(str(node.target))
    return None


def node_input(node: fx.Node) -> fx.Node:
    """The first input of a node, which every node of a canonical graph but placeholders has."""
    source = node.args[0]
    assert isinstance(source, fx.Node)
    return source


def fresh_name(model: fx.GraphModule, wanted: str) -> str:
    """``wanted``, or it with a number, so that no module or attribute of ``model`` is overwritten."""
    parent_path, _, leaf = wanted.rpartition(".")
    parent = model.get_submodule(parent_path)
    name, count = leaf, 2
    while hasattr(parent, name):
        name, count = f"{leaf}_{count}", count + 1
    return f"{parent_path}.{name}" if parent_path else name


def call_after(model: fx.GraphModule, anchor: fx.Node, name: str, module: nn.Module) -> fx.Node:
    """Insert a call of ``module`` on ``anchor`` right behind it; users of ``anchor`` are left alone."""
    name = fresh_name(model, name)
    model.add_submodule(name, module)
    with model.graph.inserting_after(anchor):
        return model.graph.call_module(name, (anchor,))


def follow(anchor: fx.Node, successor: fx.Node) -> None:
    """Let every other user of ``anchor`` read ``successor`` instead."""
    anchor.replace_all_uses_with(successor, delete_user_cb=lambda user: user is not successor)


def adopt(module: nn.Module, cls: type[nn.Module]) -> nn.Module:
    """The module as its SpikingJelly subclass ``cls``: same parameters and options, plus step mode."""
    twin = cls.__new__(cls)
    twin.__dict__.update(module.__dict__)
    for table in ("_parameters", "_buffers", "_modules"):
        twin.__dict__[table] = dict(module.__dict__[table])
    twin.__dict__["_step_mode"] = "s"
    return twin
