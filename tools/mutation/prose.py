"""Which mutants of a Python function cannot matter: what they change is read by people, or guards a slip."""

from __future__ import annotations

import ast
import re
import textwrap
from typing import Any, cast

__all__ = ["AT_IMPORT", "cannot_matter"]

#: Functions whose text arguments only name the owner and the parameter in the sentence of an error.
_CHECKS = re.compile(r"_?check\w*|integer|boolean|pair|cast|_?read_\w+|_?refuse\w*")
_FOR_PEOPLE = re.compile(r"__repr__|__str__|\w+_text")
#: Names of their arguments that hold such text.
_TEXTS = ("owner", "name", "remedy", "self.label")
#: They run at import, before a mutant is chosen: mutmut cannot judge them (:mod:`.lines` does).
AT_IMPORT = ("register", "_rule", "tensor_field")


def _path(one: ast.AST, other: ast.AST) -> list[ast.AST]:
    """Nodes of ``one`` from the root to the smallest that differs from ``other``; empty where none does."""
    if type(one) is not type(other):
        return [one]
    for name in one._fields:
        left, right = _values(one, name), _values(other, name)
        if len(left) != len(right):
            return [one]
        for x, y in zip(left, right, strict=True):
            if isinstance(x, ast.AST) and isinstance(y, ast.AST):
                if below := _path(x, y):
                    return [one, *below]
            elif (type(x), x) != (type(y), y):
                return [one]
    return []


def _values(node: ast.AST, name: str) -> list[Any]:
    value: Any = getattr(node, name, None)
    return cast("list[Any]", value) if isinstance(value, list) else [value]


def _called(node: ast.AST) -> str:
    """Name of the function that a call calls, else nothing."""
    if not isinstance(node, ast.Call):
        return ""
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _parsed(source: str) -> ast.Module:
    """The tree of a function, less what ``zip`` is told about lengths: a guard against slips in our lines."""
    tree = ast.parse(textwrap.dedent(source))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _called(node) == "zip":
            node.keywords = [keyword for keyword in node.keywords if keyword.arg != "strict"]
    return tree


def cannot_matter(name: str, before: str, after: str) -> bool:
    """Whether a mutant of the function ``name`` is left out, by the rules in docs/contributing.md.

    Args:
        name: Name of the function.
        before: Its source.
        after: Its mutated source.
    """
    if _FOR_PEOPLE.fullmatch(name) or name in AT_IMPORT:
        return True
    path = _path(_parsed(before), _parsed(after))
    if not path:
        return True
    if any(isinstance(node, ast.Raise | ast.JoinedStr) for node in path):
        return True
    leaf = path[-1]
    checking = _CHECKS.fullmatch(_called(path[-2])) is not None
    if isinstance(leaf, ast.Name | ast.Attribute):
        return checking and ast.unparse(leaf) in _TEXTS
    if not isinstance(leaf, ast.Constant) or not isinstance(leaf.value, str):
        return False
    return " " in leaf.value or checking
