"""One self-contained HTML page of a report: figures, floor plan, what was checked."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import Any, cast

__all__ = ["as_html"]

_STYLE = (
    "body{font:14px sans-serif;margin:2em auto;max-width:70em;color:#222}"
    "table{border-collapse:collapse;margin:.5em 0 1.5em}"
    "td,th{padding:3px 10px;text-align:right;border-bottom:1px solid #ddd}"
    "td:first-child,th:first-child{text-align:left}svg{max-width:100%;height:auto}"
    ".bar{background:#eee;width:16em;height:.9em}.bar div{background:#3c76b9;height:100%}"
)
_TITLES = {
    "lut": "LUT",
    "ff": "flip-flops",
    "bram": "block memories",
    "dsp": "DSP blocks",
    "io": "pins",
}


def as_html(report: Mapping[str, Any], plan: str = "") -> str:
    """The page.

    Args:
        report: What :func:`.report.build` made.
        plan: Floor plan as SVG; empty where nothing was placed.
    """
    network, device = report["network"], report["device"]
    parts = [
        f"<h1>{_text(network['file'])} on {_text(device['title'])}</h1>",
        f"<p>{_text(_headline(report))}</p>",
    ]
    if "performance" in report:
        parts += ["<h2>Speed</h2>", _pairs(_speed(report["performance"]))]
    parts += ["<h2>Resources</h2>", _utilization(report["utilization"], report.get("place"))]
    if plan:
        parts += ["<h2>Floor plan</h2>", plan]
    if "place" in report:
        parts += ["<h2>Place and route</h2>", _runs(report["place"]["runs"])]
    parts += ["<h2>Populations</h2>", _populations(report["design"])]
    parts += ["<h2>Simulation</h2>", _pairs(report.get("simulation") or {"simulation": "left out"})]
    named = {name: f"{tool['version']} ({tool['origin']})" for name, tool in report["tools"].items() if tool}
    parts += ["<h2>Tools</h2>", _pairs(named)]
    title = f"{_text(network['file'])}: FPGA report"
    head = f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>'
    return f"{head}<style>{_STYLE}</style><body>{''.join(parts)}</body></html>\n"


def _headline(report: Mapping[str, Any]) -> str:
    used = "no DSP block, no multiplier" if report["utilization"]["dsp"]["used"] == 0 else "with DSP blocks"
    said = f"T = {report['network']['time_steps']}, {used}."
    if "performance" in report:
        said += (
            f" {report['performance']['samples_per_second']:,.0f} samples per second at "
            f"{report['performance']['fmax_mhz']:.1f} MHz, which is an estimate of place-and-route."
        )
    return f"{said} Power was not measured."


def _speed(performance: Mapping[str, Any]) -> dict[str, str]:
    rows = {
        "clock (median of the seeds)": f"{performance['fmax_mhz']:.1f} MHz",
        "cycles per sample": f"{performance['cycles_per_sample']:,.1f}",
        "samples per second": f"{performance['samples_per_second']:,.0f}",
        "latency of one sample": f"{performance['latency_cycles']:,.0f} cycles, "
        f"{performance['latency_microseconds']:,.2f} microseconds",
        "synaptic operations per sample": f"{performance['synaptic_operations']:,.0f}",
        "synaptic operations per second": f"{performance['synaptic_operations_per_second']:,.0f}",
    }
    return rows


def _utilization(utilization: Mapping[str, Mapping[str, Any]], placed: Any) -> str:
    rows: list[str] = []
    for name, entry in utilization.items():
        bar = f'<div class="bar"><div style="width:{min(100.0, 100 * entry["share"]):.1f}%"></div></div>'
        share = f"{100 * entry['share']:.1f} %"
        cells = (f"{entry['used']:,}", f"{entry['available']:,}", share)
        figures = "".join(f"<td>{cell}</td>" for cell in cells)
        rows.append(f"<tr><td>{_TITLES[name]}</td>{figures}<td>{bar}</td></tr>")
    what = "after place-and-route" if placed else "after synthesis, before packing"
    head = f"<tr><th>{what}</th><th>used</th><th>available</th><th>share</th><th></th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _runs(runs: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        {
            "seed": run["seed"],
            "MHz": f"{run['fmax']:.1f}",
            "slowest path": f"{run['path'].get('from', '')} to {run['path'].get('to', '')}",
            "logic, ns": run["path"].get("logic_ns", ""),
            "wires, ns": run["path"].get("wire_ns", ""),
            "seconds": run["seconds"],
        }
        for run in runs
    ]
    return _table(rows)


def _populations(design: Mapping[str, Mapping[str, Any]]) -> str:
    return _table([{"population": name, **facts} for name, facts in design.items()])


def _pairs(pairs: Mapping[str, Any]) -> str:
    cells = (f"<tr><td>{_text(key)}</td><td>{_cell(value)}</td></tr>" for key, value in pairs.items())
    return f"<table>{''.join(cells)}</table>"


def _table(rows: Sequence[Mapping[str, Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{_text(name)}</th>" for name in rows[0])
    body = "".join(f"<tr>{''.join(f'<td>{_cell(v)}</td>' for v in row.values())}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        items = cast("Sequence[Any]", value)
        return _text((", " if any(isinstance(one, str) for one in items) else " x ").join(map(str, items)))
    if isinstance(value, float):
        return f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else _text(value)


def _text(value: Any) -> str:
    return html.escape(str(value))
