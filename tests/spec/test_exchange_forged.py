"""Exchange files with right checksums and wrong content: one sentence each."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from spikejelly_pack.spec.errors import BoundError
from spikejelly_pack.spec.exchange import load

DTYPES = {"int8": "I8", "uint8": "U8", "int16": "I16", "uint16": "U16", "int32": "I32", "int64": "I64"}
DTYPES |= {"float32": "F32", "float64": "F64", "bool": "BOOL", "float16": "F16", "uint64": "U64"}


class Forger:
    """Rewrites a file from the page alone (``docs/exchange-file.md``), with checksums that hold."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with safetensors.safe_open(path, framework="numpy") as file:
            self.metadata = dict(file.metadata())
            self.tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.graph: Any = json.loads(self.metadata["graph"])

    def op(self, name: str) -> dict[str, Any]:
        return next(entry for entry in self.graph["ops"] if entry["name"] == name)

    def bytes(self, sums: bool = True) -> bytes:
        if sums:
            if isinstance(self.graph, dict) and "sha256" in self.graph:
                self.graph["sha256"] = {name: self.digest(value) for name, value in self.tensors.items()}
            graph = json.dumps(self.graph)
            self.metadata |= {"graph": graph, "sha256": hashlib.sha256(graph.encode()).hexdigest()}
        header: dict[str, Any] = {"__metadata__": self.metadata}
        data = b""
        for name, value in self.tensors.items():
            raw = value.tobytes()
            header[name] = {
                "dtype": DTYPES[value.dtype.name],
                "shape": list(value.shape),
                "data_offsets": [len(data), len(data) + len(raw)],
            }
            data += raw
        text = json.dumps(header).encode()
        return struct.pack("<Q", len(text)) + text + data

    def write(self, sums: bool = True) -> Path:
        self.path.write_bytes(self.bytes(sums))
        return self.path

    @staticmethod
    def digest(value: Any) -> str:
        shape = ", ".join(str(n) for n in value.shape)
        return hashlib.sha256(
            f"{value.dtype.kind}{value.dtype.itemsize}[{shape}]".encode() + value.tobytes()
        ).hexdigest()


def test_the_page_suffices_to_write_a_file(spk: Path, residual_net: Any, same: Any) -> None:
    """Another writer: other order and spacing, the same network."""
    before = spk.read_bytes()
    forger = Forger(spk)
    forger.tensors = dict(reversed(forger.tensors.items()))
    assert forger.write().read_bytes() != before
    assert same(load(spk), residual_net)


# Every change keeps the checksums right: what is caught is the content.
Change = Callable[[Forger], Any]


def put(name: str, key: str, value: Any) -> Change:
    return lambda f: f.op(name).__setitem__(key, value)


def top(key: str, value: Any) -> Change:
    return lambda f: f.graph.__setitem__(key, value)


def tensor(name: str, make: Callable[[Any], Any]) -> Change:
    return lambda f: f.tensors.__setitem__(name, make(f.tensors[name]))


def rename_metadata(f: Forger) -> None:
    f.metadata["note"] = "x"


def swap_ops(f: Forger) -> None:
    f.graph["ops"][1], f.graph["ops"][2] = f.graph["ops"][2], f.graph["ops"][1]


def raise_one(value: Any) -> Any:
    changed = value.copy()
    changed.flat[0] += 1
    return changed


DEEP: Any = 1
for _ in range(400):
    DEEP = [DEEP]

TAMPERED: list[tuple[Change, str]] = [
    (rename_metadata, "the metadata must have the keys"),
    (lambda f: f.metadata.update(format="other"), "format must be 'spikepack-network', got 'other'"),
    (top("version", 3), "version must be 1 or 2, got 3; use the release that wrote it"),
    (top("version", True), "version must be 1 or 2, got True"),
    (top("version", None), "version must be 1 or 2, got None"),
    (put("pool", "kind", "max_pool2d"), "operation kind must be one of"),
    (top("tau", 1.5), "tau must be 2, got 1.5"),
    (top("tau", 2.0), "tau must be 2, got 2.0"),
    (top("extra", 1), "the graph must have the keys"),
    (lambda f: f.graph.pop("golden"), "the graph must have the keys"),
    (lambda f: setattr(f, "graph", []), "the graph must be a JSON object, got list"),
    (lambda f: setattr(f, "graph", {}), "version must be 1 or 2, got None"),
    (lambda f: setattr(f, "graph", float("nan")), "the graph must be JSON, got NaN is no JSON number"),
    (top("time_steps", 0), "Network: time_steps must be an integer in 1..16, got 0"),
    (top("time_steps", "4"), "got '4'"),
    (top("time_steps", 10**40), "time_steps must be an integer in 1..16"),
    (top("time_steps", 3), "input 'x' has 4 time steps, more than the window of 3"),
    (top("ops", 3), "ops must be a list of JSON objects"),
    (top("ops", ["x"]), "ops must be a list of JSON objects"),
    (top("ops", {"a": {}}), "ops must be a list of JSON objects"),
    (top("ops", []), "needs at least one input and one readout"),
    (top("provenance", {"a": 3}), "provenance must map text to text"),
    (top("provenance", DEEP), "provenance must map text to text"),
    (top("golden", ["x"]), "golden must list nothing or"),
    (top("golden", [{}]), "golden must list nothing or"),
    (top("golden", []), "the golden tensors must be those that golden lists"),
    (lambda f: f.tensors.pop("golden/n1"), "the golden tensors must be those that golden lists"),
    (
        tensor("golden/n1", lambda v: v.astype(np.int64)),
        "golden codes of 'n1' must have dtype uint8, got int64",
    ),
    (tensor("golden/n1", raise_one), "golden codes of 'n1' do not match the network"),
    (tensor("golden/out", raise_one), "golden codes of 'out' do not match the network"),
    (tensor("golden/n1", lambda v: v[:2]), "golden codes of 'n1' do not match the network"),
    (tensor("golden/x", lambda v: v[:, :1]), "the golden samples cannot run"),
    (
        tensor("golden/x", lambda v: v * 0 + 16),
        "the golden samples cannot run (input 'x': codes must be in -15",
    ),
    (tensor("ops/c1/weight", raise_one), "golden codes of 'n1' do not match the network"),
    (tensor("ops/c1/weight", lambda v: v.astype(np.int64)), "weight must have dtype int32, got int64"),
    (tensor("ops/c1/weight", lambda v: v.astype(bool)), "weight must have dtype int32, got bool"),
    (tensor("ops/c1/weight", lambda v: v[0]), "conv2d 'c1': weight must be [out, in / groups, k_h, k_w]"),
    (tensor("ops/c1/weight", lambda v: v[:, :0]), "conv2d 'c1': weight must be"),
    (tensor("ops/c1/weight", lambda v: v * 0 - 129), "weights must be in -128..127 to fit 8 bit(s)"),
    (tensor("ops/n1/threshold", lambda v: v * 0), "neuron 'n1': threshold must be in 1..524288"),
    (tensor("ops/n1/bias", lambda v: v * 0 + (2**31 - 1)), "can reach 2147"),
    (tensor("ops/out/scale", lambda v: v * np.nan), "readout 'out': scale must be finite"),
    (lambda f: f.tensors.pop("ops/c1/weight"), "tensor 'ops/c1/weight' is missing"),
    (
        lambda f: f.tensors.update({"ops/c9/weight": np.ones(1, np.int32)}),
        "tensors ['ops/c9/weight'] belong to no",
    ),
    (lambda f: f.tensors.update({"golden/c1": np.ones(1, np.int32)}), "the golden tensors must be those"),
    (put("c1", "kind", "conv3d"), "operation kind must be one of"),
    (put("c1", "kind", ["conv2d"]), "operation kind must be one of"),
    (put("c1", "kind", "dense"), "dense 'c1' must have the keys"),
    (put("c1", "bias", 0), "conv2d 'c1' must have the keys"),
    (lambda f: f.op("c1").pop("stride"), "conv2d 'c1' must have the keys"),
    (put("c1", "name", "../c1"), "tensor 'ops/../c1/weight' is missing"),
    (put("cat", "name", "../cat"), "concat: name must be 1..200 characters"),
    (put("cat", "name", 7), "concat: name must be"),
    (put("cat", "name", "n1"), "the name 'n1' is used twice"),
    (put("c1", "dilation", 1), "conv2d 'c1': dilation must be a list, got 1"),
    (put("c1", "inputs", "x"), "inputs must be a list of names, got 'x'"),
    (put("c1", "inputs", {"x": 1}), "inputs must be a list of names"),
    (put("c1", "inputs", [["x"]]), "inputs must be a list of names"),
    (put("c1", "inputs", ["nil"]), "conv2d 'c1' reads 'nil', which is not defined before it"),
    (put("c1", "inputs", ["n3"]), "conv2d 'c1' reads 'n3', which is not defined before it (or is a cycle)"),
    (put("n1", "inputs", ["x"]), "neuron 'n1' needs currents, but 'x' emits spikes"),
    (swap_ops, "which is not defined before it"),
    (put("c1", "stride", [2, 2]), "dense 'fc': input must have shape (32,), got (8,)"),
    (put("c1", "stride", [0, 1]), "stride must be an integer in 1.."),
    (put("c1", "stride", None), "stride must be an integer"),
    (put("c1", "padding", [67108864, 0]), "one sample may hold at most 67108864 values"),
    (put("c1", "dilation", [3, 3]), "does not fit"),
    (put("c1", "groups", True), "groups must be an integer in 1..4, got True"),
    (put("c1", "groups", 4), "input must have shape (4, H, W)"),
    (put("c1", "weight_bits", 7), "weights must be in -64..63 to fit 7 bit(s)"),
    (put("c1", "weight_bits", 8.0), "weight_bits must be an integer in 1..16, got 8.0"),
    (put("n1", "signed", 1), "signed must be True or False, got 1"),
    (put("n1", "signed", True), "golden codes of 'n1' must have dtype int8, got uint8"),
    (put("n1", "rounding", "floor"), "golden codes of 'n1' do not match the network"),
    (put("n1", "rounding", []), "rounding must be"),
    (put("n1", "time_steps", 3), "do not match the network"),
    (put("n1", "state_bits", 12), "neuron 'n1': neuron"),
    (put("n1", "state_bits", 2**70), "state_bits must be an integer in 8..32"),
    (put("x", "shape", [2, 10**9, 10**9]), "shape must be an integer in 1.."),
    (put("x", "shape", [2, 4.0, 4]), "got 4.0"),
    (put("x", "shape", 4), "shape must be 1..8 integers, got 4"),
]


@pytest.mark.parametrize(("change", "text"), TAMPERED)
def test_tampered_files_are_named(change: Change, text: str, spk: Path, refusal: Any) -> None:
    forger = Forger(spk)
    change(forger)
    assert text in refusal(forger.write())


def test_golden_samples_may_be_left_unchecked(spk: Path, residual_net: Any, same: Any) -> None:
    forger = Forger(spk)
    forger.tensors["golden/n1"] = raise_one(forger.tensors["golden/n1"])
    assert same(load(forger.write(), verify=False), residual_net)


def test_an_overflowing_network_is_a_bound_error(spk: Path) -> None:
    forger = Forger(spk)
    forger.op("n1")["state_bits"] = 12
    with pytest.raises(BoundError, match=r"net\.spk: neuron 'n1': neuron .* state_bits is 12; use fewer"):
        load(forger.write())


def test_checksums_guard_tensors_and_graph(spk: Path, refusal: Any) -> None:
    forger = Forger(spk)
    forger.tensors["ops/c1/weight"] = raise_one(forger.tensors["ops/c1/weight"])
    assert "tensor 'ops/c1/weight' does not match its checksum" in refusal(forger.write(sums=False))
    forger = Forger(spk)
    forger.metadata["graph"] = forger.metadata["graph"].replace('"state_bits":24', '"state_bits":25', 1)
    assert "the graph does not match its checksum" in refusal(forger.write(sums=False))
    forger.tensors["more"] = np.ones(1)
    forger.metadata["graph"] = json.dumps(forger.graph)
    forger.metadata["sha256"] = hashlib.sha256(forger.metadata["graph"].encode()).hexdigest()
    assert "the tensors must be those the graph lists, got a difference in ['more']" in refusal(
        forger.write(sums=False)
    )


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        ("", "the graph must be JSON"),
        ("{", "the graph must be JSON"),
        ("[" * 100_000, "the graph must be JSON, got"),
        ('{"version": 1, "version": 1}', "a key appears twice"),
        ('{"version": Infinity}', "Infinity is no JSON number"),
        ('{"version": ' + "9" * 5000 + "}", "; "),
        ('{"version": 1, "sha256": 3}', "a checksum for each tensor"),
    ],
    ids=range(7),
)
def test_texts_that_are_no_graph(graph: str, text: str, spk: Path, refusal: Any) -> None:
    forger = Forger(spk)
    forger.metadata |= {"graph": graph, "sha256": hashlib.sha256(graph.encode()).hexdigest()}
    assert text in refusal(forger.write(sums=False))


@pytest.mark.parametrize("dtype", ["BF16", "F8_E4M3", "F8_E8M0", "F4"])
def test_dtypes_without_numpy_are_refused(dtype: str, spk: Path, refusal: Any) -> None:
    header = json.dumps(
        {"a": {"dtype": dtype, "shape": [4], "data_offsets": [0, 8 if dtype == "BF16" else 4]}}
    )
    spk.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(8 if dtype == "BF16" else 4))
    assert "must be a whole safetensors file of integers and floats" in refusal(spk)


def test_forged_values_anywhere(spk: Path, outcome: Any) -> None:
    """Any JSON value at any place of the graph, checksums recomputed: a network or one sentence."""
    original = Forger(spk)
    scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
    values = st.recursive(
        scalars, lambda s: st.lists(s, max_size=3) | st.dictionaries(st.text(max_size=5), s)
    )

    @settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data(), values | st.integers(-1, 9) | st.lists(st.integers(0, 9), min_size=1, max_size=3))
    def check(data: st.DataObject, value: Any) -> None:
        forger = Forger.__new__(Forger)
        forger.path, forger.tensors = spk, dict(original.tensors)
        forger.metadata, forger.graph = dict(original.metadata), json.loads(json.dumps(original.graph))
        places = [(forger.graph, key) for key in sorted(forger.graph) if key != "sha256"]
        places += [(entry, key) for entry in forger.graph["ops"] for key in sorted(entry)]
        holder, key = data.draw(st.sampled_from(places))
        holder[key] = value
        spk.write_bytes(forger.bytes())
        result = outcome(spk)
        assert not isinstance(result, str) or result.startswith(f"{spk}: ")

    check()
