"""No reader of the packages makes objects from a file: tensors and numbers only, no pickle."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

#: Function, and the argument without which it unpickles.
NEEDED = {
    "torch.load": ("weights_only", True),
    "np.load": ("allow_pickle", False),
    "numpy.load": ("allow_pickle", False),
}
#: These make objects, or run text, whatever their arguments are.
NEVER = {
    "pickle.load", "pickle.loads", "pickle.Unpickler", "marshal.load", "marshal.loads", "shelve.open",
    "joblib.load", "dill.load", "dill.loads", "cloudpickle.load", "cloudpickle.loads", "torch.jit.load",
    "torch.hub.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "pandas.read_pickle",
    "eval", "exec",
}  # fmt: skip


def calls(text: str) -> Iterator[tuple[int, str, dict[str, object]]]:
    """Line, name and constant keyword arguments of every call."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Call):
            given = {
                item.arg: item.value.value
                for item in node.keywords
                if item.arg is not None and isinstance(item.value, ast.Constant)
            }
            yield node.lineno, ast.unparse(node.func), given


def faults(text: str) -> list[str]:
    """What is wrong with the calls of a source."""
    found: list[str] = []
    for line, name, given in calls(text):
        keyword, wanted = NEEDED.get(name, ("", None))
        if keyword and given.get(keyword) is not wanted:
            found.append(f"line {line}: {name} needs {keyword}={wanted}")
        if name in NEVER:
            found.append(f"line {line}: {name} makes objects of what it reads")
    return found


def test_no_reader_unpickles(sources: list[Path]) -> None:
    assert not [f"{path}: {fault}" for path in sources for fault in faults(path.read_text("utf-8"))]


def test_there_are_readers_to_look_at(sources: list[Path]) -> None:
    names = [name for path in sources for _, name, _ in calls(path.read_text("utf-8"))]
    assert {"torch.load", "np.load"} <= set(names)


@pytest.mark.parametrize(
    "text",
    [
        "torch.load(path)", "torch.load(path, weights_only=False)", "np.load(path)",
        "np.load(path, allow_pickle=True)", "pickle.loads(data)", "yaml.load(text, Loader)", "eval(text)",
    ],
)  # fmt: skip
def test_the_check_sees_one_that_does(text: str) -> None:
    assert len(faults(text)) == 1
