"""``spikepack bench all``: every benchmark, each in a process of its own, and one page of what they found."""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from ..spec.atomic import write_text
from ..spec.errors import ParameterError
from .bench_page import page

__all__ = ["machine", "rows", "run_all"]

_PACKAGES = (
    "spikejelly-pack",
    "spikingjelly",
    "torch",
    "torchvision",
    "numpy",
    "cupy-cuda12x",
    "cupy-cuda13x",
)
_DONE, _FAILED, _NOT_RUN = "measured", "failed", "not run"
# Exit codes of the command: 1 a check did not hold (nothing was timed), 2 something is missing here.
_STATES = {0: _DONE, 2: _NOT_RUN}


def run_all(args: argparse.Namespace, names: Mapping[str, str], drawn: set[str]) -> dict[str, Any]:
    """Run the benchmarks and write ``NAME.json``, ``NAME.csv``, ``NAME.svg`` and ``report.html``.

    With ``only``, what an earlier run of the same kind on the same machine left in the folder stays there.

    Args:
        args: ``out`` (folder), ``fast``, ``only`` (names, or None for all).
        names: What each benchmark measures, by name.
        drawn: Those that draw a figure.

    Returns:
        Machine, versions and the state of each; ``ok`` is False where one failed.

    Raises:
        ParameterError: No folder is named, or a name in ``only`` is none.
    """
    if args.out is None:
        raise ParameterError("bench all: --out must name a folder, got none; results and the page go there.")
    if unknown := sorted(set(args.only or []) - set(names)):
        raise ParameterError(
            f"bench all: --only must name benchmarks out of {sorted(names)}, got {unknown[0]!r}; choose "
            "from these."
        )
    chosen = [name for name in names if not args.only or name in args.only]
    report: dict[str, Any] = {"machine": machine(), "fast": args.fast, "benchmarks": {}}
    known = _earlier(args.out / "all.json", report) if args.only else {}
    with tqdm(chosen, disable=None, leave=False) as bar:
        for name in bar:
            bar.set_description_str(name)
            known[name] = _run_one(name, args, name in drawn)
            report["benchmarks"] = {n: known[n] for n in names if n in known}
            write_text(args.out / "all.json", json.dumps(report, indent=2) + "\n")
            write_text(args.out / "report.html", page(report, names, _figures(args.out, known)))
    for name in chosen:
        entry = known[name]
        print(f"{name:14} {entry['state']}{': ' + entry['reason'] if entry['reason'] else ''}")
    print(f"written: {args.out / 'report.html'}")
    report["ok"] = all(known[name]["state"] != _FAILED for name in chosen)
    return report


#: What :func:`_run_one` stores.
_ENTRY = {"state": str, "reason": str, "begun": str, "seconds": float, "table": str, "figure": bool}


def _earlier(path: Path, report: Mapping[str, Any]) -> dict[str, Any]:
    """Entries of ``all.json`` where machine, versions and kind of run are those of now, else none."""

    def same(found: Mapping[str, Any]) -> list[Any]:
        return [found["fast"], {key: value for key, value in found["machine"].items() if key != "load"}]

    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        entries = found["benchmarks"] if same(found) == same(report) else {}
        for name, entry in entries.items():
            if {key: type(value) for key, value in entry.items()} != _ENTRY:
                raise ValueError(name)
        return dict(entries)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ParameterError(
            f"bench all: {path} must be a file of an earlier run, got another; name another folder."
        ) from None


def _figures(folder: Path, entries: Mapping[str, Any]) -> dict[str, str]:
    drawn = [name for name, entry in entries.items() if entry["figure"]]
    return {name: (folder / f"{name}.svg").read_text(encoding="utf-8") for name in drawn}


def _run_one(name: str, args: argparse.Namespace, figure: bool) -> dict[str, Any]:
    """One benchmark in a fresh process, so that none sees what another left in memory."""
    target = args.out / f"{name}.json"
    command = [sys.executable, "-m", "spikejelly_pack", "bench", name, "--json", str(target)]
    command += ["--fast"] if args.fast else []
    command += ["--figure", str(args.out / f"{name}.svg")] if figure else []
    begun, start = time.strftime("%Y-%m-%d %H:%M:%S %z"), time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("spikepack: ")]
    reason = (lines or [f"exit code {done.returncode}"])[-1].removeprefix("spikepack: ")
    entry = {
        "state": _STATES.get(done.returncode, _FAILED),
        "reason": reason if done.returncode else "",
        "begun": begun,
        "seconds": round(time.monotonic() - start, 1),
        "table": done.stdout,
        "figure": figure and done.returncode == 0,
    }
    if done.returncode == 0:
        write_text(args.out / f"{name}.csv", _csv(json.loads(target.read_text(encoding="utf-8"))))
    return entry


def rows(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Leaves of a JSON value with their paths, ``a.b.0``."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from rows(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from rows(inner, f"{path}.{index}" if path else str(index))
    else:
        yield path, value


def _csv(result: Any) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["what", "value"])
    writer.writerows(rows(result))
    return text.getvalue()


def machine() -> dict[str, Any]:
    """Processor, memory, system, interpreter and versions."""
    versions: dict[str, str] = {}
    for name in _PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.platform(),
        "python": platform.python_version(),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "versions": versions,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
