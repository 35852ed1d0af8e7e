"""Altered files and documents for the fuzz tests: a few hundred in every run, 100,000 with ``-m fuzz``.

Tests get this module as the fixture ``fuzzing``. Inputs are drawn by number from a seeded generator, not by
Hypothesis: that keeps what it drew, some 20 KB an input, and takes longer over it than most readers over the
file. A failure notes the number and the input. ``SPIKEPACK_FUZZ_FIRST`` moves the numbers, for other inputs.
"""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

__all__ = ["altered_bytes", "altered_json", "choice_of", "outcome", "put", "run", "value"]

Make = Callable[[Random], Any]
#: Bytes by which a run may raise the peak of this process: a reader must neither leak nor take at will.
MOST_MEMORY = 4 << 30
_NUMBERS = (0, 1, -1, 2, 3, 16, 255, 2**31, -(2**31), 2**53 + 1, 2**63, 2**64, 2**70, -(2**70))
_FLOATS = (0.0, -0.0, 0.5, 1.0, 1e-320, 1e308, -1e308, float("inf"), float("-inf"), float("nan"), 4.0)
_TEXTS = ("", "a", "0", "weight", "..", "/", "a.b", "a\nb", "\0", "é\u2028", "\ud800", "if", "9" * 5000)


def _leaf(random: Random) -> Any:
    kind = random.randrange(6)
    if kind == 0:
        return random.choice((None, True, False))
    if kind == 1:
        return random.choice(_NUMBERS)
    if kind == 2:
        return random.randrange(-300, 300)
    if kind == 3:
        return random.choice(_FLOATS)
    return random.choice(_TEXTS) if kind == 4 else random.gauss(0.0, 10.0)


def value(random: Random, depth: int = 2) -> Any:
    """Any JSON value, small."""
    kind = random.randrange(8) if depth else 0
    if kind == 6:
        return [value(random, depth - 1) for _ in range(random.randrange(4))]
    if kind == 7:
        return {random.choice(_TEXTS): value(random, depth - 1) for _ in range(random.randrange(4))}
    return _leaf(random)


def altered_bytes(original: bytes) -> Make:
    """``original`` with a few runs of bytes replaced, removed or put in, or cut off."""

    def make(random: Random) -> bytes:
        data = bytearray(original)
        for _ in range(random.randint(1, 4)):
            # half of the changes hit the first bytes, where lengths and the header are
            high = len(data) if random.random() < 0.5 else min(64, len(data))
            at = random.randrange(max(high, 1))
            gone = random.choice((0, 1, 1, 1, 2, 8, len(data)))
            data[at : at + gone] = random.randbytes(random.choice((0, 1, 1, 1, 2, 4, 8, 9)))
        return bytes(data)

    return make


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    keys = value.keys() if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [path, *(place for key in keys for place in _places(value[key], (*path, key)))]


def _at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def altered_json(original: Any) -> Make:
    """``original`` with one or two values replaced, removed, added, or put where another one stands."""
    text = json.dumps(original)

    def make(random: Random) -> Any:
        document = json.loads(text)
        for _ in range(random.randint(1, 2)):
            places = _places(document)[1:]
            if not places:
                break
            *path, last = random.choice(places)
            holder = _at(document, tuple(path))
            change = random.choice(("replace", "replace", "replace", "remove", "add", "other"))
            if change == "remove":
                del holder[last]
            elif change == "add" and isinstance(holder, dict):
                holder[random.choice(_TEXTS)] = value(random)
            elif change == "other":  # a copy: a document that holds itself has no end
                holder[last] = json.loads(json.dumps(_at(document, random.choice(places))))
            else:
                holder[last] = value(random)
        return document

    return make


def choice_of(makes: Mapping[str, Make]) -> Make:
    """A pair: one of the names, and what its maker makes."""
    names = sorted(makes)

    def make(random: Random) -> tuple[str, Any]:
        name = random.choice(names)
        return name, makes[name](random)

    return make


def put(path: Path, data: bytes | str) -> None:
    """Write a new file; a file written over is flushed to the disk each time, which takes milliseconds."""
    path.unlink(missing_ok=True)
    path.write_bytes(data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data)


def outcome(read: Callable[[Any], Any], path: Any, error: type[Exception]) -> tuple[Any, str]:
    """What ``read(path)`` returns, or the text of its ``error``, one line; any other exception passes."""
    try:
        return read(path), ""
    except error as raised:
        said = str(raised)
        assert said
        assert said.isprintable(), said
        return None, said


def run(make: Make, check: Callable[[Any], None], examples: int) -> None:
    """``check`` each of so many values, and what memory that took."""
    before = _peak()
    first = int(os.environ.get("SPIKEPACK_FUZZ_FIRST", "0"))
    for number in range(first, first + examples):
        made = make(Random(number))
        try:
            check(made)
        except Exception as error:
            raise AssertionError(f"input {number}: {made!r}"[:4000]) from error
    taken = _peak() - before
    assert taken < MOST_MEMORY, f"{taken} bytes"


def _peak() -> int:
    """Most bytes that this process has held so far, by whatever tests."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
