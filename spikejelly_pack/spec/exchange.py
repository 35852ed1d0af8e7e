"""Reader and writer of the exchange file ``.spk`` (specified in ``docs/exchange-file.md``).

One safetensors file: integer tensors, and in its metadata the graph as JSON with a checksum of every
tensor. No pickle. A few golden samples with the expected codes of every layer travel along, so that
every executor can check itself.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from .atomic import write_bytes
from .bounds import check_bounds
from .errors import ExchangeFileError, SpikePackError
from .execute import run_packed
from .graph import OPS, Network, Op
from .graph.base import Array

__all__ = ["FORMAT", "VERSION", "load", "save"]

FORMAT = "spikepack-network"
VERSION = 1
_TOP_KEYS = {"version", "time_steps", "tau", "ops", "provenance", "golden", "sha256"}


def save(network: Network, path: str | os.PathLike[str], golden: dict[str, Array] | None = None) -> None:
    """Write ``network`` to ``path`` atomically.

    Args:
        network: Integer network; its accumulators are proven to fit before anything is written.
        path: Target file.
        golden: Input codes ``[N, *shape]`` by input name; their packed run is stored beside them.

    Raises:
        BoundError: An accumulator can leave its declared width.
        OutputError: The folder cannot be written.
    """
    check_bounds(network)
    tensors: dict[str, Array] = {}
    for op in network.ops.values():
        for item in op.tensor_fields():
            tensors[f"ops/{op.name}/{item.name}"] = getattr(op, item.name)
    expected = run_packed(network, golden) if golden else {}
    for name, value in expected.items():
        tensors[f"golden/{name}"] = np.ascontiguousarray(value)
    document = {
        "version": VERSION,
        "time_steps": network.time_steps,
        "tau": 2,
        "ops": [_op_to_json(op) for op in network.ops.values()],
        "provenance": network.provenance,
        "golden": list(expected),
        "sha256": {name: _digest(tensor) for name, tensor in tensors.items()},
    }
    metadata = {"format": FORMAT, "graph": json.dumps(document, sort_keys=True, separators=(",", ":"))}
    write_bytes(path, safetensors.numpy.save(tensors, metadata))


def load(path: str | os.PathLike[str], verify: bool = True) -> Network:
    """Read a network and check everything a file can get wrong.

    Args:
        path: File written by :func:`save`.
        verify: Also run the golden samples and compare every code.

    Raises:
        ExchangeFileError: Missing, truncated, altered, of another version, or inconsistent.
        BoundError: An accumulator of the network can leave its declared width.
    """
    path = Path(path)
    tensors, document = _read(path)
    network = _build(path, document, tensors)
    check_bounds(network)
    if verify and document["golden"]:
        golden = golden_samples(network, path, tensors)
        actual = run_packed(network, {op.name: golden[op.name] for op in network.inputs})
        for name, value in golden.items():
            if not np.array_equal(actual[name], value):
                _fail(path, f"golden codes of {name!r} do not match the network", "the file was altered; export it again")
    return network


def golden_samples(network: Network, path: str | os.PathLike[str], tensors: dict[str, Array] | None = None) -> dict[str, Array]:
    """Golden codes (inputs, neurons) and membranes (readouts) stored in the file, by name; may be empty."""
    if tensors is None:
        tensors, _ = _read(Path(path))
    prefix = "golden/"
    return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}


def _fail(path: Path, what: str, remedy: str) -> None:
    raise ExchangeFileError(f"{path}: {what}; {remedy}.")


def _digest(tensor: Array) -> str:
    little = tensor.astype(tensor.dtype.newbyteorder("<"))
    header = f"{tensor.dtype.str[1:]}{list(tensor.shape)}".encode()
    return hashlib.sha256(header + little.tobytes()).hexdigest()


def _op_to_json(op: Op) -> dict[str, Any]:
    constants = {
        item.name: getattr(op, item.name)
        for item in dataclasses.fields(op)
        if "tensor" not in item.metadata and item.name not in {"name", "inputs"}
    }
    return {"kind": op.kind, "name": op.name, "inputs": list(op.inputs), **constants}


def _read(path: Path) -> tuple[dict[str, Array], dict[str, Any]]:
    export_again = "export the network again"
    if not path.is_file():
        _fail(path, "must be an exchange file, got nothing there" if not path.exists() else "must be a file", "check the path")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a mapping)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise ExchangeFileError(f"{path}: must be a whole safetensors file, got {error}; {export_again}.") from None
    if metadata.get("format") != FORMAT:
        _fail(path, f"format must be {FORMAT!r}, got {metadata.get('format')!r}", "pass a file made by spikepack export")
    try:
        document = json.loads(metadata.get("graph", ""))
    except ValueError:
        document = None
    if not isinstance(document, dict):
        _fail(path, "the graph must be a JSON object", export_again)
    if document.get("version") != VERSION:
        _fail(path, f"version must be {VERSION}, got {document.get('version')!r}", "use the release that wrote it")
    if set(document) != _TOP_KEYS:
        _fail(path, f"the graph must have the keys {sorted(_TOP_KEYS)}, got {sorted(document)}", export_again)
    if document["tau"] != 2:
        _fail(path, f"tau must be 2, got {document['tau']!r}", "the integer form exists for tau = 2 only")
    _check_digests(path, document["sha256"], tensors)
    return tensors, document


def _check_digests(path: Path, digests: Any, tensors: dict[str, Array]) -> None:
    if not isinstance(digests, dict) or set(digests) != set(tensors):
        _fail(path, "the tensors must be those the graph lists", "the file was altered; export the network again")
    for name, tensor in tensors.items():
        if digests[name] != _digest(tensor):
            _fail(path, f"tensor {name!r} does not match its checksum", "the file was altered; export the network again")


def _build(path: Path, document: dict[str, Any], tensors: dict[str, Array]) -> Network:
    try:
        ops = [_op_from_json(path, entry, tensors) for entry in document["ops"]]
        network = Network(ops, document["time_steps"], document["provenance"])
    except ExchangeFileError:
        raise
    except SpikePackError as error:
        raise type(error)(f"{path}: {error}") from None
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise ExchangeFileError(f"{path}: the graph is malformed ({error}); export the network again.") from None
    known = {f"ops/{op.name}/{item.name}" for op in network.ops.values() for item in op.tensor_fields()}
    known |= {f"golden/{name}" for name in document["golden"]}
    if extra := sorted(set(tensors) - known):
        _fail(path, f"tensors {extra} belong to no operation", "export the network again")
    return network


def _op_from_json(path: Path, entry: dict[str, Any], tensors: dict[str, Array]) -> Op:
    kind = entry.get("kind")
    if kind not in OPS:
        _fail(path, f"operation kind must be one of {sorted(OPS)}, got {kind!r}", "use the release that wrote it")
    cls = OPS[str(kind)]
    names = {item.name for item in dataclasses.fields(cls)}
    held = {item.name for item in cls.tensor_fields()}
    if set(entry) != (names - held) | {"kind"}:
        wanted = sorted((names - held) | {"kind"})
        _fail(path, f"{kind} {entry.get('name')!r} must have the keys {wanted}, got {sorted(entry)}", "export it again")
    constants = {name: value for name, value in entry.items() if name != "kind"}
    for item in held:
        key = f"ops/{entry['name']}/{item}"
        if key not in tensors:
            _fail(path, f"tensor {key!r} is missing", "export the network again")
        constants[item] = tensors[key]
    return cls(**constants)
