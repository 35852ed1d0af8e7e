"""Altered calibrations, graphs and plans in whole files give what they hold or the documented error."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from spikejelly_pack import convert
from spikejelly_pack.recipes import SpikePackNetwork
from spikejelly_pack.recipes.files import write_tensors
from spikejelly_pack.recipes.resume import KEY, Resume, stored_route
from spikejelly_pack.recipes.stored_graph import KEY as GRAPH
from spikejelly_pack.recipes.stored_graph import VERSION, graph_of, load_graph
from spikejelly_pack.spec.errors import ExchangeFileError, SpikePackError

EXAMPLES = pytest.mark.parametrize("examples", [50, pytest.param(100_000, marks=pytest.mark.fuzz)])
FEWER = pytest.mark.parametrize("examples", [20, pytest.param(10_000, marks=pytest.mark.fuzz)])


def source() -> Any:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)).eval()


@pytest.fixture(scope="module")
def batch() -> torch.Tensor:
    return torch.rand(6, 3, generator=torch.Generator().manual_seed(0))


class Seen:
    """Statistics as an observer's."""

    def __init__(self) -> None:
        self.sum, self.count = torch.zeros(4), 0

    def state(self) -> Any:
        return {"a|sum": self.sum}, {"a": {"count": self.count}}

    def restore(self, tensors: Any, facts: Any) -> None:
        self.sum, self.count = tensors["a|sum"].clone(), facts["a"]["count"]


@EXAMPLES
def test_altered_calibration(tmp_path: Path, batch: torch.Tensor, fuzzing: Any, examples: int) -> None:
    """The statistics are those of the file, or one sentence says that it is damaged."""
    path, model, stored = tmp_path / "calibration.safetensors", source(), Seen()
    stored.sum, stored.count = torch.arange(4.0), 12

    def resumed(seen: Seen) -> Any:
        resume = Resume(path)
        resume.belongs_to(model, "fx", {"calibrator": "mse"})
        return [new for _, new in resume.over([batch, batch], seen)]

    assert resumed(stored) == [True, True]
    original = path.read_bytes()
    with safetensors.safe_open(path, "pt") as file:
        about, tensors = json.loads(file.metadata()[KEY]), safetensors.torch.load_file(path)
    content, damage = fuzzing.altered_json(about), fuzzing.altered_bytes(original)

    def read(place: Path) -> Seen:
        seen = Seen()
        assert stored_route(place) in (None, "fx") or seen.count == 0
        resumed(seen)
        return seen

    def check(made: tuple[str, Any]) -> None:
        path.unlink(missing_ok=True)
        fuzzing.put(path, made[1])
        found, said = fuzzing.outcome(read, path, SpikePackError)
        assert said or (found.count == 12 and torch.equal(found.sum, stored.sum))

    def in_file(random: Random) -> bytes:
        held = {**tensors, "a|sum": torch.rand(4)} if random.random() < 0.2 else tensors
        return safetensors.torch.save(held, {"format": "pt", KEY: json.dumps(content(random))})

    fuzzing.run(fuzzing.choice_of({"content": in_file, "bytes": damage}), check, examples)


@EXAMPLES
def test_altered_bytes_of_a_graph(tmp_path: Path, batch: torch.Tensor, fuzzing: Any, examples: int) -> None:
    path, snn = tmp_path / "net.safetensors", convert(source(), [batch], 3, progress=False)
    write_tensors(path, snn.state_dict(), GRAPH, {"version": VERSION, "graph": graph_of(snn)})
    original = path.read_bytes()

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        found, said = fuzzing.outcome(load_graph, path, ExchangeFileError)
        assert said or isinstance(found, nn.Module)

    fuzzing.run(fuzzing.altered_bytes(original), check, examples)


@FEWER
def test_altered_network(tmp_path: Path, batch: torch.Tensor, fuzzing: Any, examples: int) -> None:
    """The module route: the plan in the file against the tensors beside it."""
    path, snn = tmp_path / "net.safetensors", convert(source(), [batch], 3, route="module", progress=False)
    tensors = dict(snn.state_dict())
    plan = json.loads(bytes(tensors["plan_bytes"].tolist()))
    model = source()

    def check(changed: Any) -> None:
        text = bytearray(json.dumps(changed).encode())
        altered = {**tensors, "plan_bytes": torch.frombuffer(text, dtype=torch.uint8)}
        fuzzing.put(path, safetensors.torch.save(altered))
        found, said = fuzzing.outcome(lambda file: SpikePackNetwork.load(model, file), path, SpikePackError)
        assert said or isinstance(found, SpikePackNetwork)

    fuzzing.run(fuzzing.altered_json(plan), check, examples)


def test_a_plan_larger_than_its_file_is_refused(tmp_path: Path, batch: torch.Tensor) -> None:
    path, snn = tmp_path / "net.safetensors", convert(source(), [batch], 3, route="module", progress=False)
    tensors = dict(snn.state_dict())
    plan = json.loads(bytes(tensors["plan_bytes"].tolist()))
    place = next(iter(plan["places"].values()))
    next(iter(place["operands"].values()))["thresholds"] = 1 << 40
    text = bytearray(json.dumps(plan).encode())
    tensors["plan_bytes"] = torch.frombuffer(text, dtype=torch.uint8)
    safetensors.torch.save_file(tensors, path)
    with pytest.raises(ExchangeFileError, match="1099511627776 thresholds for 1 in the file"):
        SpikePackNetwork.load(source(), path)
