"""Plots of a conversion, layer by layer; matplotlib is imported when one is drawn."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from ..spec.atomic import replacing
from ..spec.errors import ParameterError
from .probes import NodeProbe, probe

__all__ = ["draw_plots", "write_plots"]

FORMATS = ("svg", "png")
_PER_PAGE = 16
_BLUE, _RED, _GREY = "#1f5fa8", "#c0392b", "#888888"


def write_plots(
    network: nn.Module, batches: Iterable[Any], folder: str | os.PathLike[str], device: Any = "cpu",
    file_format: str = "svg",
) -> list[Path]:  # fmt: skip
    """Probe a converted network on data and draw its plots.

    Args:
        network: Result of :func:`.convert`.
        batches: As for calibration.
        folder: Made when missing.
        device: Where the network is.
        file_format: ``"svg"`` or ``"png"``.

    Returns:
        The files.

    Raises:
        UnsupportedError: The network is of another kind.
        ParameterError: There is no data, or the format is unknown.
        OutputError: The folder cannot be written.
    """
    return draw_plots(probe(network, (_placed(batch, device) for batch in batches)), folder, file_format)


def draw_plots(
    probes: Sequence[NodeProbe], folder: str | os.PathLike[str], file_format: str = "svg"
) -> list[Path]:
    """Draw ``activations_N``, ``error_growth`` and ``saturation``; arguments as for :func:`write_plots`."""
    from matplotlib import rc_context

    if file_format not in FORMATS:
        raise ParameterError(f"plots: file_format must be one of {FORMATS}, got {file_format!r}; choose one.")
    pages = [probes[i : i + _PER_PAGE] for i in range(0, len(probes), _PER_PAGE)]
    drawn = {f"activations_{number}": _activations(page) for number, page in enumerate(pages, 1)}
    drawn["error_growth"] = _error_growth(probes)
    drawn["saturation"] = _saturation(probes)
    written = []
    for name, figure in drawn.items():
        path = Path(folder) / f"{name}.{file_format}"
        with replacing(path) as temporary, rc_context({"svg.hashsalt": "spikepack"}):
            figure.savefig(
                temporary,
                format=file_format,
                dpi=110,
                metadata={"Date": None} if file_format == "svg" else None,
            )
        written.append(path)
    return written


def _placed(batch: Any, device: Any) -> Any:
    images = batch[0] if isinstance(batch, (tuple, list)) else batch
    return ([x.to(device) for x in images] if isinstance(images, list) else images.to(device), None)


def _figure(width: float, height: float) -> Any:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _activations(probes: Sequence[NodeProbe]) -> Any:
    columns = min(4, len(probes))
    rows = -(-len(probes) // columns)
    figure = _figure(3.2 * columns, 2.8 * rows)
    for index, found in enumerate(probes):
        axes = figure.add_subplot(rows, columns, index + 1)
        low, high = float(found.values.min()), float(found.values.max())
        axes.plot([low, high], [low, high], color=_GREY, linewidth=0.8)
        axes.plot(found.values, found.decoded, ".", color=_BLUE, markersize=2, rasterized=True)
        for edge in (found.theta, -found.theta):
            if low <= edge <= high:
                axes.axvline(edge, color=_RED, linewidth=0.8, linestyle="--")
        axes.set_title(_short(found.name), fontsize=7)
        axes.tick_params(labelsize=6)
    figure.supxlabel("activation (dashed: threshold)", fontsize=8)
    figure.supylabel("decoded value", fontsize=8)
    return figure


def _error_growth(probes: Sequence[NodeProbe]) -> Any:
    figure = _figure(max(6.0, 0.22 * len(probes) + 2), 4)
    axes = figure.add_subplot()
    places = [i for i, found in enumerate(probes) if found.drift is not None]
    axes.plot(
        places, [probes[i].drift for i in places], "o-", color=_BLUE, markersize=3,
        label="arriving: against the source network",
    )  # fmt: skip
    axes.plot(
        range(len(probes)), [found.coding for found in probes], "s--", color=_RED, markersize=3,
        label="added by the node: decoded against arriving",
    )  # fmt: skip
    axes.set_ylabel("relative error")
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=8)
    _name_layers(axes, probes)
    return figure


def _saturation(probes: Sequence[NodeProbe]) -> Any:
    figure = _figure(max(6.0, 0.22 * len(probes) + 2), 4)
    axes = figure.add_subplot()
    places = range(len(probes))
    axes.bar(
        [i - 0.2 for i in places],
        [100 * found.saturated for found in probes],
        0.4,
        color=_RED,
        label="saturated values",
    )
    axes.bar(
        [i + 0.2 for i in places],
        [100 * found.dead for found in probes],
        0.4,
        color=_GREY,
        label="dead channels",
    )
    axes.set_ylabel("per cent")
    axes.legend(fontsize=8)
    _name_layers(axes, probes)
    return figure


def _name_layers(axes: Any, probes: Sequence[NodeProbe]) -> None:
    axes.set_xticks(range(len(probes)), [_short(found.name) for found in probes], rotation=90, fontsize=6)
    axes.set_xlabel("node, in the order of the network")


def _short(name: str) -> str:
    return name if len(name) <= 34 else "..." + name[-31:]
