"""The demo's table on the terminal and its one-file HTML report."""

# ruff: noqa: ISC004 (sentences of a report, each an element of a list)

from __future__ import annotations

import html
from importlib.resources import files
from pathlib import Path

from ...spec.atomic import write_text
from . import figures
from .results import Picture, Results

__all__ = ["summary", "write_report"]

_EQUALITIES = {
    "serial_multi_step": "numpy, serial multi-step",
    "serial_single_step": "numpy, serial single-step (pipelined)",
    "torch": "torch, packed",
    "lava": "Lava, every population a Process",
}
_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
{head}
<h1>From a trained PyTorch network to bit-exact spikes</h1>
<p>A residual network trained on scikit-learn's scanned digits, converted, exported and simulated.</p>
{key}{body}<footer>{foot}</footer></html>
"""
_HEAD = ["T", "SpikePack", "integer", "logit error", "rate coding", "tuned"]


def _share(value: float) -> str:
    return f"{100 * value:.2f} %"


def _rows(results: Results) -> list[list[str]]:
    """One row per T: SpikePack in floats and integers, and rate coding at the same T."""
    columns = (
        (results.accuracy, _share),
        (results.integer_accuracy, _share),
        (results.integer_logit_error, "{:.4f}".format),
        (results.rate_coding_accuracy, _share),
        (results.rate_coding_tuned_accuracy, _share),
    )
    steps = sorted({t for values, _ in columns for t in values})
    return [[str(t), *(form(values[t]) if t in values else "" for values, form in columns)] for t in steps]


def summary(results: Results) -> str:
    """The closing table as text."""
    rows = [_HEAD, *_rows(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    padded = [[cell.rjust(width) for cell, width in zip(row, widths, strict=True)] for row in rows]
    table = ["  ".join(row) for row in padded]
    marks = {True: "yes", False: "NO "}
    checks = [f"  {marks[results.bit_exact.get(name, False)]}  {text}" for name, text in _EQUALITIES.items()]
    lava = results.lava
    return "\n".join([
        f"Accuracy on {results.test_images} scanned digits; the ANN itself: {_share(results.ann_accuracy)}",
        "(tuned: rate coding with thresholds per channel and membranes that start at half threshold)",
        "",
        *table,
        "",
        f"float network, packed against serial: {results.float_flip_rate:.1e} of the codes differ "
        f"(T = {results.time_steps})",
        "integer network, equal to the packed reference in every code:",
        *checks,
        f"Lava: {lava['samples']} images, {lava['processes']} Processes, "
        f"{1e3 * lava['seconds_per_sample']:.1f} ms per image",
    ])  # fmt: skip


def _cells(tag: str, row: list[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>"


def _table(head: list[str], rows: list[list[str]]) -> str:
    body = "".join(_cells("td", row) for row in rows)
    return (
        f'<div class="scroll"><table><thead>{_cells("th", head)}</thead><tbody>{body}</tbody></table></div>'
    )


def _equality_table(results: Results) -> str:
    rows = []
    for name, label in _EQUALITIES.items():
        what = f"codes of {results.test_images} images"
        if name == "lava":
            what = f"membranes of {results.lava['samples']} images"
        equal = results.bit_exact.get(name, False)
        mark = '<td class="yes">equal</td>' if equal else '<td class="no">different</td>'
        rows.append(f"<tr><td>{html.escape(label)}</td><td>{what}</td>{mark}</tr>")
    head = _cells("th", ["execution", "compared", "result"])
    return f"<table><thead>{head}</thead><tbody>{''.join(rows)}</tbody></table>"


def _key_figures(results: Results) -> str:
    steps = results.time_steps
    shown = {
        "ANN": _share(results.ann_accuracy),
        f"SpikePack, T = {steps}": _share(results.accuracy[steps]),
        f"integer, T = {steps}": _share(results.integer_accuracy[steps]),
        "bit-exact executions": f"{sum(results.bit_exact.values())} of {len(_EQUALITIES)}",
        "Lava, per image": f"{1e3 * results.lava['seconds_per_sample']:.1f} ms",
    }
    boxes = "".join(f"<div>{html.escape(name)}<b>{value}</b></div>" for name, value in shown.items())
    return f'<div class="key">{boxes}</div>'


def _differences(results: Results) -> str:
    by_time = results.integer_code_difference
    layers = list(next(iter(by_time.values())))
    rows = [[layer, *(_share(by_time[steps][layer]) for steps in sorted(by_time))] for layer in layers]
    return _table(["layer", *(f"T = {steps}" for steps in sorted(by_time))], rows)


def _sections(results: Results, drawn: Picture) -> list[tuple[str, str, str]]:
    """Title, text and content of each section."""
    return [
        (
            "Accuracy against time steps",
            "One trained network, two codes. SpikePack writes an activation as a T-digit number, so each "
            "time step doubles the resolution; rate coding counts spikes, so it needs as many time steps as "
            "levels. Tuned: the same recipe at its strongest, thresholds per channel and membranes that "
            "start at half threshold. Logit error: integer against float form, relative.",
            f"<figure>{figures.accuracy(results)}</figure>{_table(_HEAD, _rows(results))}",
        ),
        (
            "Equal, bit for bit",
            f"The integer network was exported to net.spk (T = {results.time_steps}), read back and run in "
            "every way it can run. Every code of every layer is compared with the packed reference; in "
            "Lava, the output membranes.",
            _equality_table(results),
        ),
        (
            "Firing rate per layer",
            "Digit rate: share of time steps with a spike. Word rate: share of codes that are not zero.",
            f"<figure>{figures.firing_rates(results)}</figure>",
        ),
        (
            f"Spikes of {html.escape(drawn.layer)} over one image",
            "Each row is a neuron, each column a digit of its code, most significant first. On the right "
            "one of them: it charges through one window (V ← 2V + input), bias and rounding offset enter, "
            "and it fires through the next, comparing with thresholds that halve each time step. "
            f"Its code is {drawn.code}.",
            f"<figure>{figures.neuron(drawn)}</figure>",
        ),
        (
            "What accuracy does not show",
            "Share of codes that differ between the integer and the float form with the same nodes: 8-bit "
            "weights move a membrane across a threshold now and then.",
            _differences(results),
        ),
    ]


def write_report(path: Path, results: Results, drawn: Picture) -> None:
    """Write the report: one file, no script, no outside reference."""
    style = files("spikejelly_pack.cli.demo").joinpath("report.css").read_text("utf-8")
    body = "".join(
        f"<h2>{title}</h2><p>{text}</p>{content}" for title, text, content in _sections(results, drawn)
    )
    head = f"<title>SpikePack demo</title><style>{style}</style>"
    write_text(path, _PAGE.format(head=head, key=_key_figures(results), body=body, foot=_foot(results)))


def _foot(results: Results) -> str:
    versions = html.escape(", ".join(f"{name} {number}" for name, number in results.versions.items()))
    stages = (f"{stage.replace('_', ' ')} {seconds:.1f} s" for stage, seconds in results.seconds.items())
    return f"Seed {results.seed}. {versions}. Stages: {', '.join(stages)}."
