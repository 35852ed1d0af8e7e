"""``spikepack info FILE`` for networks in PyTorch's form: what ``spikepack convert`` and ``train`` wrote."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

__all__ = ["SUFFIXES", "describe", "text"]

SUFFIXES = (".safetensors", ".ckpt")


def describe(path: str) -> dict[str, Any]:
    """Say what is in a converted or trained network's file; JSON-ready.

    Raises:
        ExchangeFileError: It is a converted network, damaged.
        ParameterError: It is neither.
    """
    from ..tasks.saved import is_conversion

    made = _converted(path) if path.endswith(".safetensors") and is_conversion(path) else _trained(path)
    return {"file": path, "bytes": Path(path).stat().st_size, **made}


def _converted(path: str) -> dict[str, Any]:
    from ..tasks.saved import load_conversion, read_conversion

    about = asdict(read_conversion(path))
    # On the module route the network is made by code, which a look at a file must not run.
    nodes = [] if about.pop("graph") is None else _nodes(load_conversion(path)[0])
    return {"made_by": "spikepack convert", "facts": about, "nodes": nodes}


def _trained(path: str) -> dict[str, Any]:
    from ..train import load_network

    net = load_network(path)
    return {"made_by": "spikepack train", "facts": dict(net.config), "nodes": _nodes(net)}


def _nodes(net: nn.Module) -> list[dict[str, Any]]:
    from ..neuron import SpikePackNode

    found: list[dict[str, Any]] = []
    for name, node in net.named_modules():
        if isinstance(node, SpikePackNode):
            theta = node.threshold.detach()
            span = [float(theta.min()), float(theta.max())]
            entry = {"name": name, "time_steps": node.time_steps, "signed": node.params.signed}
            found.append({**entry, "threshold": span, "leak": node.params.leak})
    return found


def text(found: dict[str, Any]) -> str:
    """Format :func:`describe`'s result for a terminal."""
    lines = [f"{found['file']}: a network that {found['made_by']} wrote, {found['bytes']:,} bytes"]
    lines += [f"  {name}: {value}" for name, value in found["facts"].items() if value not in (None, {}, "")]
    if found["nodes"]:
        lines.append(f"{'node':40} {'T':>2} sign  threshold")
    for node in found["nodes"]:
        low, high = (f"{value:.4g}" for value in node["threshold"])
        shown = low if low == high else f"{low} to {high}"
        sign = "+-" if node["signed"] else "+"
        lines.append(f"{node['name']:40} {node['time_steps']:2d} {sign:>4}  {shown}")
    return "\n".join(lines)
