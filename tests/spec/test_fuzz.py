"""Altered files give a network, a target or the documented error: never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spikejelly_pack.spec import container
from spikejelly_pack.spec.container import pack_file, read_file
from spikejelly_pack.spec.errors import ExchangeFileError, ParameterError, SpikePackError
from spikejelly_pack.spec.exchange import load
from spikejelly_pack.spec.graph import Network
from spikejelly_pack.spec.targets import Target, load_target
from spikejelly_pack.spec.targets import target as targets

EXAMPLES = pytest.mark.parametrize("examples", [150, pytest.param(100_000, marks=pytest.mark.fuzz)])


@EXAMPLES
def test_altered_bytes_of_a_network(
    spk: Path, residual_net: Any, same: Any, fuzzing: Any, examples: int
) -> None:
    """The checksums see every change that matters: the network is the same or refused."""

    def check(data: bytes) -> None:
        fuzzing.put(spk, data)
        network, said = fuzzing.outcome(load, spk, ExchangeFileError)
        assert said.startswith(str(spk)) or same(network, residual_net)

    fuzzing.run(fuzzing.altered_bytes(spk.read_bytes()), check, examples)


@EXAMPLES
def test_altered_graph_of_a_network(
    spk: Path, fuzzing: Any, examples: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With right checksums: a network or one sentence that names the file."""
    monkeypatch.setattr(container, "_canonical", json.dumps)  # the writer itself refuses infinities
    tensors, document = read_file(spk)
    del document["sha256"]

    def check(changed: Any) -> None:
        fuzzing.put(spk, pack_file(tensors, changed))
        network, said = fuzzing.outcome(load, spk, SpikePackError)
        assert said.startswith(str(spk)) or isinstance(network, Network)
        assert "\n" not in said

    fuzzing.run(fuzzing.altered_json(document), check, examples)


@EXAMPLES
def test_altered_target(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """A target file: a target or one sentence."""
    path = tmp_path / "device.json"
    entries = json.loads((targets._DEVICES / "loihi2.json").read_text("utf-8"))

    def check(changed: Any) -> None:
        fuzzing.put(path, json.dumps(changed))
        target, said = fuzzing.outcome(load_target, path, SpikePackError)
        assert said or isinstance(target, Target)
        assert "\n" not in said

    fuzzing.run(fuzzing.altered_json(entries), check, examples)


@EXAMPLES
def test_altered_bytes_of_a_target(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path = tmp_path / "device.json"

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        target, said = fuzzing.outcome(load_target, path, ParameterError)
        assert said or isinstance(target, Target)

    fuzzing.run(fuzzing.altered_bytes((targets._DEVICES / "loihi2.json").read_bytes()), check, examples)
