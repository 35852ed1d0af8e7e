"""Accuracy against T: one network converted with several T and measured each time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..spec.atomic import replacing
from ..spec.errors import ParameterError
from .evaluation import MEASURES

__all__ = ["draw_sweep", "sweep_table", "sweep_time_steps"]

Row = dict[str, Any]


def sweep_time_steps(
    source: nn.Module,
    convert: Callable[[int], nn.Module],
    measure: Callable[[nn.Module], dict[str, Any]],
    time_steps: Iterable[int],
) -> list[Row]:
    """Measure the source, then the network converted with each T.

    Args:
        source: The source network.
        convert: ``convert(T)``, the converted network.
        measure: ``measure(network)``, measures in per cent by name; those in ``MEASURES`` count.
        time_steps: Several T.

    Returns:
        One row each: ``time_steps`` (None: the source) and the measures.

    Raises:
        ParameterError: No T, or nothing measured.
    """
    steps = list(time_steps)
    if not steps:
        raise ParameterError("sweep: time_steps must hold a T, got none; pass some, such as 2, 4, 8.")
    rows: list[Row] = [{"time_steps": None, **measure(source)}]
    if not any(name in rows[0] for name in MEASURES):
        raise ParameterError(
            f"sweep: measure must give one of {MEASURES}, got {sorted(rows[0])}; name its result so."
        )
    rows.extend({"time_steps": each, **measure(convert(each))} for each in steps)
    return rows


def sweep_table(rows: Sequence[Row]) -> str:
    """As Markdown, with the points lost of the main measure."""
    names = [name for name in MEASURES if name in rows[0]]
    head = ["T", *names, "points lost"]
    lines = [f"| {' | '.join(head)} |", "|" + "---:|" * len(head)]
    for row in rows:
        source = row["time_steps"] is None
        lost = "" if source else f"{rows[0][names[0]] - row[names[0]]:+.2f}"
        cells = [
            "source" if source else str(row["time_steps"]),
            *(f"{row[name]:.2f}" for name in names),
            lost,
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw_sweep(rows: Sequence[Row], path: str | os.PathLike[str]) -> Path:
    """Plot the measures against T, the source's dashed, to an SVG or PNG file; returns its path."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    source, *points = rows
    for name in (name for name in MEASURES if name in source):
        steps = [row["time_steps"] for row in points]
        (line,) = axes.plot(steps, [row[name] for row in points], "o-", markersize=4, label=name)
        axes.axhline(source[name], color=line.get_color(), linewidth=0.8, linestyle="--")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlabel("time steps T (dashed: source network)")
    axes.set_ylabel("per cent")
    axes.legend(fontsize=8)
    target = Path(path)
    kind = target.suffix.lstrip(".")
    with replacing(target) as temporary, rc_context({"svg.hashsalt": "spikepack"}):
        figure.savefig(temporary, format=kind, dpi=110, metadata={"Date": None} if kind == "svg" else None)
    return target
