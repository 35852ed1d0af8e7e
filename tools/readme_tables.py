"""Write the tables and the picture of the README and the docs from the stored results: no figure is typed.

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
sys.path.insert(0, str(ROOT))  # benchmarks import one another
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


def _integer_table(results: dict[str, Any]) -> str:
    lines = [
        "| T | accuracy, float form | accuracy, integer form | logits error | first layer | last layer |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    for t, error in sorted(results["integer_logit_error"].items(), key=lambda item: int(item[0])):
        shares = list(results["integer_code_difference"][t].values())[1:]  # the encoder's codes are equal
        accuracies = (results[name][t] for name in ("accuracy", "integer_accuracy"))
        cells = [*(f"{100 * value:.2f} %" for value in accuracies), f"{error:.3f}"]
        cells += [f"{100 * share:.1f} %" for share in (shares[0], shares[-1])]
        lines.append(f"| {t} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _benchmark(name: str, what: str = "table") -> Callable[[dict[str, Any]], str]:
    def table(results: dict[str, Any]) -> str:
        spec = importlib.util.spec_from_file_location(
            f"benchmarks.{name}", ROOT / "benchmarks" / f"{name}.py"
        )
        if spec is None or spec.loader is None:
            raise SystemExit(f"benchmarks/{name}.py: must be a module, could not be read; restore it.")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return getattr(module, what)(results)

    return table


def _choices_table(results: dict[str, Any]) -> str:
    """What was tried on validation data, per task."""
    lines = [
        "| task | T | calibrator | improvers | points lost on validation data | chosen |",
        "|---|---:|---|---|---:|---|",
    ]
    for name, entry in results["tasks"].items():
        for row in (row for row in entry["conversions"] if "tried" in row):
            for one in row["tried"]:
                source = row["validation_source"]
                lost = ", ".join(f"{source[key] - one['validation'][key] + 0.0:+.2f}" for key in source)
                improvers = ", ".join([*one["improve"], *(["T per layer"] if "shifts" in one else [])])
                chosen = "x" if {**row["chosen"], "validation": one["validation"]} == one else ""
                task = f"{name} ({', '.join(source)})"
                cells = (task, row["time_steps"], one["calibrator"], improvers, lost, chosen)
                lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


TABLES: dict[str, Callable[[dict[str, Any]], str]] = {
    "demo": _demo_table,
    "integer": _integer_table,
    "neuron": _benchmark("neuron"),
    "network": _benchmark("network"),
    "cpu": _benchmark("cpu"),
    "scaling": lambda results: _benchmark("scaling")(results).split("\n\n")[0],
    "scaling_workers": lambda results: _benchmark("scaling")(results).split("\n\n")[1],
    "scaling_estimate": lambda results: _benchmark("scaling")(results).split("\n\n")[2],
    "coverage": _benchmark("coverage"),
    "tasks": _benchmark("tasks"),
    "choices": _choices_table,
    "rounding": _benchmark("rounding"),
    "training": _benchmark("training"),
    "information": _benchmark("information"),
    "fpga": _benchmark("fpga"),
    "fpga_conv": _benchmark("fpga_conv"),
    "fpga_digits": _benchmark("fpga_digits"),
    "fpga_estimate": _benchmark("fpga_estimate"),
    "simulate": _benchmark("simulate"),
    "budget": lambda results: _benchmark("budget")(results).split("\n\n")[0],  # without the direction
    "plan": lambda results: _benchmark("plan")(results).split("\n\n")[0],  # without the goals
    "kernels": _benchmark("kernels", "targets_table"),
    "kernels_neuron": _benchmark("kernels", "neuron_table"),
    "kernels_host": _benchmark("kernels", "host_table"),
    "kernels_products": lambda results: _benchmark("kernel_products")(results),
    "kernels_network": lambda results: _benchmark("network")(results["network"]),
    "kernels_integer": lambda results: _benchmark("integer")(results["integer"]).split("\n\n")[0],
    "accelerate": lambda results: _benchmark("integer")(results).split("\n\n")[0],  # without the routes
}


# Tables of another file than their own name's, and the pages that hold tables.
STORED = {
    "integer": "demo",
    "choices": "tasks",
    **dict.fromkeys(
        ("kernels_neuron", "kernels_host", "kernels_products", "kernels_network", "kernels_integer"),
        "kernels",
    ),
    "scaling_workers": "scaling",
    "scaling_estimate": "scaling",
}
PAGES = (
    "README.md",
    "docs/conversion.md",
    "docs/convert-any-model.md",
    "docs/tasks.md",
    "docs/calibration.md",
    "docs/training.md",
    "docs/information.md",
    "docs/providers.md",
    "docs/gpu-kernels.md",
    "docs/scaling.md",
    "docs/neuron.md",
    "docs/fpga.md",
    "docs/lava.md",
    "docs/budget-planning.md",
)


def rendered(text: str) -> str:
    """``text`` with every table block written anew."""

    def block(found: re.Match[str]) -> str:
        name = found.group(1)
        stored = STORED.get(name, name)
        results = json.loads((ROOT / "docs" / "results" / f"{stored}.json").read_text("utf-8"))
        return f"<!-- results: {name} -->\n{TABLES[name](results)}\n<!-- end -->"

    return BLOCK.sub(block, text)


def main(arguments: list[str]) -> int:
    """Write or check the pages; returns the exit code."""
    stale = False
    for page in PAGES:
        path = ROOT / page
        old = path.read_text("utf-8")
        new = rendered(old)
        if arguments != ["--check"]:
            path.write_text(new, "utf-8")
        elif new != old:
            stale = True
            print(
                f"{page}: its tables differ from docs/results; run python tools/readme_tables.py",
                file=sys.stderr,
            )
    if arguments != ["--check"]:
        _draw_demo()
        _draw("scaling")
    return int(stale)


def _draw(name: str) -> None:
    """``docs/images/NAME.svg``: the figure of a benchmark's stored result."""
    from importlib import import_module

    stored = json.loads((ROOT / "docs" / "results" / f"{name}.json").read_text("utf-8"))
    drawing = import_module(f"benchmarks.{name}").figure(stored)
    (ROOT / "docs" / "images" / f"{name}.svg").write_text(drawing, "utf-8")


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
