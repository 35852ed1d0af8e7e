"""How a launch is cut up: index type, elements per thread, blocks, where thresholds lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ..arrays import Array, Layout
from ..errors import KernelArgumentError
from ..variants import C_TYPES, THREADS
from .checks import Neuron

__all__ = ["MODES", "addresses", "blocks_for", "group_size", "index_type", "neuron_numbers", "type_of"]

MODES = {"tensor": 0, "channel": 1, "last": 2}
_MAX_BLOCKS_X, _MAX_BLOCKS_Y = 2**31 - 1, 65535


def index_type(*extents: int) -> str:
    """32-bit indices while every offset, overshoot of the last block included, stays below 2^32."""
    return "u32" if max(extents) + 32 * THREADS < 2**32 else "u64"


def group_size(
    arrays: Sequence[Array | None],
    row: int,
    rows: int = 1,
    layout: Layout | None = None,
    theta: Array | None = None,
    limit: int = 8,
) -> tuple[int, int]:
    """Elements a thread moves at once, and how it finds their thresholds (a number of :data:`MODES`).

    16 bytes of the widest number among the arrays (8 elements where none has 4 bytes), where every row starts
    aligned and no group crosses from one channel into the next; else 1. ``limit`` lowers the 8.
    """
    present = [array for array in arrays if array is not None]
    wide = 4 if any(array.item_size == 4 for array in present) else limit
    fits = all(array.aligned(wide) for array in present) and (rows == 1 or row % wide == 0)
    if layout is None or layout.channels == 1:
        return (wide if fits else 1), MODES["tensor"]
    if layout.inner > 1:
        return (wide if fits and layout.inner % wide == 0 else 1), MODES["channel"]
    if fits and layout.channels % wide == 0 and theta is not None and theta.aligned(wide):
        return wide, MODES["last"]
    return 1, MODES["channel"]


def blocks_for(elements: int, group: int, rows: int = 1) -> tuple[int, int, int]:
    """Grid that gives every group of a row a thread."""
    blocks = -(-elements // (THREADS * group))
    if blocks > _MAX_BLOCKS_X:
        raise KernelArgumentError(
            f"launch: at most {_MAX_BLOCKS_X * THREADS} groups fit one launch, got {elements} elements; "
            "split them."
        )
    return blocks, max(1, min(rows, _MAX_BLOCKS_Y)), 1


def type_of(array: Array | None, default: str) -> str:
    """Type of the ``.cu`` files for an argument, ``default`` where it is absent."""
    return default if array is None else C_TYPES[array.dtype]


def neuron_numbers(neuron: Neuron, layout: Layout) -> dict[str, object]:
    """Numbers that every kernel of the neuron takes."""
    return {"channels": layout.channels, "inner": layout.inner, "half": neuron.half, "leak": neuron.leak}


def addresses(arrays: Mapping[str, Array | None]) -> dict[str, object]:
    """Pointers by parameter name, 0 where an argument is absent."""
    return {name: 0 if array is None else array.pointer for name, array in arrays.items()}
