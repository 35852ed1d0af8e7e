"""Write the README's tables and picture from the stored results, so that no figure in it is typed by hand.

``docs/results/NAME.json`` holds what ``spikepack demo`` and ``spikepack bench NAME --json`` measured. A table
stands between ``<!-- results: NAME -->`` and ``<!-- end -->``.

Usage: ``python tools/readme_tables.py`` writes, with ``--check`` it fails if they differ.
"""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
BLOCK = re.compile(r"<!-- results: (\w+) -->\n.*?<!-- end -->", re.DOTALL)


def _demo_table(results: dict[str, Any]) -> str:
    columns = {
        "SpikePack": results["accuracy"],
        "integer form": results["integer_accuracy"],
        "rate coding": results["rate_coding_accuracy"],
        "rate coding, tuned": results["rate_coding_tuned_accuracy"],
    }
    steps = sorted({int(t) for values in columns.values() for t in values})
    lines = [f"| T | {' | '.join(columns)} |", "|---:" * (len(columns) + 1) + "|"]
    for t in steps:
        cells = (f"{100 * values[str(t)]:.2f} %" if str(t) in values else "" for values in columns.values())
        lines.append(f"| {t} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _benchmark(name: str) -> Callable[[dict[str, Any]], str]:
    def table(results: dict[str, Any]) -> str:
        spec = importlib.util.spec_from_file_location(
            f"benchmarks.{name}", ROOT / "benchmarks" / f"{name}.py"
        )
        if spec is None or spec.loader is None:
            raise SystemExit(f"benchmarks/{name}.py: must be a module, could not be read; restore it.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module.table(results)

    return table


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "demo": _demo_table,
    "neuron": _benchmark("neuron"),
    "network": _benchmark("network"),
}


def rendered(text: str) -> str:
    """``text`` with every table block written anew."""

    def block(found: re.Match[str]) -> str:
        name = found.group(1)
        results = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text("utf-8"))
        return f"<!-- results: {name} -->\n{TABLES[name](results)}\n<!-- end -->"

    return BLOCK.sub(block, text)


def main(arguments: list[str]) -> int:
    """Write or check README.md; returns the exit code."""
    path = ROOT / "README.md"
    old = path.read_text("utf-8")
    new = rendered(old)
    if arguments == ["--check"]:
        if new != old:
            print(
                "README.md: its tables differ from docs/results; run python tools/readme_tables.py",
                file=sys.stderr,
            )
        return int(new != old)
    path.write_text(new, "utf-8")
    _draw_demo()
    return 0


def _draw_demo() -> None:
    """``docs/images/demo.svg``: the accuracy figure of the demo's own report."""
    from spikejelly_pack.cli.demo import figures
    from spikejelly_pack.cli.demo.results import Results

    stored = json.loads((ROOT / "docs" / "results" / "demo.json").read_text("utf-8"))
    results = Results(stored["time_steps"], stored["seed"], ann_accuracy=stored["ann_accuracy"])
    for name in ("accuracy", "rate_coding_accuracy", "rate_coding_tuned_accuracy"):
        setattr(results, name, {int(t): value for t, value in stored[name].items()})
    (ROOT / "docs" / "images" / "demo.svg").write_text(figures.accuracy(results), "utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
