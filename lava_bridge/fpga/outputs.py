"""Files that yosys, nextpnr and simulators leave: what they hold, or one error that names stage and file."""

from __future__ import annotations

import json
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from spikejelly_pack.spec.errors import RunError, SpikePackError
from spikejelly_pack.spec.reason import reason

__all__ = ["read_output", "whole"]

Taken = TypeVar("Taken")
# What Python raises on entries that are missing or of another kind: a full disk ends a file anywhere.
_FAULTS = (ArithmeticError, AttributeError, LookupError, OSError, RecursionError, TypeError, ValueError)


def read_output(path: Path, stage: str, take: Callable[[Any], Taken]) -> Taken:
    """What ``take`` finds in a JSON file.

    Raises:
        RunError: The file is missing, cut off, or holds something else than ``take`` looks for.
    """
    with whole(path.name, stage):
        return take(json.loads(path.read_text("utf-8")))


@contextmanager
def whole(name: str, stage: str) -> Generator[None]:
    """Tell in one sentence that an output could not be read.

    Raises:
        RunError: The block raised.
    """
    try:
        yield
    except SpikePackError:
        raise
    except _FAULTS as error:
        raise RunError(
            f"{stage}: {name} must be what the tool writes, got {type(error).__name__}: {reason(error)}; "
            "free some space and run again."
        ) from None
