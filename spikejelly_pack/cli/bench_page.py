"""The page of ``spikepack bench all``: one file with every table and figure in it."""

from __future__ import annotations

import base64
import html
import itertools
import re
from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["markup", "page"]

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:72em;margin:2em auto;padding:0 1em;color:#1b1f24}"
    ".scroll{overflow-x:auto}table{border-collapse:collapse;margin:1em 0;font-variant-numeric:tabular-nums}"
    "th,td{padding:.25em .8em;border-bottom:1px solid #d6dae0;text-align:left}th{background:#f3f5f8}"
    "td.right,th.right{text-align:right}h2{margin-top:2.5em}img{max-width:100%}"
    "code{background:#f3f5f8;padding:0 .2em}.failed{color:#a40e26;font-weight:600}"
)


def page(report: Mapping[str, Any], names: Mapping[str, str], figures: Mapping[str, str]) -> str:
    """The page: machine, contents, then a section per benchmark.

    Args:
        report: Machine, ``fast`` and ``benchmarks``, see :func:`.run_all`.
        names: What each benchmark measures, by name.
        figures: SVG by the name of its benchmark.
    """
    entries = report["benchmarks"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>SpikePack benchmarks</title>",
        f"<style>{_STYLE}</style><h1>SpikePack benchmarks</h1>",
        "<p><b>Smoke test, no measurement.</b></p>" if report["fast"] else "",
        _table([["machine", ""], *map(list, _machine(report["machine"]))], ["", ""]),
        _table([["benchmark", "", "state", "seconds"], *_contents(entries, names)], ["", "", "", "right"]),
    ]
    for name, entry in entries.items():
        parts += [
            f"<h2 id={name}>{name}</h2>",
            f"<p>{html.escape(names[name])}: {_state(entry)} ({entry['begun']}, {entry['seconds']} s)</p>",
            f"<p>{html.escape(entry['reason'])}</p>" if entry["reason"] else "",
            _image(name, figures[name]) if name in figures else "",
            markup(entry["table"]),
        ]
    return "\n".join(part for part in parts if part) + "\n"


def _image(name: str, svg: str) -> str:
    # as data, not as elements: identifiers inside one drawing mean nothing to another
    return f"<img alt='{name}' src='data:image/svg+xml;base64,{base64.b64encode(svg.encode()).decode()}'>"


def _machine(machine: Mapping[str, Any]) -> list[tuple[str, str]]:
    flat = {**{key: value for key, value in machine.items() if key != "versions"}, **machine["versions"]}
    return [(html.escape(key), html.escape(str(value))) for key, value in flat.items() if value is not None]


def _contents(entries: Mapping[str, Any], names: Mapping[str, str]) -> list[list[str]]:
    return [
        [f"<a href='#{name}'>{name}</a>", html.escape(names[name]), _state(entry), str(entry["seconds"])]
        for name, entry in entries.items()
    ]


def _state(entry: Mapping[str, Any]) -> str:
    state = html.escape(entry["state"])
    return f"<span class=failed>{state}</span>" if entry["state"] == "failed" else state


def markup(text: str) -> str:
    """HTML of what benchmarks print: Markdown's tables, lists of one level, paragraphs, bold, code."""
    parts: list[str] = []
    for kind, lines in itertools.groupby(text.splitlines(), _kind):
        found = list(lines)
        if kind == "table" and len(found) > 1 and set(found[1]) <= set("|-: "):
            aligned = ["right" if cell.endswith(":") else "" for cell in _cells(found[1])]
            parts.append(
                _table([[_inline(c) for c in _cells(line)] for line in (found[0], *found[2:])], aligned)
            )
        elif kind == "list":
            parts.append(f"<ul>{''.join(f'<li>{_inline(line[2:])}</li>' for line in found)}</ul>")
        elif kind:
            parts.append(f"<p>{'<br>'.join(map(_inline, found))}</p>")
    return "\n".join(parts)


def _kind(line: str) -> str:
    """Which lines belong together; empty where nothing is."""
    if line.startswith("|"):
        return "table"
    return "list" if line.startswith("- ") else "text" * bool(line.strip())


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().removeprefix("|").removesuffix("|").split("|")]


def _inline(text: str) -> str:
    escaped = re.sub(r"`([^`]+)`", r"<code>\1</code>", html.escape(text, quote=False))
    return re.sub(r"\*\*([^*]+)\*\*", r"<b>\1</b>", escaped)


def _table(rows: Sequence[Sequence[str]], aligned: Sequence[str]) -> str:
    """Rows of finished cells, the first of which is the head."""
    lines: list[str] = []
    for tag, row in zip(itertools.chain(["th"], itertools.repeat("td")), rows, strict=False):
        sides = itertools.chain(aligned, itertools.repeat(""))
        cells = (
            f"<{tag}{' class=right' * (side == 'right')}>{c}</{tag}>"
            for c, side in zip(row, sides, strict=False)
        )
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<div class=scroll><table>{''.join(lines)}</table></div>"
