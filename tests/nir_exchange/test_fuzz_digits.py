"""Altered metadata of a population's sub-graph: the population, or one sentence."""

from __future__ import annotations

import json
from random import Random
from typing import Any

import numpy as np
import pytest

from spikejelly_pack.nir_exchange.digits import KEY, Digits
from spikejelly_pack.spec.errors import ExchangeFileError, SpikePackError
from spikejelly_pack.spec.parameters import NeuronParameters

EXAMPLES = pytest.mark.parametrize("examples", [200, pytest.param(100_000, marks=pytest.mark.fuzz)])
ARRAYS = ("theta", "bias", "amplitude")


@pytest.fixture
def population() -> Any:
    constants = np.ones(2), np.zeros(2), np.full(2, 0.5)
    made = Digits(NeuronParameters(time_steps=2), *constants, shape=(2, 2), dtype=np.float32).graph("n")
    assert isinstance(Digits.of("n", made), Digits)
    return made


@EXAMPLES
def test_altered_metadata(population: Any, fuzzing: Any, examples: int) -> None:
    metadata = dict(population.metadata)
    scalars = fuzzing.altered_json(json.loads(metadata[KEY]))
    text = fuzzing.altered_bytes(metadata[KEY].encode())

    def make(random: Random) -> dict[str, Any]:
        changed, what = dict(metadata), random.randrange(3)
        if what == 0:
            changed[KEY] = json.dumps(scalars(random))
        elif what == 1:
            changed[KEY] = text(random).decode("utf-8", "replace")
        else:
            name = random.choice(ARRAYS)
            changed[name] = random.choice((fuzzing.value(random), np.ones(random.randrange(4))))
            if random.random() < 0.2:
                del changed[name]
        return changed

    def check(changed: dict[str, Any]) -> None:
        population.metadata = changed
        found, said = fuzzing.outcome(lambda graph: Digits.of("n", graph), population, SpikePackError)
        assert said or isinstance(found, Digits)

    fuzzing.run(make, check, examples)


def test_numbers_beyond_the_dtype_are_refused(population: Any) -> None:
    population.metadata = {**population.metadata, "amplitude": -1e308}
    with pytest.raises(ExchangeFileError, match=r"must hold numbers that fit float.*got overflow"):
        Digits.of("n", population)


def test_endless_metadata_is_refused(population: Any) -> None:
    population.metadata = {**population.metadata, KEY: "[" * 100_000}
    with pytest.raises(ExchangeFileError, match="RecursionError"):
        Digits.of("n", population)
