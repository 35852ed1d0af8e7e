"""A budget report as a figure and as one HTML page; matplotlib is imported when one is drawn."""

from __future__ import annotations

import html
import io
from typing import Any

from .compare import Comparison
from .report import BudgetReport

__all__ = ["as_html", "draw", "figure_svg"]

_BLUE, _LIGHT, _GREY = "#1f5fa8", "#a8c6e8", "#888888"
_STYLE = (
    "body{font:14px sans-serif;margin:2em;max-width:90em}table{border-collapse:collapse}"
    "td,th{padding:2px 8px;text-align:right;border-bottom:1px solid #ddd}td:first-child,th:first-child"
    "{text-align:left}svg{max-width:100%;height:auto}"
)


def draw(found: BudgetReport | Comparison) -> Any:
    """The figure: S-ACE and NS-ACE per layer, or per network of a comparison."""
    from matplotlib.figure import Figure

    if isinstance(found, Comparison):
        names = [report.name for report in found.reports]
        values = [(report.s_ace, report.ns_ace, report.ace(8)) for report in found.reports]
    else:
        names = [layer.path or layer.kind for layer in found.synapses]
        values = [(c.s_ace, c.ns_ace(found.rate), c.macs * 64) for c in found.synapses]
    figure = Figure(figsize=(9, 1.2 + 0.28 * len(names)), layout="constrained")
    axes: Any = figure.subplots()
    places = range(len(names))
    axes.barh(places, [v[0] for v in values], 0.8, color=_LIGHT, label="S-ACE (ACE where nothing spikes)")
    axes.barh(places, [v[1] for v in values], 0.4, color=_BLUE, label="NS-ACE")
    axes.scatter([v[2] for v in values], places, marker="|", color=_GREY, label="ACE at 8 x 8 bits", zorder=3)
    axes.set_yticks(places, names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("bit operations per inference")
    axes.legend(fontsize=8)
    return figure


def figure_svg(found: BudgetReport | Comparison) -> str:
    """The figure as SVG text, the same on every call."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.hashsalt": "spikepack"}):
        draw(found).savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def as_html(found: BudgetReport | Comparison) -> str:
    """One page that needs no other file: table, figure and what the totals leave out."""
    title = "Bit Budget"
    parts = [f"<h1>{title}</h1>"]
    if isinstance(found, Comparison):
        parts += [
            _table(found.rows()),
            figure_svg(found),
            *(f"<p>{html.escape(note)}</p>" for note in found.notes),
        ]
        reports = found.reports
    else:
        parts.append(figure_svg(found))
        reports = [found]
    for report in reports:
        lines = str(report).splitlines()[1 + len(report.layers) :]
        said = "<br>".join(html.escape(line) for line in lines)
        parts.append(f"<h2>{html.escape(report.name)}</h2>{_table(report.rows())}<p>{said}</p>")
    head = (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title><style>{_STYLE}</style>'
    )
    return f"{head}<body>{''.join(parts)}</body></html>\n"


def _table(rows: list[dict[str, Any]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in rows[0])
    body = "".join(
        f"<tr>{''.join(f'<td>{_cell(value)}</td>' for value in row.values())}</tr>" for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.4f}" if abs(value) < 1 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else html.escape(str(value))
