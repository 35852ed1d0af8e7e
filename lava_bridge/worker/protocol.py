"""What travels between caller and worker: a JSON object per line; arrays travel in the job's folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np

from spikejelly_pack.spec.array_file import read_arrays
from spikejelly_pack.spec.errors import RunError, SpikePackError
from spikejelly_pack.spec.graph.base import Array

__all__ = ["MARK", "from_line", "load_arrays", "save_arrays", "to_line", "well_formed"]

# Lava prints to standard output, and so do its children: our lines carry a mark.
MARK = "@spikepack "


def to_line(message: Mapping[str, Any]) -> str:
    """One marked line, newline included."""
    return MARK + json.dumps(message) + "\n"


def from_line(line: str) -> dict[str, Any] | None:
    """The message of a line, or None if the line is not ours."""
    if not line.startswith(MARK):
        return None
    try:
        message: Any = json.loads(line[len(MARK) :])
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", message) if isinstance(message, dict) else None


#: What the worker may send: kind, and the type of each entry.
_FORMS: dict[str, dict[str, type]] = {
    "progress": {"done": int, "samples": int},
    "error": {"type": str, "text": str, "trace": str},
    "result": {
        "codes": dict,
        "membranes": dict,
        "overflows": dict,
        "seconds": float,
        "steps": int,
        "processes": int,
        "lava": str,
    },
}


def well_formed(message: Mapping[str, Any]) -> bool:
    """Whether the worker may have sent it: what Lava's processes print can tear a line."""
    kind = message.get("kind")
    form = _FORMS.get(kind) if isinstance(kind, str) else None
    return form is not None and {"kind": str, **form} == {
        name: type(value) for name, value in message.items()
    }


def save_arrays(folder: Path, prefix: str, arrays: Mapping[str, Array]) -> dict[str, str]:
    """Write arrays as ``.npy`` files; returns file name by array name (names may hold any character)."""
    files: dict[str, str] = {}
    for index, (name, array) in enumerate(arrays.items()):
        files[name] = f"{prefix}-{index}.npy"
        np.save(folder / files[name], array, allow_pickle=False)
    return files


def load_arrays(folder: Path, files: Mapping[str, str]) -> dict[str, Array]:
    """Read what :func:`save_arrays` wrote.

    Raises:
        RunError: A file is missing or damaged.
    """
    found: dict[str, Array] = {}
    for name, file in files.items():
        try:
            found[name] = read_arrays(folder / file, "an array of the run", "free some space and run again")[
                ""
            ]
        except (SpikePackError, KeyError, TypeError) as error:
            raise RunError(f"Lava worker: array {name!r} must come back whole, got {error}") from None
    return found
