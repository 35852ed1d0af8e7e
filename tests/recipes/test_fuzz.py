"""Altered files of converted networks give a network or the documented error: never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikejelly_pack import convert
from spikejelly_pack.recipes.files import read_about, write_tensors
from spikejelly_pack.recipes.stored_graph import graph_of, network_from
from spikejelly_pack.recipes.tree.places import Plan
from spikejelly_pack.spec.errors import SpikePackError

EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(100_000, marks=pytest.mark.fuzz)])


class Branched(nn.Module):
    """A sum, a pool and two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.skip = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(1, 2, 1)
        self.pool, self.head = nn.MaxPool2d(2), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = torch.relu(self.conv(x) + self.skip(x))
        return self.head(torch.flatten(self.pool(y), 1))


def branched() -> Any:
    torch.manual_seed(0)  # of some draws a layer is dead
    return Branched()


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))


@EXAMPLES
def test_altered_graph(batch: torch.Tensor, fuzzing: Any, examples: int) -> None:
    """What a file of the FX route holds."""
    snn = convert(branched(), [batch], time_steps=3, route="fx", progress=False)
    tensors, stored = snn.state_dict(), json.loads(json.dumps(graph_of(snn)))

    def check(changed: Any) -> None:
        _, said = fuzzing.outcome(lambda graph: network_from(graph, tensors), changed, SpikePackError)
        assert "\n" not in said

    fuzzing.run(fuzzing.altered_json(stored), check, examples)


@EXAMPLES
def test_altered_plan(batch: torch.Tensor, fuzzing: Any, examples: int) -> None:
    """What a file of the module route holds."""
    snn: Any = convert(branched(), [batch], time_steps=3, route="module", progress=False)
    stored = json.loads(bytes(snn.plan.to_tensor().tolist()))

    def check(changed: Any) -> None:
        data = torch.frombuffer(bytearray(json.dumps(changed).encode()), dtype=torch.uint8)
        _, said = fuzzing.outcome(Plan.from_tensor, data, SpikePackError)
        assert "\n" not in said

    fuzzing.run(fuzzing.altered_json(stored), check, examples)


@EXAMPLES
def test_altered_bytes(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """The container of both."""
    path = tmp_path / "net.safetensors"
    write_tensors(path, {"a": torch.ones(3), "b": torch.zeros(2, 2)}, "about", {"version": 1})
    content = path.read_bytes()

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        _, said = fuzzing.outcome(lambda file: read_about(file, "about", "convert"), path, SpikePackError)
        assert "\n" not in said

    fuzzing.run(fuzzing.altered_bytes(content), check, examples)


def test_a_layer_named_like_a_keyword_is_refused(batch: torch.Tensor) -> None:
    """torch.fx writes names into code; only such a file brings it one that is no name there."""
    snn = convert(branched(), [batch], time_steps=3, route="fx", progress=False)
    stored = json.loads(json.dumps(graph_of(snn)))
    stored["modules"]["if"] = stored["modules"].pop("head")
    for node in stored["nodes"]:
        node["target"] = "if" if node.get("target") == "head" else node.get("target")
    tensors = {name.replace("head.", "if."): value for name, value in snn.state_dict().items()}
    with pytest.raises(SpikePackError, match="must hold a converted network, got SyntaxError"):
        network_from(stored, tensors)
