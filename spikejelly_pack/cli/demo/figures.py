"""Figures of the demo's report, as SVG text."""

from __future__ import annotations

import io
from typing import Any

from matplotlib import rc_context
from matplotlib.figure import Figure

from .results import Picture, Results

__all__ = ["accuracy", "firing_rates", "neuron"]

_BLUE, _ORANGE, _SAND, _GREY, _DARK = "#1f6feb", "#c4572a", "#d9a441", "#8a94a3", "#1c2430"
_STYLE: dict[Any, Any] = {
    "font.size": 10, "axes.spines.top": False, "axes.spines.right": False, "axes.edgecolor": _GREY,
    "svg.fonttype": "none", "svg.hashsalt": "spikepack", "text.color": _DARK, "axes.labelcolor": _DARK,
}  # fmt: skip


def _svg(figure: Figure) -> str:
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None}, bbox_inches="tight")
    text = buffer.getvalue()
    return text[text.index("<svg") :]


def _figure(width: float, height: float, columns: int = 1, **options: Any) -> tuple[Figure, Any]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(1, columns, **options)


def accuracy(results: Results) -> str:
    """Test accuracy against T for both codes."""
    with rc_context(_STYLE):
        figure, axes = _figure(7.6, 3.4)
        axes.axhline(100 * results.ann_accuracy, color=_GREY, lw=1, ls="--")
        curves = [
            (results.accuracy, _BLUE, "o", "SpikePack"),
            (results.rate_coding_tuned_accuracy, _SAND, "^", "rate coding, tuned"),
            (results.rate_coding_accuracy, _ORANGE, "s", "rate coding"),
        ]
        for values, color, marker, label in curves:
            times = sorted(values)
            axes.plot(times, [100 * values[t] for t in times], color=color, marker=marker, lw=2, label=label)
        times = sorted({*results.accuracy, *results.rate_coding_accuracy})
        axes.set_xscale("log", base=2)
        axes.set_xticks(times, [str(t) for t in times])
        axes.minorticks_off()
        axes.set_xlabel("time steps T")
        axes.set_ylabel("test accuracy (%)")
        axes.text(times[0], 100 * results.ann_accuracy, " ANN ", va="bottom", color=_GREY)
        axes.legend(frameon=False, loc="lower right")
        return _svg(figure)


def firing_rates(results: Results) -> str:
    """Digit and word rate of every layer at the exported T."""
    with rc_context(_STYLE):
        layers = list(results.firing_rate)
        figure, axes = _figure(7.6, 0.42 * len(layers) + 1.1)
        for offset, kind, color in ((-0.2, "digit", _BLUE), (0.2, "word", _GREY)):
            values = [100 * results.firing_rate[layer][kind] for layer in layers]
            axes.barh(
                [i + offset for i in range(len(layers))], values, 0.38, color=color, label=f"{kind} rate"
            )
        axes.set_yticks(range(len(layers)), layers)
        axes.invert_yaxis()
        axes.set_xlim(0, 100)
        axes.set_xlabel("share (%)")
        axes.legend(frameon=False, loc="lower right")
        return _svg(figure)


def neuron(drawn: Picture) -> str:
    """Spike raster of a part of a layer, and one neuron's registers while it charges and fires."""
    with rc_context(_STYLE):
        figure, (left, right) = _figure(9.0, 3.8, 2, width_ratios=(1, 1.5))
        steps = len(drawn.raster)
        for t, row in enumerate(drawn.raster, 1):
            spiking = [index for index, spike in enumerate(row) if spike]
            left.plot([t] * len(spiking), spiking, "|", color=_DARK, ms=7, mew=1.6)
        left.axhline(drawn.neuron, color=_ORANGE, lw=5, alpha=0.25)
        left.set_xticks(range(1, steps + 1))
        left.set_xlim(0.5, steps + 0.5)
        left.set_xlabel("time step of the window (digit)")
        left.set_ylabel("neuron")
        charging = range(1, len(drawn.charging) + 1)
        firing = range(len(drawn.charging), len(drawn.charging) + len(drawn.firing))
        right.step(
            [0, *charging],
            [0, *drawn.charging],
            where="post",
            color=_GREY,
            lw=1.6,
            label="accumulator (charging)",
        )
        right.step(
            firing, drawn.firing, where="post", color=_BLUE, lw=2, label="membrane (firing, soft reset)"
        )
        for t, theta in enumerate(drawn.thresholds):
            at = len(drawn.charging) + t
            label = "threshold" if t == 0 else None
            right.hlines(theta, at, at + 1, color=_ORANGE, ls="--", lw=1.6, label=label)
        right.set_xlabel("time step")
        right.set_ylabel("integer membrane")
        right.legend(frameon=False, fontsize=8, loc="upper left")
        return _svg(figure)
