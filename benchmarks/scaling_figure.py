"""Figure of the scaling benchmark: time of inference and training against every axis."""

from __future__ import annotations

from typing import Any

__all__ = ["figure"]

_COLOURS = {"packed": "#1f5fa8", "serial": "#7fb0e6", "lif": "#c0392b", "ann": "#888888"}
_AXES = {"time_steps": "time steps T", "batch": "batch", "width": "channels", "depth": "residual blocks"}


def figure(result: dict[str, Any]) -> str:
    """SVG: a row per mode, a panel per axis, both logarithmic; bars from least to most."""
    import io

    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"svg.hashsalt": "spikepack", "font.size": 8}):
        drawing = Figure(figsize=(9.2, 4.6), layout="constrained")
        panels = drawing.subplots(2, len(_AXES), squeeze=False, sharey="row")
        for line, (mode, title) in zip(
            panels, {"infer": "inference", "train": "training step"}.items(), strict=True
        ):
            for panel, (axis, label) in zip(line, _AXES.items(), strict=True):
                _panel(panel, result["axes"][axis], mode)
                panel.set_xlabel(label)
            line[0].set_ylabel(f"{title}, ms")
        panels[0][0].legend(fontsize=7)
        text = io.StringIO()
        drawing.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()


def _panel(panel: Any, axis: dict[str, Any], mode: str) -> None:
    places = axis["places"]
    for kind, colour in _COLOURS.items():
        values = [axis["seconds"][mode][kind][str(place)] for place in places]
        middle = [1e3 * value["median"] for value in values]
        below = [1e3 * (value["median"] - value["min"]) for value in values]
        above = [1e3 * (value["max"] - value["median"]) for value in values]
        panel.errorbar(
            places, middle, (below, above), color=colour, label=kind, marker="o", markersize=3, linewidth=1
        )
    panel.set_xscale("log", base=2)
    panel.set_yscale("log")
    panel.set_xticks(places)
    panel.xaxis.set_major_formatter("{x:g}")
    panel.grid(alpha=0.3)
