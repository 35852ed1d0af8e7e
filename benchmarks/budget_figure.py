"""Figure of the Bit Budget experiment: accuracy against windows."""

from __future__ import annotations

from typing import Any

__all__ = ["figure"]


def figure(result: dict[str, Any]) -> str:
    """Accuracy against the number of windows as SVG: a panel per data set and budget, a line per b_w."""
    import io

    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    data = result["results"]
    budgets = sorted({row["budget"] for rows in data.values() for row in rows})
    with matplotlib.rc_context({"svg.hashsalt": "spikepack", "font.size": 8}):
        size = (2.2 * len(budgets) + 0.8, 2.0 * len(data) + 0.4)
        drawing, panels = plt.subplots(len(data), len(budgets), figsize=size, squeeze=False, sharey="row")
        for line, (name, rows) in zip(panels, data.items(), strict=True):
            for panel, budget in zip(line, budgets, strict=True):
                _panel(panel, [row for row in rows if row["budget"] == budget], f"{name}, BB = {budget}")
            line[0].set_ylabel("accuracy, %")
        for panel in panels[-1]:
            panel.set_xlabel("windows T")
        panels[0][0].legend(title="weight bits", fontsize=7, title_fontsize=7)
        drawing.tight_layout()
        text = io.StringIO()
        drawing.savefig(text, format="svg", metadata={"Date": None})
        plt.close(drawing)
    return text.getvalue()


def _panel(panel: Any, rows: list[dict[str, Any]], title: str) -> None:
    if not rows:
        panel.set_axis_off()
        return
    for weight_bits in sorted({row["weight_bits"] for row in rows}):
        chosen = sorted((r for r in rows if r["weight_bits"] == weight_bits), key=lambda r: r["windows"])
        points = [(row["windows"], row["accuracy"]) for row in chosen]
        colour = f"C{weight_bits.bit_length() - 1}"  # one width, one colour in every panel
        panel.plot(
            *zip(*points, strict=True),
            marker="o",
            markersize=3,
            linewidth=1,
            label=str(weight_bits),
            color=colour,
        )
    panel.set_xscale("log", base=2)
    windows = sorted({row["windows"] for row in rows})
    panel.set_xlim(0.85 * windows[0], 1.18 * windows[-1])
    panel.set_xticks(windows)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.set_title(title, fontsize=8)
    panel.grid(alpha=0.3)
