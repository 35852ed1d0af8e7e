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

#: A configuration is parsed and made into a network, data and a trainer: half a second, not microseconds.
EXAMPLES = pytest.mark.parametrize("examples", [5, pytest.param(2000, marks=pytest.mark.fuzz)])


def reads_or_refuses(path: Path, fuzzing: Any) -> None:
    # meta: a network of absurd width takes no memory
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        _, said = fuzzing.outcome(lambda file: command._parse(["--config", str(file)]), path, SpikePackError)
    assert "\n" not in said


@pytest.fixture
def config(tiny: Path, tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(tiny.read_text())
    return path


@EXAMPLES
def test_altered_content(config: Path, fuzzing: Any, examples: int) -> None:
    def check(changed: Any) -> None:
        fuzzing.put(config, yaml.safe_dump(changed))
        reads_or_refuses(config, fuzzing)

    fuzzing.run(fuzzing.altered_json(yaml.safe_load(config.read_text())), check, examples)


@EXAMPLES
def test_altered_bytes(config: Path, fuzzing: Any, examples: int) -> None:
    def check(data: bytes) -> None:
        fuzzing.put(config, data)
        reads_or_refuses(config, fuzzing)

    fuzzing.run(fuzzing.altered_bytes(config.read_bytes()), check, examples)


@pytest.mark.parametrize("value", [None, []])
def test_trainer_without_names_is_refused(config: Path, value: Any) -> None:
    changed = {**yaml.safe_load(config.read_text()), "trainer": value}
    config.write_text(yaml.safe_dump(changed))
    with pytest.raises(SpikePackError, match="trainer must hold settings by name"):
        command._parse(["--config", str(config)])
