"""The dispatcher: help, exit codes, results as JSON, errors as one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import spikejelly_pack
from spikejelly_pack import cli
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import ParameterError, RunError

if TYPE_CHECKING:
    Run = Callable[..., subprocess.CompletedProcess[str]]
Install = Callable[[Callable[[Any], Any]], None]


@pytest.mark.parametrize("command", sorted(cli.COMMANDS))
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([command, "--help"]) == 0
    text = capsys.readouterr().out
    assert "--json" in text
    assert command in text


def test_usage_errors_exit_with_2(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["no-such-command"]) == 2
    assert cli.main([]) == 2
    assert cli.main(["demo", "--time-steps", "many"]) == 2
    assert "invalid int value: 'many'" in capsys.readouterr().err


class _Fake:
    """A subcommand that does what the test says."""

    HELP = "fake"

    def __init__(self, run: Callable[[Any], Any]) -> None:
        self.run = run

    @staticmethod
    def add_arguments(parser: object) -> None:
        pass


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Install:
    def install(run: Callable[[Any], Any]) -> None:
        monkeypatch.setitem(cli.COMMANDS, "fake", "fake")
        known = cli.import_module
        monkeypatch.setattr(cli, "import_module", lambda path: _Fake(run) if path == "fake" else known(path))

    return install


def _raise(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(("error", "code"), [(ParameterError("T is odd"), 2), (RunError("it died"), 1)])
def test_an_expected_error_is_one_sentence(
    fake: Install, capsys: pytest.CaptureFixture[str], error: Exception, code: int
) -> None:
    fake(lambda _: _raise(error))
    assert cli.main(["fake"]) == code
    assert capsys.readouterr().err == f"spikepack: {error}\n"


def test_an_internal_error_is_one_sentence_and_a_traceback_on_request(
    fake: Install, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(lambda _: _raise(KeyError("x")))
    assert cli.main(["fake"]) == 1
    text = capsys.readouterr().err
    assert text.startswith("spikepack: internal error, KeyError: 'x'; set SPIKEPACK_TRACEBACK=1")
    assert "Traceback" not in text
    monkeypatch.setenv("SPIKEPACK_TRACEBACK", "1")
    assert cli.main(["fake"]) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_failed_check_exits_with_1_and_still_writes_its_json(fake: Install, tmp_path: Path) -> None:
    fake(lambda _: {"ok": False, "value": 3})
    assert cli.main(["fake", "--json", str(tmp_path / "r.json")]) == 1
    assert json.loads((tmp_path / "r.json").read_text()) == {"ok": False, "value": 3}


def test_an_unwritable_result_is_found_before_the_run(
    fake: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    calls = []
    fake(lambda _: calls.append(1) or {})
    (tmp_path / "file").write_text("")
    assert cli.main(["fake", "--json", str(tmp_path / "file" / "r.json")]) == 2
    assert cli.main(["fake", "--json", str(tmp_path)]) == 2
    assert calls == []
    first, second = capsys.readouterr().err.splitlines()
    assert "the folder must be writable" in first
    assert "must be a file, got a folder" in second


def test_info_lists_versions_and_places(spikepack: Run, tmp_path: Path) -> None:
    done = spikepack("info", "--lava", "--json", str(tmp_path / "info.json"))
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "info.json").read_text())
    assert facts["packages"]["torch"]
    assert facts["packages"]["spikingjelly"].startswith("2.")
    assert facts["lava"]["places"]
    assert all(place["path"] in done.stdout for place in facts["lava"]["places"])


def test_info_describes_an_exchange_file(
    spikepack: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = Path(__file__).parents[1] / "spec" / "data" / "version1.spk"
    done = spikepack("info", str(stored), "--json", str(tmp_path / "info.json"))
    assert done.returncode == 0, done.stderr
    facts = json.loads((tmp_path / "info.json").read_text())
    network = exchange.load(stored)
    assert [entry["name"] for entry in facts["operations"]] == list(network.ops)
    assert all(name in done.stdout for name in network.ops)
    assert facts["version"] == 1
    assert facts["time_steps"] == network.time_steps
    assert {e["name"]: e["weights"] for e in facts["operations"] if "weights" in e} == {
        op.name: op.weights().size for op in network.synapses
    }
    exchange.save(network, tmp_path / "bare.spk")
    assert cli.main(["info", str(tmp_path / "bare.spk"), "--json", str(tmp_path / "info.json")]) == 0
    assert json.loads((tmp_path / "info.json").read_text())["golden_samples"] == 0
    (tmp_path / "cut.spk").write_bytes(stored.read_bytes()[:-9])
    assert cli.main(["info", str(tmp_path / "cut.spk")]) == 2
    assert cli.main(["info", str(stored), "--lava"]) == 2
    assert "leave out FILE, or them" in capsys.readouterr().err


def test_info_without_lava_says_how_to_get_it(spikepack: Run) -> None:
    done = spikepack("info", SPIKEPACK_LAVA_PYTHON="/nonexistent/python")
    assert done.returncode == 0
    assert "tox run -e lava --notest" in done.stdout


def test_version(spikepack: Run) -> None:
    done = spikepack("--version")
    assert (done.returncode, done.stdout) == (0, f"spikepack {version('spikejelly-pack')}\n")
    assert spikejelly_pack.__version__ == version("spikejelly-pack")


def test_output_that_nobody_reads_is_no_fault() -> None:
    read, write = os.pipe()
    os.close(read)  # what "| head" does, earlier
    command = [sys.executable, "-m", "spikejelly_pack", "info"]
    done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    os.close(write)
    assert (done.returncode, done.stderr) == (141, "")
