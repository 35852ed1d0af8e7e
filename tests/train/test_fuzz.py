"""Altered training configurations give a run that could start or the documented error, nothing else."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from spikejelly_pack.spec.errors import SpikePackError
from spikejelly_pack.train import command

EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(100_000, marks=pytest.mark.fuzz)])
#: Here the configuration is made into a network, data and a trainer: a tenth of a second each.
FEWER = pytest.mark.parametrize("examples", [10, pytest.param(2000, marks=pytest.mark.fuzz)])


@pytest.fixture
def config(tiny: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(tiny.read_text())
    return path


def altered(config: Path, fuzzing: Any) -> Any:
    """Every other input is the document with other content, the others the file with other bytes."""
    text = config.read_bytes()
    content, damage = fuzzing.altered_json(yaml.safe_load(text)), fuzzing.altered_bytes(text)
    return fuzzing.choice_of(
        {
            "content": lambda random: yaml.safe_dump(content(random)).encode("utf-8", "surrogatepass"),
            "bytes": damage,
        }
    )


@EXAMPLES
def test_reading(config: Path, fuzzing: Any, examples: int) -> None:
    """The document against the options of a run: names, kinds and ranges."""
    parser = command._parse(["--config", str(config)]).parser

    def check(made: tuple[str, bytes]) -> None:
        fuzzing.put(config, made[1])
        fuzzing.outcome(lambda file: command.read(parser, ["--config", str(file)]), config, SpikePackError)

    fuzzing.run(altered(config, fuzzing), check, examples)


@FEWER
def test_making(config: Path, fuzzing: Any, examples: int) -> None:
    """And the objects that it describes."""

    def check(made: tuple[str, bytes]) -> None:
        fuzzing.put(config, made[1])
        # meta: a network of absurd width takes no memory
        with warnings.catch_warnings(), torch.device("meta"):
            warnings.simplefilter("ignore")
            fuzzing.outcome(lambda file: command._parse(["--config", str(file)]), config, SpikePackError)

    fuzzing.run(altered(config, fuzzing), check, examples)


@pytest.mark.parametrize("value", [None, []])
def test_trainer_without_names_is_refused(config: Path, value: Any) -> None:
    changed = {**yaml.safe_load(config.read_text()), "trainer": value}
    config.write_text(yaml.safe_dump(changed))
    with pytest.raises(SpikePackError, match="trainer must hold settings by name"):
        command._parse(["--config", str(config)])
