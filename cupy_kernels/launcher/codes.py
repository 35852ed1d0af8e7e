"""Launch conversions between digits, codes and decoded values."""

from __future__ import annotations

from typing import Any

from ..arrays import FLOATS, Array
from ..errors import KernelArgumentError
from ..execution import Queue
from ..variants import C_TYPES, THREADS, Variant
from .checks import CodeConstants, code_dtype, code_of, contiguous, flag_of, matching, required
from .grid import addresses, blocks_for, group_size, index_type

__all__ = ["CODES", "DIGITS", "decode", "pack", "unpack"]

DIGITS = (*FLOATS, "int8", "uint8")
CODES = ("uint8", "uint16", "int8", "int16", "int32")


def _steps(time_steps: int) -> int:
    if not 1 <= time_steps <= 16:
        raise KernelArgumentError(
            f"time_steps: must be in 1..16, got {time_steps}; a code has at most 16 digits."
        )
    return int(time_steps)


def _digits(queue: Queue, digits: Any, codes: Array, steps: int) -> Array:
    train = required(queue, "digits", digits, DIGITS)
    if not train.shape or train.shape[0] != steps:
        raise KernelArgumentError(
            f"digits: must be [T, *] with T = {steps}, got {list(train.shape)}; give one window."
        )
    contiguous(train, 1)
    matching(codes, train, 1)
    return train


def pack(
    queue: Queue, digits: Any, codes: Any, *, time_steps: int, signed: bool = False, invalid: Any = None
) -> None:
    """Digits ``[T, *]``, most significant first, to codes ``[*]``.

    Args:
        queue: Where to run.
        digits: 0 and 1 (signed: -1, 0, 1), floating point, int8 or uint8.
        codes: Out, in the dtype of :func:`.code_dtype`.
        time_steps: T.
        signed: Whether digits may be negative.
        invalid: In and out, int32 or uint32 of one element: set to 1 if a value is no digit (it counts as 0).
    """
    steps = _steps(time_steps)
    words = required(queue, "codes", codes, (code_dtype(steps, signed),))
    train = _digits(queue, digits, words, steps)
    flag = flag_of(queue, "invalid", invalid)
    if words.size == 0:
        return
    group, _ = group_size((train, words), words.size, steps)
    types = (C_TYPES[train.dtype], C_TYPES[words.dtype], bool(signed), group, index_type(train.size))
    pointers = addresses({"digits": train, "codes": words, "invalid": flag})
    queue.launch(
        Variant("pack", types),
        blocks_for(words.size, group),
        THREADS,
        pointers | {"n": words.size, "steps": steps},
    )


def unpack(queue: Queue, codes: Any, digits: Any, *, time_steps: int, invalid: Any = None) -> None:
    """Codes ``[*]`` to digits ``[T, *]``, most significant first; a sign goes to every digit.

    Args:
        queue: Where to run.
        codes: uint8, uint16, int8, int16 or int32.
        digits: Out, floating point, int8 or (unsigned codes only) uint8.
        time_steps: T.
        invalid: In and out, int32 or uint32 of one element: set to 1 if a code has more than T digits.
    """
    steps = _steps(time_steps)
    words = required(queue, "codes", codes, CODES)
    train = _digits(queue, digits, words, steps)
    if train.dtype == "uint8" and words.dtype.startswith("int"):
        raise KernelArgumentError("digits: must be signed where codes are, got uint8; use int8.")
    flag = flag_of(queue, "invalid", invalid)
    if words.size == 0:
        return
    group, _ = group_size((train, words), words.size, steps)
    types = (C_TYPES[words.dtype], C_TYPES[train.dtype], group, index_type(train.size))
    pointers = addresses({"codes": words, "digits": train, "invalid": flag})
    queue.launch(
        Variant("unpack", types),
        blocks_for(words.size, group),
        THREADS,
        pointers | {"n": words.size, "steps": steps},
    )


def decode(queue: Queue, codes: Any, values: Any, code: CodeConstants, *, invalid: Any = None) -> None:
    """Codes to decoded values ``d(s)`` in [0, 1] (signed: [-1, 1]).

    Args:
        queue: Where to run.
        codes: uint8, uint16, int8, int16 or int32, any shape.
        values: Out, floating point, like ``codes``.
        code: Constants ``time_steps, tau, weights, weight_sum``.
        invalid: As in :func:`unpack`.
    """
    words = required(queue, "codes", codes, CODES)
    outs = required(queue, "values", values)
    matching(outs, words)
    flag = flag_of(queue, "invalid", invalid)
    if words.size == 0:
        return
    group, _ = group_size((words, outs), words.size)
    types = (code_of(code), C_TYPES[words.dtype], C_TYPES[outs.dtype], group, index_type(words.size))
    pointers = addresses({"codes": words, "values": outs, "invalid": flag})
    queue.launch(
        Variant("decode_codes", types), blocks_for(words.size, group), THREADS, pointers | {"n": words.size}
    )
