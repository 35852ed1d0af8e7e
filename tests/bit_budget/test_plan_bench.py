"""The benchmarks of the bit budget: splits, folding of real time, tables and figure; no measurement."""

from __future__ import annotations

import importlib.util
import math
import sys
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml

from spikejelly_pack.bit_budget.quantize import quantized_layers
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.spec.errors import ParameterError


def benchmark(repository: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        f"spikepack_bench_{name}", repository / f"benchmarks/{name}.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def budget(repository: Path) -> Any:
    return benchmark(repository, "budget")


@pytest.mark.parametrize(("total", "count"), [(4, 6), (8, 10), (16, 15), (32, 19)])
def test_every_split(budget: Any, total: int, count: int) -> None:
    found = budget.splits(total)
    assert len(found) == len(set(found)) == count
    assert all(math.prod(split) == total for split in found)
    assert max(max(w, s) for w, s, _ in found) == min(total, 16)
    assert max(t for _, _, t in found) == total


def test_fewer_windows_fold_real_time(budget: Any) -> None:
    clip = torch.arange(8.0).view(1, 8, 1, 1, 1)
    assert budget._windows(clip, 8, True).flatten().tolist() == list(range(8))
    assert budget._windows(clip, 2, True).flatten().tolist() == [6.0, 22.0]
    image = torch.rand(3, 1, 2, 2)
    assert torch.equal(budget._windows(image, 4, False), torch.stack([image] * 4, 1))


def test_run_continues_where_it_was(budget: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budget.tempfile, "gettempdir", lambda: str(tmp_path))
    options = {**budget.FAST, "datasets": ("digits",), "samples": 64, "store": True}
    result = budget.run(**options)
    rows = result["results"]["digits"]
    assert {(r["weight_bits"], r["spike_bits"], r["windows"]) for r in rows} == set(budget.splits(4))
    assert all(0 <= row["accuracy"] <= 100 for row in rows)
    monkeypatch.setattr(budget, "_train", lambda *_: pytest.fail("trained again"))
    assert budget.run(**options) == result
    assert "| digits | 4 |" in budget.table(result)
    assert budget.figure(result).count("<svg") == 1
    with pytest.raises(ParameterError, match=r"every budget must divide 4 frames, got \[32\]"):
        budget.run(**{**options, "budgets": (4, 32)})


def test_one_recipe_forgets_at_one_rate_in_real_time(budget: Any) -> None:
    """The leak over an eighth of a clip is that of the configuration, whatever the number of windows."""
    leaks = {windows: budget.RECIPES["events"].node(windows)["leak"] for windows in (1, 4, 8, 32)}
    config = files("spikejelly_pack.train.configs") / "events_cnn.yaml"
    told = yaml.safe_load(config.read_text())["model"]["neuron_args"]["SpikePackNode"]["leak"]
    assert all(leak ** (windows / 8) == pytest.approx(told, rel=1e-12) for windows, leak in leaks.items())
    assert {budget.RECIPES["events"].node(t)["carry"] for t in (1, 32)} == {"membrane"}
    assert budget.RECIPES["digits"].node(1) == budget.RECIPES["digits"].node(32)


def test_training_clips_are_drawn_again_and_test_clips_are_not(budget: Any) -> None:
    once, twice = (budget.RECIPES["events"].data(2, drawings) for drawings in (1, 2))
    assert torch.equal(once.test_inputs, twice.test_inputs)
    first, second = twice.train_inputs.split(len(once.train_inputs))
    assert torch.equal(first, once.train_inputs)
    assert not torch.equal(first, second)


def test_every_split_has_its_bits(budget: Any) -> None:
    net = budget.network(budget.RECIPES["events"], (3, 5, 4), 20)
    assert {quantizer.bits for quantizer in quantized_layers(net).values()} == {3}
    nodes = [module for module in net.modules() if isinstance(module, SpikePackNode)]
    assert [node.time_steps for node in nodes] == [5, 5, 5]
    assert net(torch.rand(2, 4, 2, 16, 16)).shape == (2, 20)


def test_direction_compares_within_a_budget(budget: Any) -> None:
    rows = [
        {"budget": 8, "weight_bits": 2, "spike_bits": s, "windows": t, "accuracy": a, "scores": [a, a + s]}
        for s, t, a in ((4, 1, 90.0), (2, 2, 80.0), (1, 4, 70.0))
    ]
    (found,) = budget._direction(rows)
    assert found["bits_minus_windows"] == 20.0
    assert found["by_seed"] == [20.0, 23.0]
    assert found["fewest_windows"] == [4, 1, 90.0]


def test_plan_benchmark(repository: Path) -> None:
    plan = benchmark(repository, "plan")
    result = plan.run(**{**plan.FAST, "budgets": (4.0,), "tuned": ()})
    (network,) = result["networks"]
    (row,) = network["budgets"]
    assert row["plan"]["cost"] <= 4.0
    assert row["uniform"]["cost"] <= 4.0
    assert set(result["goals"]["points_gained"]["converted"]) == {"4"}
    assert "| 4 |" in plan.table(result)
    with pytest.raises(ParameterError, match="seeds and budgets must hold at least one value"):
        plan.run(seeds=())


def test_goals_compare_at_equal_cost_and_at_equal_accuracy(repository: Path) -> None:
    plan = benchmark(repository, "plan")

    def side(cost: float, accuracy: float, tuned: float | None) -> dict[str, Any]:
        return {"cost": cost, "accuracy": accuracy, "tuned": tuned}

    network = {
        "float": 99.0,
        "uniform": [side(2.0, 50.0, 90.0), side(4.0, 80.0, 97.0), side(8.0, 98.2, None)],
        "budgets": [
            {"budget": 2.0, "uniform": side(2.0, 50.0, 90.0), "plan": side(1.5, 60.0, 89.0),
             "for_tuning": side(1.9, 40.0, 97.5)},
            {"budget": 3.0, "uniform": side(2.0, 50.0, None), "plan": side(2.9, 81.0, None)},
            {"budget": 6.0, "uniform": None, "plan": side(6.0, 98.5, None)},
        ],
    }  # fmt: skip
    goals = plan._goals([network])
    # the uniform choice leaves a third of 3 unspent: that budget compares nothing at equal cost
    assert goals["points_gained"] == {
        "converted": {"2": [10.0]}, "tuned": {"2": [-1.0]}, "planned for tuning": {"2": [7.5]}
    }  # fmt: skip
    saved = goals["saved_at_points_lost"]
    assert saved["converted"]["20"] == [1 - 2.9 / 4.0]
    assert saved["converted"]["1"] == [1 - 6.0 / 8.0]
    assert saved["converted"]["0.5"] == [None]
    assert saved["planned for tuning"]["2"] == [1 - 1.9 / 4.0]
    assert saved["tuned"]["2"] == [None]
