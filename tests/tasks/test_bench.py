"""``spikepack bench tasks``: the smoke test runs, its result holds what its table shows, tasks are kept."""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from spikejelly_pack import cli
from spikejelly_pack.spec.errors import ParameterError

TASKS = ["classification", "transformer", "detection", "instance segmentation", "segmentation"]


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> tuple[Path, str]:
    """The file that the smoke test wrote, and what it printed."""
    path, shown = tmp_path_factory.mktemp("bench") / "r.json", io.StringIO()
    with contextlib.chdir(repository), contextlib.redirect_stdout(shown):
        assert cli.main(["bench", "tasks", "--fast", "--json", str(path)]) == 0
    return path, shown.getvalue()


@pytest.fixture
def tasks(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(repository))
    yield importlib.import_module("benchmarks.tasks")
    for name in [name for name in sys.modules if name.partition(".")[0] == "benchmarks"]:
        del sys.modules[name]


def test_bench_tasks(smoke: tuple[Path, str]) -> None:
    result, shown = json.loads(smoke[0].read_text()), smoke[1]
    assert list(result["tasks"]) == TASKS
    assert result["tasks"]["classification"]["source"]["top1"] > 60
    assert list(result["tasks"]["instance segmentation"]["source"]) == ["map", "mask map"]
    for entry in result["tasks"].values():
        tensor, channels, chosen, *baselines = entry["conversions"]
        assert (tensor["recipe"], chosen["tried"][0]["calibrator"]) == ("SpikePack", "99.9%")
        best = max(sum(one["validation"].values()) for one in chosen["tried"])
        tried = [one for one in chosen["tried"] if sum(one["validation"].values()) == best]
        assert chosen["chosen"] == {k: v for k, v in tried[0].items() if k != "validation"}
        for row in (tensor, channels, chosen):
            assert row["coverage"] == 1.0
            assert row["lost"] == {m: entry["source"][m] - row["scores"][m] for m in entry["source"]}
        assert len(baselines) == 3
    refused = {
        (name, row["recipe"].removeprefix("SpikingJelly "))
        for name, entry in result["tasks"].items()
        for row in entry["conversions"]
        if "refused" in row
    }
    recipes = ("rate coding", "threshold balancing", "STA")
    every = {(name, recipe) for name in ("detection", "instance segmentation") for recipe in recipes}
    every |= {("transformer", "rate coding"), ("transformer", "threshold balancing")}
    assert refused == every | {(name, "STA") for name in ("classification", "segmentation")}
    assert len(result["goals"]) == 6
    assert all(goal in shown for goal in result["goals"])


def test_stored_tasks_are_kept(
    smoke: tuple[Path, str], tasks: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second call trains nothing; other sizes are refused."""
    store = smoke[0]
    before = store.read_text()
    monkeypatch.setattr(tasks, "MAKERS", dict.fromkeys(tasks.MAKERS))
    result = tasks.run(**tasks.FAST, store=store)
    assert store.read_text() == before
    assert tasks.table(result).count("| source |") == 5
    with pytest.raises(ParameterError, match="must hold results of this run's sizes to go on with"):
        tasks.run(**{**tasks.FAST, "tests": 9}, store=store)
    with pytest.raises(ParameterError, match="size must be a multiple of 8"):
        tasks.run(size=30)


def test_goals_are_about_the_chosen_conversion(tasks: ModuleType) -> None:
    def row(recipe: str, steps: int, lost: float) -> dict[str, Any]:
        return {"recipe": recipe, "time_steps": steps, "lost": {"map": lost}}

    entry = {
        "conversions": [
            row("SpikePack", 8, 0.0), row(tasks.PER_CHANNEL, 8, 0.6), row("SpikingJelly STA", 8, 9.0),
            row(tasks.PER_CHANNEL, 4, 0.1), row(tasks.CHOSEN, 4, 1.0),
            {"recipe": "SpikingJelly rate coding", "refused": "why"},
        ]
    }  # fmt: skip
    assert tasks._goals({"detection": entry}) == {
        "detection, T = 8: at most 0.5 points of map lost": {"lost": 0.6, "met": False},
        "detection, T = 4: at most 1.0 points of map lost": {"lost": 1.0, "met": True},
    }


def test_the_best_on_validation_data_is_chosen(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the best on the test data."""
    monkeypatch.setattr(tasks, "_converted", lambda _task, _steps, options: options["calibrator"])
    validation = {"mse": 1.0, "99.9%": 3.0, "max": 3.0, None: 5.0}
    tests = {"mse": 9.0, "99.9%": 2.0, "max": 8.0, None: 9.0}
    task = tasks.Task(
        None, [], lambda net: {"map": tests[net]}, lambda net: {"map": validation[net]}, 0.0
    )  # fmt: skip
    monkeypatch.setattr(tasks, "FIXED", {})
    candidates = [{"calibrator": name, "improve": ()} for name in ("mse", "99.9%", "max")]
    (row,) = tasks._conversions(task, {"map": 9.0}, 4, candidates, lambda _line: None)
    assert row["chosen"]["calibrator"] == "99.9%"
    assert row["lost"] == {"map": 7.0}
    assert [one["validation"]["map"] for one in row["tried"]] == [1.0, 3.0, 3.0]
