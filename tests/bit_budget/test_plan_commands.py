"""``spikepack budget plan`` and ``spikepack convert --plan`` on a small network and a folder of pictures."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from spikejelly_pack import cli
from spikejelly_pack.bit_budget.plan import convert_with_plan, read_plan
from spikejelly_pack.bit_budget.quantize import bake_weights
from spikejelly_pack.cli import budget_plan
from spikejelly_pack.data.scenes import SceneGenerator
from spikejelly_pack.data.writers import write_image_folder
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import ParameterError, SpikePackError
from spikejelly_pack.tasks.folders import Preprocessing, open_data
from spikejelly_pack.tasks.models import build_model
from spikejelly_pack.tasks.saved import load_conversion
from spikejelly_pack.tasks.weights import load_weights, read_weights

NETS = """
from torch import nn

def net(outputs=4):
    return nn.Sequential(
        nn.Conv2d(3, 6, 3, 4), nn.ReLU(), nn.Conv2d(6, 6, 3, 2), nn.ReLU(), nn.Flatten(),
        nn.Linear(54, outputs),
    )

def other():
    return net(5)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plans")
    (folder / "nets.py").write_text(NETS)
    torch.manual_seed(0)
    for name in ("net", "other"):
        state = build_model(f"{folder / 'nets.py'}:{name}").state_dict()
        safetensors.torch.save_file(state, folder / f"{name}.safetensors")
    write_image_folder(folder / "classes", SceneGenerator(32, (1, 3), seed=5), "test", 24)
    return folder


def plan_command(place: Path, out: Path, *more: str, limit: str = "600000") -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    budget_plan.add_arguments(parser)
    return budget_plan.run(parser.parse_args([
        f"{place / 'nets.py'}:net", "--weights", str(place / "net.safetensors"), "--data",
        str(place / "classes"), "--task", "classification", "--batch", "6", "--steps", "1,2,4", "--bits",
        "2,4,8", "--max-sace", limit, "--out", str(out), *more,
    ]))  # fmt: skip


def convert_command(place: Path, plan: Path, out: Path, *more: str, name: str = "net") -> int:
    return cli.main([
        "convert", "--model", f"{place / 'nets.py'}:{name}", "--weights", str(place / f"{name}.safetensors"),
        "--data", str(place / "classes"), "--task", "classification", "--out", str(out), "--plan", str(plan),
        "--batch", "6", *more,
    ])  # fmt: skip


@pytest.mark.parametrize("route", ["fx", "module"])
def test_plan_then_convert(
    place: Path, tmp_path: Path, route: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plan_file, figure = tmp_path / "plan.json", tmp_path / "front.svg"
    found = plan_command(place, plan_file, "--route", route, "--figure", str(figure))
    assert found["cost"] <= 600_000
    assert 0 <= found["agreement"] <= 1
    assert "<svg" in figure.read_text()
    assert f"{found['cost']:,.0f} of 600,000 S-ACE per inference" in capsys.readouterr().out
    plan = read_plan(plan_file)
    assert plan.route == route
    assert [point["cost"] for point in plan.pareto] == sorted(point["cost"] for point in plan.pareto)

    out, facts = tmp_path / "net.safetensors", tmp_path / "facts.json"
    assert convert_command(place, plan_file, out, "--json", str(facts)) == 0
    said = json.loads(facts.read_text())
    assert said["weight_bits"] == plan.weight_bits
    assert said["route"] == route
    reference = f"{place / 'nets.py'}:net"
    rebuilt, _ = load_conversion(out, reference)
    source = build_model(reference)
    load_weights(source, read_weights(str(place / "net.safetensors"), reference))
    batches = open_data(place / "classes", "classification", Preprocessing(), batch=6)
    expected = bake_weights(convert_with_plan(source, batches, plan, progress=False))
    images, _ = next(iter(batches))
    with torch.no_grad():
        assert torch.equal(rebuilt(images), expected(images))


def test_refusals(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan_file = tmp_path / "plan.json"
    with pytest.raises(ParameterError, match=r"the budget must be at least [\d.e+]+, .* got 10; raise it"):
        plan_command(place, plan_file, limit="10")
    assert not plan_file.exists()
    for more, message in (
        (["--bits", "2,x"], "--bits must be whole numbers"),
        (["--bits", "0,2"], r"weight bits must be an integer in 1\.\.16, got 0"),
        (["--steps", "17"], r"time_steps must be an integer in 1\.\.16, got 17"),
        (["--task", "detection"], "--task must be classification or segmentation, got detection"),
        (["--out", str(tmp_path)], "must be a file, got a folder"),
    ):
        with pytest.raises(SpikePackError, match=message):
            plan_command(place, plan_file, *more)

    plan_command(place, plan_file)
    capsys.readouterr()
    assert convert_command(place, plan_file, tmp_path / "x.safetensors", name="other") == 2
    said = capsys.readouterr().err
    assert "the plan must be applied to the network it was made for" in said
    assert len(said.strip().splitlines()) == 1
    assert convert_command(place, plan_file, tmp_path / "x.safetensors", "--sweep", "2,4") == 2
    assert "--plan must come without --sweep" in capsys.readouterr().err
    assert convert_command(place, tmp_path / "none.json", tmp_path / "x.safetensors") == 2
    assert "must be a plan file that exists" in capsys.readouterr().err


def test_embedded_digits(place: Path, tmp_path: Path) -> None:
    """``--data digits`` needs no folder."""
    (tmp_path / "small.py").write_text(
        "from torch import nn\n"
        "def net():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10))\n"
    )
    parser = argparse.ArgumentParser()
    budget_plan.add_arguments(parser)
    found = budget_plan.run(parser.parse_args([
        f"{tmp_path / 'small.py'}:net", "--data", "digits", "--samples", "64", "--steps", "2,3",
        "--bits", "2,4", "--max-memory", "4000", "--out", str(tmp_path / "plan.json"),
    ]))  # fmt: skip
    memory = sum(n * b for n, b in zip((1024, 160), found["weight_bits"].values(), strict=True))
    codes = sum(n * t for n, t in zip((64, 16), _ordered(found["time_steps"]), strict=True))
    assert found["cost"] == memory + codes <= 4000


def _ordered(steps: dict[str, int]) -> list[int]:
    """T of the encoder, then of the hidden layer."""
    return [t for _, t in sorted(steps.items(), key=lambda item: not item[0].startswith("encoder"))]


def test_plan_then_export(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Quantized weights go to the file as they are; the module route has no integer form."""
    x = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    np.save(tmp_path / "x.npy", x.numpy())
    codes: dict[str, Any] = {}
    for route in ("module", "fx"):
        plan_command(place, tmp_path / f"{route}.json", "--route", route)
        codes[route] = cli.main([
            "export", f"{place / 'nets.py'}:net", "--weights", str(place / "net.safetensors"), "--data",
            str(tmp_path / "x.npy"), "--plan", str(tmp_path / f"{route}.json"), "--out",
            str(tmp_path / "net.spk"),
        ])  # fmt: skip
    assert codes == {"module": 2, "fx": 0}
    assert "whose networks have no integer form" in capsys.readouterr().err
    plan = read_plan(tmp_path / "fx.json")
    network = exchange.load(tmp_path / "net.spk")
    assert network.time_steps == max(plan.time_steps.values())
    assert sorted(op.time_steps for op in (*network.inputs, *network.neurons)) == sorted(
        plan.time_steps.values()
    )
    for synapse, bits in zip(network.synapses, plan.weight_bits.values(), strict=True):
        rows = synapse.weights().reshape(len(synapse.weights()), -1)
        levels = max(len(np.unique(np.abs(row))) for row in rows)
        assert levels <= max(2, 1 << (bits - 1)), synapse.name  # magnitudes of b-bit integers


def test_plan_for_training(place: Path, tmp_path: Path) -> None:
    found = plan_command(place, tmp_path / "plan.json", "--tune", "1")
    plan = read_plan(tmp_path / "plan.json")
    assert found["loss"] == plan.loss
    assert plan.loss["trained"] >= 2
    assert plan.uniform is not None
    assert plan.loss["held_out"] is not None
    with pytest.raises(ParameterError, match="epochs must be an integer >= 1, got -1"):
        plan_command(place, tmp_path / "plan.json", "--tune", "-1")
