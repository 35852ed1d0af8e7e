"""Example inputs of the exporter: one tensor, several in the order of the arguments, or by argument name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

from ..spec.errors import DtypeError, ShapeError
from ..spec.windows import in_order

__all__ = ["Example", "named_examples", "streams_of"]

Example = Tensor | Sequence[Tensor] | Mapping[str, Tensor]


def _each(example: Any, change: Callable[[Any], Tensor]) -> Any:
    if isinstance(example, Mapping):
        return {name: change(value) for name, value in example.items()}
    if isinstance(example, (list, tuple)):
        return tuple(change(value) for value in example)
    return change(example)


def _checked(example: Any, windows: int) -> Tensor:
    if not isinstance(example, Tensor) or not example.is_floating_point():
        got = getattr(example, "dtype", type(example).__name__)
        raise DtypeError(
            f"export: example_input must be a floating point tensor, got {got}; pass one batch of inputs."
        )
    if example.dim() < 2 or not len(example):
        raise ShapeError(
            f"export: example_input must be a batch [N, *], got shape {tuple(example.shape)}; add the "
            "batch axis."
        )
    if windows > 1 and (example.dim() < 3 or len(example) != windows or not example.shape[1]):
        raise ShapeError(
            f"export: example_input must be [{windows}, N, *] with windows={windows}, got shape "
            f"{tuple(example.shape)}; stack the windows of each sample on the first axis."
        )
    if bool(example.isnan().any()):
        raise DtypeError("export: example_input must hold no NaN, got some; clean the data first.")
    return example


def streams_of(example: Any, windows: int) -> Example:
    """Checked examples with the windows of each sample one behind the other, ``[N * W, *]``.

    Raises:
        DtypeError: A value is no floating point tensor, or holds NaN.
        ShapeError: A tensor is no batch, or does not have W windows.
    """
    streams: Example = _each(example, lambda value: in_order(_checked(value, windows), windows))
    return streams


def named_examples(example: Example, names: Sequence[str]) -> dict[str, Tensor]:
    """Examples by the name of the argument of ``forward`` they belong to.

    Raises:
        ShapeError: Their number or names differ from the arguments'.
    """
    if isinstance(example, Tensor):
        example = (example,)
    if not isinstance(example, Mapping):
        if len(example) != len(names):
            raise ShapeError(
                f"export: the network has inputs {list(names)}, got {len(example)} example(s); pass one for "
                "each."
            )
        example = dict(zip(names, example, strict=True))
    if set(example) != set(names):
        raise ShapeError(
            f"export: the network has inputs {list(names)}, got {sorted(example)}; pass an example for each."
        )
    if len({len(value) for value in example.values()}) > 1:
        counts = {name: len(value) for name, value in example.items()}
        raise ShapeError(f"export: all inputs must have the same number of samples, got {counts}; cut them.")
    return {name: example[name] for name in names}
