"""Altered energy tables give a table or the documented error: never anything else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from spikejelly_pack.spec import energy
from spikejelly_pack.spec.energy import DEFAULT_TABLE, EnergyTable, load_energy_table
from spikejelly_pack.spec.errors import ParameterError

EXAMPLES = pytest.mark.parametrize("examples", [150, pytest.param(100_000, marks=pytest.mark.fuzz)])
STORED = Path(energy.__file__).parent / "data" / f"{DEFAULT_TABLE}.json"


def reads_or_refuses(path: Path, fuzzing: Any) -> None:
    table, said = fuzzing.outcome(load_energy_table, path, ParameterError)
    if not said:
        assert isinstance(table, EnergyTable)
        table.addition(real=True)
        fuzzing.outcome(lambda bits: table.multiplication(bits, real=False), 8, ParameterError)
    assert "\n" not in said


@EXAMPLES
def test_altered_content(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path = tmp_path / "table.json"

    def check(changed: Any) -> None:
        fuzzing.put(path, json.dumps(changed))
        reads_or_refuses(path, fuzzing)

    fuzzing.run(fuzzing.altered_json(json.loads(STORED.read_text("utf-8"))), check, examples)


@EXAMPLES
def test_altered_bytes(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path = tmp_path / "table.json"

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        reads_or_refuses(path, fuzzing)

    fuzzing.run(fuzzing.altered_bytes(STORED.read_bytes()), check, examples)


def with_width(name: str) -> str:
    return json.dumps({**json.loads(STORED.read_text("utf-8")), "multiply": {name: 1.0, "float32": 1.0}})


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"name": ' + "9" * 5000 + "}", with_width("int" + "9" * 5000)],
    ids=["nested", "long number", "long width"],
)
def test_endless_texts_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    path.write_text(text, "utf-8")
    with pytest.raises(ParameterError, match="energy table"):
        load_energy_table(path)
