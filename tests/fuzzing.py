"""Strategies and settings of the fuzz tests: a few hundred inputs in every run, 100,000 with ``-m fuzz``.

Tests get this module as the fixture ``fuzzing``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

__all__ = ["altered_bytes", "altered_json", "outcome", "put", "run"]

_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
_JSON = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def altered_bytes(draw: st.DrawFn, original: bytes) -> bytes:
    """``original`` with a few runs of bytes replaced, removed or put in, or cut off."""
    data = bytearray(original)
    for _ in range(draw(st.integers(1, 4))):
        # half of the changes hit the first bytes, where lengths and the header are
        high = len(data) if draw(st.booleans()) else min(64, len(data))
        at = draw(st.integers(0, max(high - 1, 0)))
        gone = draw(st.sampled_from([0, 1, 1, 1, 2, 8, len(data)]))
        data[at : at + gone] = draw(st.binary(max_size=9))
    return bytes(data)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in _places(value[key], (*path, key)))]


@st.composite
def altered_json(draw: st.DrawFn, original: Any) -> Any:
    """``original`` with one or two values replaced, removed or doubled."""
    document = copy.deepcopy(original)
    for _ in range(draw(st.integers(1, 2))):
        *path, last = draw(st.sampled_from(_places(document)[1:] or [("",)]))
        place = document
        for key in path:
            place = place[key]
        change = draw(st.sampled_from(["replace", "replace", "remove", "add"]))
        if change == "remove":
            del place[last]
        elif change == "add" and isinstance(place, dict):
            place[draw(st.text(max_size=6))] = draw(_JSON)
        else:
            place[last] = draw(_JSON)
        if not document:
            break
    return document


def put(path: Path, data: bytes | str) -> None:
    """Write a new file; a file written over is flushed to the disk each time, which takes milliseconds."""
    path.unlink(missing_ok=True)
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


def outcome(read: Callable[[Any], Any], path: Any, error: type[Exception]) -> tuple[Any, str]:
    """What ``read(path)`` returns, or the text of its ``error``; any other exception passes."""
    try:
        return read(path), ""
    except error as raised:
        return None, str(raised)


def run(strategy: st.SearchStrategy[Any], check: Callable[[Any], None], examples: int) -> None:
    """``check`` each of so many values."""

    @settings(max_examples=examples, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def every(value: Any) -> None:
        check(value)

    every()
