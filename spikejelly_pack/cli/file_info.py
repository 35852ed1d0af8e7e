"""``spikepack info FILE``: what an exchange file holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..spec.graph import Network
    from ..spec.graph.base import Op

__all__ = ["describe", "text"]


def describe(path: str) -> dict[str, Any]:
    """Read a file, verify it, and say what is in it; JSON-ready.

    Raises:
        ExchangeFileError: It is no whole exchange file, or its golden samples do not come out.
    """
    from ..spec import exchange
    from ..spec.bounds import accumulator_widths

    network = exchange.load(path)
    golden = exchange.golden_samples(network, path)
    widths = accumulator_widths(network)
    return {
        "file": path,
        "bytes": Path(path).stat().st_size,
        "version": network.version,
        "time_steps": network.time_steps,
        "windows": network.windows,
        "latency_windows": network.depth,
        "golden_samples": len(next(iter(golden.values()), ())),
        "provenance": network.provenance,
        "operations": [_operation(network, op, widths) for op in network.ops.values()],
    }


def _operation(network: Network, op: Op, widths: dict[str, int]) -> dict[str, Any]:
    from ..spec.graph import Input, Neuron, Synapse

    entry: dict[str, Any] = {
        "name": op.name,
        "kind": op.kind,
        "reads": list(op.inputs),
        "shape": list(network.shapes[op.name]),
    }
    if isinstance(op, (Input, Neuron)):
        entry |= {"time_steps": op.time_steps, "signed": op.signed}
    if isinstance(op, Synapse):
        entry |= {"weights": int(op.weights().size), "weight_bits": op.weight_bits}
    if isinstance(op, Neuron):
        entry |= {
            "threshold": [int(op.threshold.min()), int(op.threshold.max())],
            "leak_shift": op.leak_shift,
        }
    if op.name in widths:
        entry |= {"membrane_bits": widths[op.name], "state_bits": getattr(op, "state_bits", None)}
    return entry


def _details(entry: dict[str, Any]) -> str:
    parts: list[str] = []
    if "time_steps" in entry:
        parts.append(f"{'signed ' if entry['signed'] else ''}T = {entry['time_steps']}")
    if "weights" in entry:
        parts.append(f"{entry['weights']:,} weights of {entry['weight_bits']} bits")
    if "threshold" in entry:
        low, high = entry["threshold"]
        parts.append(f"theta {low}" if low == high else f"theta {low}..{high}")
    if entry.get("leak_shift") is not None:
        parts.append(f"leak 2^-{entry['leak_shift']}")
    if "membrane_bits" in entry:
        parts.append(f"membrane {entry['membrane_bits']} of {entry['state_bits']} bits")
    return ", ".join(parts)


def text(found: dict[str, Any]) -> str:
    """Format :func:`describe`'s result for a terminal."""
    several = f", {found['windows']} windows a sample" if found["windows"] > 1 else ""
    head = (
        f"{found['file']}: version {found['version']}, {found['bytes']:,} bytes, T = {found['time_steps']}"
        f"{several}, latency {found['latency_windows']} windows, {found['golden_samples']} golden samples, "
        "verified"
    )
    lines = [head, *(f"  {key}: {value}" for key, value in found["provenance"].items())]
    lines.append(f"{'operation':24} {'kind':16} {'shape':14} {'reads':24} details")
    for entry in found["operations"]:
        shape, reads = " x ".join(map(str, entry["shape"])), ", ".join(entry["reads"])
        lines.append(
            f"{entry['name']:24} {entry['kind']:16} {shape:14} {reads:24} {_details(entry)}".rstrip()
        )
    return "\n".join(lines)
