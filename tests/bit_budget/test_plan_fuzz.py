"""Altered plan files give a plan or the documented error: never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spikejelly_pack.bit_budget.plan import BudgetPlan, read_plan, write_plan
from spikejelly_pack.spec.errors import ExchangeFileError

EXAMPLES = pytest.mark.parametrize("examples", [150, pytest.param(100_000, marks=pytest.mark.fuzz)])


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    path = tmp_path / "plan.json"
    loss = {"name": "mse", "value": 0.1, "held_out": None}
    made = BudgetPlan(
        "net", "fx", "0" * 64, {"a": 4, "b": 2}, {"conv": 8}, {"conv": [2, 2, 3, 3]}, "sace", 1e6, 9e5, loss
    )
    write_plan(made, path)
    assert read_plan(path) == made
    return path


def reads_or_refuses(path: Path, fuzzing: Any) -> None:
    found, said = fuzzing.outcome(read_plan, path, ExchangeFileError)
    assert said.startswith(str(path)) or isinstance(found, BudgetPlan)


@EXAMPLES
def test_altered_content(plan: Path, fuzzing: Any, examples: int) -> None:
    def check(changed: Any) -> None:
        fuzzing.put(plan, json.dumps(changed))
        reads_or_refuses(plan, fuzzing)

    fuzzing.run(fuzzing.altered_json(json.loads(plan.read_text("utf-8"))), check, examples)


@EXAMPLES
def test_altered_bytes(plan: Path, fuzzing: Any, examples: int) -> None:
    def check(data: bytes) -> None:
        fuzzing.put(plan, data)
        reads_or_refuses(plan, fuzzing)

    fuzzing.run(fuzzing.altered_bytes(plan.read_bytes()), check, examples)


def test_endless_nesting_is_refused(plan: Path) -> None:
    plan.write_text("[" * 100_000, "utf-8")
    with pytest.raises(ExchangeFileError, match="RecursionError"):
        read_plan(plan)


@pytest.mark.parametrize("option", ["resume", "device", "route", "forward"])
def test_a_plan_sets_no_option_that_names_files_or_code(option: str, plan: Path) -> None:
    """They go to the conversion; ``resume`` would write the file that it names."""
    content = json.loads(plan.read_text("utf-8"))
    plan.write_text(json.dumps({**content, "conversion": {option: "elsewhere"}}), "utf-8")
    with pytest.raises(ExchangeFileError, match=rf"options of the conversion \['{option}'\]"):
        read_plan(plan)
