"""The container of the exchange file: named tensors and one JSON document, each with a checksum.

The bytes are a safetensors file. They are written here, not by the library, because equal networks must
give equal files: the library orders its metadata by a random hash. Reading goes through the library.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors

from .errors import ExchangeFileError
from .graph.base import Array

__all__ = ["FORMAT", "VERSIONS", "fail", "pack_file", "read_file"]

FORMAT = "spikepack-network"
VERSIONS = (1, 2)  # files of all of these are read; the oldest that holds a network is written
_open: Any = safetensors.safe_open  # has no annotations
_EXPORT_AGAIN = "export the network again"
_ALTERED = "the file was altered; export the network again"
_METADATA_KEYS = {"format", "graph", "sha256"}
_DTYPES = {
    "i1": "I8",
    "u1": "U8",
    "i2": "I16",
    "u2": "U16",
    "i4": "I32",
    "i8": "I64",
    "f4": "F32",
    "f8": "F64",
}


def fail(path: Path, what: str, remedy: str = _EXPORT_AGAIN) -> ExchangeFileError:
    """The error for ``path``, one sentence."""
    return ExchangeFileError(f"{path}: {what}; {remedy}.")


def pack_file(tensors: Mapping[str, Array], document: Mapping[str, Any]) -> bytes:
    """Bytes of the file; equal arguments give equal bytes.

    Args:
        tensors: Tensors by name.
        document: JSON object; the checksums of the tensors are added under ``sha256``.
    """
    # Wide items first: every tensor starts at a multiple of its item size.
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    graph = _canonical({**document, "sha256": {name: _digest(tensors[name]) for name in order}})
    header: dict[str, Any] = {
        "__metadata__": {"format": FORMAT, "graph": graph, "sha256": _text_digest(graph)}
    }
    parts: list[bytes] = []
    offset = 0
    for name in order:
        data = _little(tensors[name]).tobytes()
        header[name] = {
            "dtype": _DTYPES[tensors[name].dtype.str[1:]],
            "shape": list(tensors[name].shape),
            "data_offsets": [offset, offset + len(data)],
        }
        parts.append(data)
        offset += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([struct.pack("<Q", len(text)), text, *parts])


def read_file(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    """Tensors and document of a file whose checksums hold.

    Raises:
        ExchangeFileError: Missing, truncated, of another format, or altered.
    """
    if not path.is_file():
        raise fail(
            path,
            f"must be a file, got {'something else' if path.exists() else 'nothing there'}",
            "check the path",
        )
    try:
        with _open(path, framework="numpy") as file:
            metadata: dict[str, str] = file.metadata() or {}
            names: list[str] = file.keys()
            tensors: dict[str, Array] = {name: file.get_tensor(name) for name in names}
    except (safetensors.SafetensorError, OSError, ValueError, TypeError, AttributeError) as error:
        # The last two: dtypes that numpy lacks.
        raise fail(path, f"must be a whole safetensors file of integers and floats, got {error}") from None
    if metadata.get("format") != FORMAT:
        got = metadata.get("format")
        raise fail(path, f"format must be {FORMAT!r}, got {got!r}", "pass a file made by spikepack export")
    if set(metadata) != _METADATA_KEYS:
        raise fail(path, f"the metadata must have the keys {sorted(_METADATA_KEYS)}, got {sorted(metadata)}")
    if _text_digest(metadata["graph"]) != metadata["sha256"]:
        raise fail(path, "the graph does not match its checksum", _ALTERED)
    document = _document(path, metadata["graph"])
    _check_tensors(path, document.get("sha256"), tensors)
    return tensors, document


def _document(path: Path, text: str) -> dict[str, Any]:
    def unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({key for key, _ in items}) != len(items):
            raise ValueError("a key appears twice")
        return dict(items)

    def no_number(name: str) -> None:
        raise ValueError(f"{name} is no JSON number")

    try:
        found = json.loads(text, object_pairs_hook=unique, parse_constant=no_number)
    except (ValueError, RecursionError) as error:
        raise fail(path, f"the graph must be JSON, got {error}") from None
    if not isinstance(found, dict):
        raise fail(path, f"the graph must be a JSON object, got {type(found).__name__}")
    document = cast("dict[str, Any]", found)
    version = document.get("version")
    if type(version) is not int or version not in VERSIONS:
        known = " or ".join(map(str, VERSIONS))
        raise fail(path, f"version must be {known}, got {version!r}", "use the release that wrote it")
    return document


def _check_tensors(path: Path, digests: Any, tensors: Mapping[str, Array]) -> None:
    if not isinstance(digests, dict):
        raise fail(path, "the graph must list a checksum for each tensor under 'sha256'", _ALTERED)
    digests = cast("dict[str, Any]", digests)
    if different := sorted(set(digests) ^ set(tensors)):
        raise fail(
            path, f"the tensors must be those the graph lists, got a difference in {different}", _ALTERED
        )
    for name, tensor in tensors.items():
        if digests[name] != _digest(tensor):
            raise fail(path, f"tensor {name!r} does not match its checksum", _ALTERED)


def _canonical(document: Mapping[str, Any]) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _text_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _little(tensor: Array) -> Array:
    return np.ascontiguousarray(tensor, tensor.dtype.newbyteorder("<"))


def _digest(tensor: Array) -> str:
    header = f"{tensor.dtype.str[1:]}{list(tensor.shape)}".encode()
    return hashlib.sha256(header + _little(tensor).tobytes()).hexdigest()
