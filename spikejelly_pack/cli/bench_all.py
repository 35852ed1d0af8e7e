"""``spikepack bench all``: every benchmark, each in a process of its own, and one page of what they found."""

from __future__ import annotations

import argparse
import csv
import html
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
    with tqdm(chosen, disable=None, leave=False) as bar:
        for name in bar:
            bar.set_description_str(name)
            report["benchmarks"][name] = _run_one(name, args, name in drawn)
            write_text(args.out / "all.json", json.dumps(report, indent=2) + "\n")
            write_text(args.out / "report.html", _page(report, names))
    for name, entry in report["benchmarks"].items():
        print(f"{name:14} {entry['state']}{': ' + entry['reason'] if entry['reason'] else ''}")
    print(f"written: {args.out / 'report.html'}")
    report["ok"] = all(entry["state"] != _FAILED for entry in report["benchmarks"].values())
    return report


def _run_one(name: str, args: argparse.Namespace, figure: bool) -> dict[str, Any]:
    """One benchmark in a fresh process, so that none sees what another left in memory."""
    target = args.out / f"{name}.json"
    command = [sys.executable, "-m", "spikejelly_pack", "bench", name, "--json", str(target)]
    command += ["--fast"] if args.fast else []
    command += ["--figure", str(args.out / f"{name}.svg")] if figure else []
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line for line in done.stderr.splitlines() if line.startswith("spikepack: ")]
    reason = (lines or [f"exit code {done.returncode}"])[-1].removeprefix("spikepack: ")
    entry = {
        "state": _STATES.get(done.returncode, _FAILED),
        "reason": reason if done.returncode else "",
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


def _page(report: Mapping[str, Any], names: Mapping[str, str]) -> str:
    """One page: the machine, then a section per benchmark."""
    style = (
        "body{font:15px sans-serif;max-width:70em;margin:2em auto;padding:0 1em}"
        "pre{overflow:auto;background:#f3f5f8;padding:1em}img{max-width:100%}"
    )
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>SpikePack benchmarks</title>",
        f"<style>{style}</style>",
        "<h1>SpikePack benchmarks</h1>",
        "<p><b>Smoke test, no measurement.</b></p>" if report["fast"] else "",
        f"<pre>{html.escape(json.dumps(report['machine'], indent=2))}</pre>",
    ]
    for name, entry in report["benchmarks"].items():
        parts += [
            f"<h2>{name}</h2><p>{html.escape(names[name])}: {entry['state']} ({entry['seconds']} s)</p>",
            f"<p>{html.escape(entry['reason'])}</p>" if entry["reason"] else "",
            f"<img src='{name}.svg' alt='{name}'>" if entry["figure"] else "",
            f"<pre>{html.escape(entry['table'])}</pre>" if entry["table"] else "",
        ]
    return "\n".join(part for part in parts if part) + "\n"
