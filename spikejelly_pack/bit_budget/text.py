"""A budget report as plain text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

__all__ = ["as_text"]

_RATES = ("digit_rate", "word_rate")
Report = Mapping[str, Any]


def as_text(report: Report) -> str:
    """A table of the layers, the totals, and all that is not in them, of :meth:`.BudgetReport.to_dict`."""
    head = (
        f"{'layer':28} {'reads':7} {'MACs':>13} {'W':>3} {'b':>3} {'b_w':>3} {'BB':>5} {'S-ACE':>16} "
        f"{'NS-ACE':>16} {'digits':>7} {'words':>7}"
    )
    return "\n".join([head, *map(_line, report["layers"]), *_totals(report), *_outside(report)])


def _line(row: dict[str, Any]) -> str:
    rates = [f"{row[name]:7.2%}" if row[name] is not None else f"{'-':>7}" for name in _RATES]
    return (
        f"{row['layer'][-28:]:28} {row['reads']:7} {row['macs']:13,} {row['windows']:3} {row['word_bits']:3} "
        f"{row['weight_bits']:3} {row['bb']:5} {row['s_ace']:16,} {row['ns_ace']:16,.0f} {' '.join(rates)}"
    )


def _totals(report: Report) -> list[str]:
    totals, table = report["totals"], report["energy_table"]
    widths = [name for name in totals if name.startswith("ace_")]
    aces = ", ".join(f"{totals[name]:,} at {name.removeprefix('ace_')} bits" for name in widths)
    counts = f"MACs {totals['macs']:,}, SynOps {totals['synops']:,.0f}, spikes {totals['spikes']:,.0f}"
    weights = f"parameters {totals['parameter_memory']:,} (weights {totals['weight_memory']:,})"
    source = f"{table['name']}, {table['technology_nm']:g} nm, {table['scope']}"
    return [
        f"S-ACE {totals['s_ace']:,}, NS-ACE {totals['ns_ace']:,.0f} (by the {report['rate']} rate), {counts}",
        f"ACE of the source network: {aces}",
        f"memory in bits: {weights}, state {totals['state_memory']:,}",
        f"energy {totals['energy']:,.0f} {table['unit']} ({source})",
    ]


def _outside(report: Report) -> list[str]:
    """What the totals leave out or had to assume."""
    plumbing = report["totals"]["plumbing"]
    found = [f"plumbing, outside S-ACE: {plumbing:,}"] if plumbing else []
    for path, origin in report["analog"].items():
        found.append(f"analog operand: {path or 'the network'} reads {', '.join(origin)}")
    for path, macs in report["inside_neurons"].items():
        found.append(f"inside neurons, outside S-ACE: {path}, {macs:,} multiply-accumulates of the batch")
    for name, calls in report["unsupported"].items():
        found.append(f"NOT COUNTED, no rule: {name}, {calls} calls")
    return found
