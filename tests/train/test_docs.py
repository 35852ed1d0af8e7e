"""docs/training.md: its commands parse and run, its Python runs, its tables name what exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from spikejelly_pack.cli import main
from spikejelly_pack.train.command import _parse
from spikejelly_pack.train.parsing import configs

PAGE = (Path(__file__).parents[2] / "docs" / "training.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line for kind, text in BLOCKS if not kind for line in text.splitlines() if line.startswith("spikepack ")
]
PYTHON = [text for kind, text in BLOCKS if kind == "python"]


def test_the_page_has_commands_and_python() -> None:
    assert len(COMMANDS) >= 8
    assert len(PYTHON) == 2
    assert set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) >= set(configs())


@pytest.mark.parametrize("command", [line for line in COMMANDS if " train " in line])
def test_training_commands_parse(command: str) -> None:
    arguments = [word for word in shlex.split(command)[2:] if word not in ("ddp", "--trainer.strategy")]
    assert _parse(arguments).model.network.config["network"] in ("digits_cnn", "events_cnn")


def test_the_way_from_training_to_an_exchange_file(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's Python and its export, in a folder where a run has been."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "digits_cnn").symlink_to(trained[0])
    for text in PYTHON:
        exec(compile(text, "docs/training.md", "exec"), {})
    (export,) = (line for line in COMMANDS if " export " in line)
    assert main(shlex.split(export)[1:]) == 0
    assert (tmp_path / "digits.spk").is_file()


def test_options_of_the_recipe_exist() -> None:
    """Every option in the tables is one that the parser knows."""
    named = set(re.findall(r"`(--[\w.-]+)", PAGE)) - {"--fast-dev-run", "--config", "--print_config"}
    content = yaml.safe_load(
        _parse(["--config", "digits_cnn"]).parser.dump(
            _parse(["--config", "digits_cnn"]).config, skip_none=False
        )
    )
    for option in named - {"--out", "--ema", "--patience", "--resume", "--seed_everything"}:
        place = content
        for word in option.removeprefix("--").split("."):
            assert word in place, option
            place = place[word]
    assert {"out", "ema", "patience", "resume", "seed_everything"} <= set(content)


def test_help_and_import_need_no_lightning(tmp_path: Path) -> None:
    """``spikepack --help``, ``train --help`` and the package itself leave Lightning alone."""
    probe = (
        "import sys, spikejelly_pack.train, spikejelly_pack.data; from spikejelly_pack.cli import main; "
        "codes = [main(['--help']), main(['train', '--help'])]; "
        "print(codes, sorted({'lightning', 'jsonargparse', 'torch'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", probe], capture_output=True, text=True, timeout=200, cwd=tmp_path
    )
    assert done.stderr.splitlines()[-1] == "[0, 0] []"
    assert "--model.neuron.class_path" in done.stdout


def test_absent_extra(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import importlib.util

    real = importlib.util.find_spec
    monkeypatch.setattr(
        "spikejelly_pack.cli.train.find_spec", lambda name: None if name == "lightning" else real(name)
    )
    assert main(["train", "--config", str(tiny)]) == 2
    said = capsys.readouterr().err
    assert "train: lightning must be installed" in said
    assert "pip install 'spikejelly-pack[train]'" in said
