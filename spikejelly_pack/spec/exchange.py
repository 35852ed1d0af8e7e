"""Reader and writer of the exchange file ``.spk`` (specified in ``docs/exchange-file.md``).

One safetensors file: integer tensors, and in its metadata the graph as JSON with checksums. No pickle. A
few golden samples with the expected codes of every layer travel along, so that every executor can check
itself.
"""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any, cast

import numpy as np

from .atomic import write_bytes
from .bits import code_dtype
from .bounds import check_bounds
from .container import FORMAT, VERSIONS, fail, pack_file, read_file
from .errors import ExchangeFileError, SpikePackError
from .execute import Codes, run_packed, visible
from .graph import OPS, Network, Op, Readout
from .graph.base import Array

__all__ = ["FORMAT", "VERSIONS", "golden_samples", "load", "save"]

_TOP_KEYS = {"version", "time_steps", "tau", "ops", "provenance", "golden", "sha256"}
_GOLDEN = "golden/"


def save(network: Network, path: str | os.PathLike[str], golden: Codes | Array | None = None) -> None:
    """Write ``network`` to ``path`` atomically; equal networks give equal bytes.

    Args:
        network: Integer network; its accumulators are proven to fit before anything is written.
        path: Target file.
        golden: Input codes ``[N, *shape]`` as :func:`.execute.run_packed` takes them; the codes and
            membranes of every layer are stored beside them.

    Raises:
        BoundError: An accumulator can leave its declared width.
        OutputError: The folder cannot be written.
    """
    check_bounds(network)
    tensors: dict[str, Array] = {
        _tensor_name(op, item.name): getattr(op, item.name)
        for op in network.ops.values()
        for item in op.tensor_fields()
    }
    expected = {} if golden is None else run_packed(network, golden)
    tensors |= {_GOLDEN + name: value for name, value in expected.items()}
    document = {
        "version": network.version,
        "time_steps": network.time_steps,
        "tau": 2,
        "ops": [_op_to_json(op, network.version) for op in network.ops.values()],
        "provenance": network.provenance,
        "golden": list(expected),
    }
    if network.version > 1:
        document["windows"] = network.windows
    write_bytes(path, pack_file(tensors, document))


def load(path: str | os.PathLike[str], verify: bool = True) -> Network:
    """Read a network and check everything a file can get wrong.

    Args:
        path: File written by :func:`save`.
        verify: Also run the golden samples and compare every code and membrane.

    Raises:
        ExchangeFileError: Missing, truncated, altered, of another version, or inconsistent.
        BoundError: An accumulator of the network can leave its declared width.
        SpikePackError: A constant of the network has the wrong shape, dtype or range.
    """
    path = Path(path)
    tensors, document = read_file(path)
    _check_document(path, document)
    try:
        network = _build(path, document, tensors)
        check_bounds(network)
    except ExchangeFileError:
        raise
    except SpikePackError as error:
        raise type(error)(f"{path}: {error}") from None
    except (TypeError, AttributeError, KeyError, ValueError) as error:
        raise fail(path, f"the graph is malformed ({error})") from None
    golden = _golden(path, network, document, tensors)
    if verify and golden:
        _verify(path, network, golden)
    return network


def golden_samples(
    network: Network, path: str | os.PathLike[str], tensors: dict[str, Array] | None = None
) -> dict[str, Array]:
    """Golden codes (inputs, neurons) and membranes (readouts) of a file, by name; empty where it has none.

    Args:
        network: What :func:`load` returned for the file.
        path: The file.
        tensors: Its tensors, where they have been read already.
    """
    if tensors is None:
        tensors, _ = read_file(Path(path))
    return {name: tensors[_GOLDEN + name] for name in visible(network) if _GOLDEN + name in tensors}


def _tensor_name(op: Op, field: str) -> str:
    return f"ops/{op.name}/{field}"


def _op_to_json(op: Op, version: int) -> dict[str, Any]:
    constants = {name: getattr(op, name) for name in _constants(type(op), version)}
    return {"kind": op.kind, **constants, "inputs": list(op.inputs)}


def _constants(cls: type[Op], version: int) -> list[str]:
    """Fields of an operation that a file of this version holds in its JSON."""
    items = [item for item in dataclasses.fields(cls) if "tensor" not in item.metadata]
    return [item.name for item in items if item.metadata.get("since", 1) <= version]


def _check_document(path: Path, document: dict[str, Any]) -> None:
    keys = _TOP_KEYS | {"windows"} if document["version"] > 1 else _TOP_KEYS
    if set(document) != keys:
        raise fail(path, f"the graph must have the keys {sorted(keys)}, got {sorted(document)}")
    if type(document["tau"]) is not int or document["tau"] != 2:
        raise fail(
            path, f"tau must be 2, got {document['tau']!r}", "the integer form exists for tau = 2 only"
        )
    ops: Any = document["ops"]
    if not isinstance(ops, list) or not all(isinstance(entry, dict) for entry in cast("list[Any]", ops)):
        raise fail(path, "ops must be a list of JSON objects")


def _build(path: Path, document: dict[str, Any], tensors: dict[str, Array]) -> Network:
    ops = [_op_from_json(path, entry, tensors, document["version"]) for entry in document["ops"]]
    windows = document.get("windows", 1)
    network = Network(ops, document["time_steps"], document["provenance"], windows)
    known = {_tensor_name(op, item.name) for op in ops for item in op.tensor_fields()}
    if extra := sorted(name for name in set(tensors) - known if not name.startswith(_GOLDEN)):
        raise fail(path, f"tensors {extra} belong to no operation")
    return network


def _op_from_json(path: Path, entry: dict[str, Any], tensors: dict[str, Array], version: int) -> Op:
    kind = entry.get("kind")
    known = sorted(name for name, cls in OPS.items() if cls.since <= version)
    if not isinstance(kind, str) or kind not in known:
        raise fail(
            path, f"operation kind must be one of {known}, got {kind!r}", "use the release that wrote it"
        )
    cls = OPS[kind]
    held = {item.name for item in cls.tensor_fields()}
    wanted = {"kind", *_constants(cls, version)}
    if set(entry) != wanted:
        got = sorted(entry)
        raise fail(path, f"{kind} {entry.get('name')!r} must have the keys {sorted(wanted)}, got {got}")
    constants = {name: value for name, value in entry.items() if name != "kind"}
    for item in held:
        key = f"ops/{entry['name']}/{item}"
        if key not in tensors:
            raise fail(path, f"tensor {key!r} is missing")
        constants[item] = tensors[key]
    op = cls(**constants)
    for name, value in entry.items():  # in Python one number stands for a pair, in a file it does not
        if isinstance(getattr(op, name), tuple) and not isinstance(value, list):
            raise fail(path, f"{op.label}: {name} must be a list, got {value!r}")
    return op


def _golden(
    path: Path, network: Network, document: dict[str, Any], tensors: dict[str, Array]
) -> dict[str, Array]:
    listed, names = document["golden"], visible(network)
    if listed not in ([], names):
        raise fail(path, f"golden must list nothing or {names}, got {listed!r}")
    golden = {name: tensors[_GOLDEN + name] for name in listed if _GOLDEN + name in tensors}
    present = sum(name.startswith(_GOLDEN) for name in tensors)
    if len(golden) != len(listed) or present != len(listed):
        raise fail(path, "the golden tensors must be those that golden lists")
    for name, value in golden.items():
        op = network.ops[name]
        dtype = np.dtype(np.int64) if isinstance(op, Readout) else code_dtype(op.time_steps, op.signed)  # type: ignore[attr-defined]
        if value.dtype != dtype:
            raise fail(path, f"golden codes of {name!r} must have dtype {dtype}, got {value.dtype}")
    return golden


def _verify(path: Path, network: Network, golden: dict[str, Array]) -> None:
    try:
        actual = run_packed(network, {op.name: golden[op.name] for op in network.inputs})
    except SpikePackError as error:
        raise fail(path, f"the golden samples cannot run ({str(error).rstrip('.')})") from None
    for name, value in golden.items():
        if not np.array_equal(actual[name], value):
            raise fail(
                path,
                f"golden codes of {name!r} do not match the network",
                "the file was altered; export it again",
            )
