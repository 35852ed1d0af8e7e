"""The Pareto front of a planned network: loss against cost, plans and uniform choices."""

from __future__ import annotations

import os
from typing import Any

from ...spec.atomic import replacing
from .planner import Planner

__all__ = ["draw_front"]


def draw_front(planner: Planner, budgets: list[float], path: str | os.PathLike[str]) -> None:
    """Write the figure as SVG.

    Args:
        planner: Whose measurements are drawn; what it has not searched yet it searches.
        budgets: Budgets of the front.
        path: File to write.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    front = sorted(planner.pareto(budgets), key=lambda point: point["cost"])
    uniform = planner.search.uniform()
    with rc_context({"svg.hashsalt": "spikepack", "font.size": 9}):
        drawing = Figure(figsize=(5.2, 3.6))
        panel: Any = drawing.subplots()
        dots: Any = panel.scatter([u.cost for u in uniform], [u.loss for u in uniform], s=12, color="0.6")
        dots.set_label("one T and one width for all layers")
        costs, losses = [p["cost"] for p in front], [p["loss"] for p in front]
        panel.plot(costs, losses, marker="o", markersize=4, label="planned per layer")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xlabel(planner.search.resource.unit)
        panel.set_ylabel(f"{planner.loss_name} from the source")
        panel.legend()
        panel.grid(alpha=0.3)
        drawing.tight_layout()
        with replacing(path) as temporary:
            drawing.savefig(temporary, format="svg", metadata={"Date": None})
