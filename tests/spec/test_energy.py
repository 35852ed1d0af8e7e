"""Energy tables and their rules."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from spikejelly_pack.spec.budget import Operand, SynapticCost
from spikejelly_pack.spec.energy import EnergyTable, load_energy_table, synaptic_energy
from spikejelly_pack.spec.errors import ParameterError


def cost(
    first: Operand, second: Operand, digit: float | None = None, word: float | None = None
) -> SynapticCost:
    """Return an operation of 100 multiply-accumulates."""
    return SynapticCost("layer", "linear", 100, (first, second), 1, digit, word)


FLOAT = Operand("weight", 32)
BYTE = Operand("weight", 8)
CODE = Operand("spikes", 4, 4)
SPIKE = Operand("spikes", 1, 1)


@pytest.mark.parametrize(
    ("operation", "rate", "expected"),
    [
        # Horowitz, ISSCC 2014: a float32 multiply-accumulate takes 3.7 + 0.9 pJ, an addition 0.9 pJ.
        (cost(Operand("analog", 32), FLOAT), "digit", 100 * 4.6),
        (cost(SPIKE, FLOAT, 30.0, 30.0), "digit", 30 * 0.9),
        (cost(SPIKE, FLOAT, 30.0, 30.0), "word", 30 * 0.9),  # a binary spike never multiplies
        (cost(CODE, BYTE, 150.0, 60.0), "digit", 150 * 0.1),
        (cost(CODE, BYTE, 150.0, 60.0), "word", 60 * (0.2 + 0.1)),
        (cost(CODE, FLOAT, 150.0, 60.0), "word", 60 * (3.7 + 0.9)),
        (cost(Operand("codes", 8), BYTE), "digit", 100 * (0.2 + 0.1)),
        (cost(Operand("codes", 9), BYTE), "digit", 100 * (3.1 + 0.1)),  # the narrowest that holds both
        (cost(CODE, CODE, 150.0, 60.0), "digit", 150 * 0.1),
        (cost(Operand("analog", 32), CODE, 150.0, 60.0), "digit", 150 * 0.9),
        (cost(CODE, BYTE), "word", 100 * (0.2 + 0.1)),  # nothing known of its events: every one happens
        # Eight trains of 4 digits are 32 bits, but no float.
        (cost(Operand("spikes", 32, 32, terms=8), BYTE, 150.0, 60.0), "digit", 150 * 0.1),
    ],
)
def test_rules(operation: SynapticCost, rate: str, expected: float) -> None:
    assert synaptic_energy(operation, load_energy_table(), rate) == pytest.approx(expected, rel=1e-12)


def test_every_window_of_a_sample_counts() -> None:
    operation = SynapticCost("layer", "linear", 100, (Operand("codes", 8), BYTE), windows=3)
    assert synaptic_energy(operation, load_energy_table()) == pytest.approx(300 * (0.2 + 0.1), rel=1e-12)


def test_energy_goes_by_digits_unless_words_are_asked_for() -> None:
    operation, table = cost(CODE, BYTE, 150.0, 60.0), load_energy_table()
    assert synaptic_energy(operation, table) == synaptic_energy(operation, table, "digit")
    assert synaptic_energy(operation, table) != synaptic_energy(operation, table, "word")


def user(tmp_path: Path, **changes: Any) -> Path:
    """Write a table of the user's."""
    table: dict[str, Any] = {
        "name": "mine", "source": "a data sheet", "technology_nm": 7, "scope": "arithmetic", "unit": "fJ",
        "add": {"int32": 1.0, "float32": 2.0}, "multiply": {"int8": 3.0, "float32": 4.0},
    }  # fmt: skip
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({k: v for k, v in {**table, **changes}.items() if v is not None}))
    return path


def test_a_table_of_ones_own(tmp_path: Path) -> None:
    table = load_energy_table(user(tmp_path))
    assert isinstance(table, EnergyTable)
    assert (table.name, table.technology_nm, table.unit) == ("mine", 7, "fJ")
    assert synaptic_energy(cost(Operand("codes", 4), BYTE), table) == 100 * 4.0


def test_a_width_that_the_table_lacks(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"multiply must be given for an integer of at least 16 bits"):
        synaptic_energy(cost(Operand("codes", 16), BYTE), load_energy_table(user(tmp_path)))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": None}, r"must have the entries add, multiply, name, scope, source"),
        ({"more": 1}, r"must have the entries"),
        ({"source": ""}, r"'mine': source must be text, got ''"),
        ({"technology_nm": -7}, r"technology_nm must be a positive number, got -7"),
        ({"add": {"int32": 1.0}}, r"add must be positive numbers by type with int32 and float32"),
        ({"add": {"int32": 0, "float32": 1}}, r"add must be positive numbers"),
        ({"add": {"int32": 10**400, "float32": 1}}, r"add must be positive numbers"),
        *[
            ({"multiply": {"float32": 1, name: 1}}, r"multiply must be positive numbers by type")
            for name in ("word8", "8", "int", "real", "int12345")
        ],
    ],
)
def test_incomplete_tables(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        load_energy_table(user(tmp_path, **changes))


def test_the_largest_number_is_one(tmp_path: Path) -> None:
    largest = {"int32": sys.float_info.max, "float32": 1}
    assert load_energy_table(user(tmp_path, add=largest)).add == largest


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    """Only the name of a table that comes with the package stands for another file."""
    table = user(tmp_path).rename(tmp_path / "mine")
    (tmp_path / "mine.json").write_text("{}")
    assert load_energy_table(table).name == "mine"


def test_no_table(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"must be a JSON file or one of horowitz_45nm, got 'nowhere'"):
        load_energy_table("nowhere")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(ParameterError, match=r"broken.json'?: must be JSON"):
        load_energy_table(broken)
