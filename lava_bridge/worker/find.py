"""Finds a Python 3.10 that holds Lava and this very code. Never installs anything.

Names lie (a ``python3.10`` on the path may be a shim that fails), so every candidate is started and asked.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spikejelly_pack.spec.errors import EnvironmentMissingError

from ..fingerprint import fingerprint

__all__ = [
    "VARIABLE",
    "Candidate",
    "Interpreter",
    "cache_folder",
    "candidates",
    "described",
    "find",
    "look",
    "probe",
    "worker_environment",
]

VARIABLE = "SPIKEPACK_LAVA_PYTHON"
LAVA_VERSION = "0.10.0"
PROBE_SECONDS = 60.0
_FOLDERS = (".venv-lava", ".tox/lava", ".nox/lava")
_PROBE = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
answer = {"version": list(sys.version_info[:3]), "lava": None, "fingerprint": None}
try:
    answer["lava"] = version("lava-nc")
except PackageNotFoundError:
    pass
try:
    from lava_bridge.fingerprint import fingerprint
    answer["fingerprint"] = fingerprint()
except ImportError:
    pass
print(json.dumps(answer))
"""


@dataclass(frozen=True)
class Interpreter:
    """A Python that can run Lava for us."""

    executable: str
    python: str
    lava: str


@dataclass(frozen=True)
class Candidate:
    """A place that was looked at: where the idea came from, its path, why it will not do (None: it will)."""

    origin: str
    path: str
    reason: str | None
    interpreter: Interpreter | None = None

    def __str__(self) -> str:
        return f"{self.origin} {self.path} ({self.reason or 'usable'})"


def worker_environment() -> dict[str, str]:
    """The caller's environment with one thread per process; ``-I`` keeps Python's own variables out."""
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        environment.setdefault(name, "1")  # Lava has one process per Process: more threads are in the way
    return environment


def _executable(path: str | os.PathLike[str]) -> Path:
    """A Python from a file or from the folder of a virtual environment."""
    given = Path(path).expanduser()
    return given / "bin" / "python" if given.is_dir() else given


def cache_folder() -> Path:
    """The virtual environment of a user who has no clone."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return cache / "spikepack" / "lava-py310"


def candidates(python: str | os.PathLike[str] | None = None) -> Iterator[tuple[str, Path]]:
    """Yield (origin, interpreter) in the order they are tried; an explicit choice is the only one."""
    if python is not None:
        yield "argument", _executable(python)
        return
    if os.environ.get(VARIABLE):
        yield f"${VARIABLE}", _executable(os.environ[VARIABLE])
        return
    here = Path.cwd()
    for folder in (here, *here.parents):
        for name in _FOLDERS:
            if (folder / name).is_dir():
                yield "environment", _executable(folder / name)
    yield "cache", cache_folder() / "bin" / "python"
    yield "this interpreter", Path(sys.executable)
    on_path = shutil.which("python3.10")
    yield "PATH", Path(on_path or "python3.10")


def probe(origin: str, path: Path) -> Candidate:
    """Start one candidate and ask what it is."""

    def unfit(reason: str) -> Candidate:
        return Candidate(origin, str(path), reason)

    if not path.exists():
        return unfit("does not exist")
    try:
        answer = subprocess.run(
            [str(path), "-I", "-c", _PROBE],
            capture_output=True,
            text=True,
            errors="replace",  # not every program speaks UTF-8
            timeout=PROBE_SECONDS,
            env=worker_environment(),
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return unfit(f"does not start: {error}")
    if answer.returncode != 0:
        lines = answer.stderr.strip().splitlines()
        return unfit(f"fails: {lines[-1] if lines else f'exit code {answer.returncode}'}")
    found = described(answer.stdout)
    if found is None:
        return unfit("is not a Python interpreter")
    python = str(found["python"])
    if not python.startswith("3.10."):
        return unfit(f"is Python {python}, not 3.10")
    if found["lava"] != LAVA_VERSION:
        return unfit(
            f"has lava-nc {found['lava']}, not {LAVA_VERSION}" if found["lava"] else "has no lava-nc"
        )
    if found["fingerprint"] is None:
        return unfit("has no spikejelly-pack")
    if found["fingerprint"] != fingerprint():
        return unfit("is stale: it holds other code of spikejelly-pack than the caller")
    return Candidate(origin, str(path), None, Interpreter(str(path), python, LAVA_VERSION))


def described(output: str) -> dict[str, str | None] | None:
    """What a candidate says it is, by ``python``, ``lava`` and ``fingerprint``; None: it is no Python."""
    try:
        found = json.loads(output.strip().splitlines()[-1])
        python = ".".join(str(int(number)) for number in found["version"])
        kept = {name: None if found[name] is None else str(found[name]) for name in ("lava", "fingerprint")}
    except (ValueError, LookupError, TypeError, ArithmeticError, RecursionError):
        return None
    return {"python": python, **kept}


def look(python: str | os.PathLike[str] | None = None) -> list[Candidate]:
    """Every place looked at, up to and including the first that will do."""
    seen: list[Candidate] = []
    for origin, path in candidates(python):
        seen.append(probe(origin, path))
        if seen[-1].interpreter:
            break
    return seen


def find(python: str | os.PathLike[str] | None = None) -> Interpreter:
    """Return the first interpreter that will do.

    Args:
        python: A Python 3.10 (file) or its virtual environment (folder); default: look around.

    Raises:
        EnvironmentMissingError: None will do; the sentence lists every place with its reason and the remedy.
    """
    seen = look(python)
    if seen[-1].interpreter:
        return seen[-1].interpreter
    raise EnvironmentMissingError(
        f"Lava needs a Python 3.10 with lava-nc {LAVA_VERSION} and this very spikejelly-pack, "
        f"but found none among: {'; '.join(map(str, seen))}; run `tox run -e lava --notest` in the project, "
        f"or `pip install --force-reinstall` its wheel into a Python 3.10 and set ${VARIABLE} to it."
    )
