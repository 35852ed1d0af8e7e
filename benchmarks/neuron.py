"""Packed SpikePack neuron against those of SpikingJelly, snnTorch and Norse: forward and backward of a layer.

``run()`` checks that every contender computes what it should, then times them interleaved in one process,
so that ratios are of neighbours in time. A contender that is wrong is not timed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import functional as sj
from spikingjelly.activation_based import neuron as sj_neuron
from torch import nn

from benchmarks.measure import machine, peak_bytes, ratio, spread
from benchmarks.measure import seconds as seconds_of
from benchmarks.neuron_peers import PEERS, peers, versions, wrong
from spikejelly_pack import SpikePackNode
from spikejelly_pack.functional import decode
from spikejelly_pack.spec.errors import ParameterError, RunError

__all__ = ["FAST", "TARGETS", "run", "table"]

# A smoke test, no measurement.
FAST = {"elements": 2**12, "rounds": 2, "compiled": False}
# Ratios that the README promises, and the pair each is measured on.
TARGETS = {
    "lif": ("packed", 16.0),
    "lif_compiled": ("packed", 8.0),
}


@dataclass
class Contender:
    """A node, its input and the gradient of its output."""

    node: nn.Module
    x: torch.Tensor
    grad: torch.Tensor

    def step(self) -> torch.Tensor:
        """One forward and backward pass; returns the output."""
        sj.reset_net(self.node)
        self.x.grad = None
        out = self.node(self.x)
        out.backward(self.grad)
        return out


def run(
    elements: int = 2**22,
    time_steps: int = 8,
    rounds: int = 7,
    compiled: bool = True,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, object]:
    """Time the contenders.

    Args:
        elements: Neurons in the layer.
        time_steps: T of the packed node and sequence length of the other neurons.
        rounds: Timed rounds; each runs every contender once.
        compiled: Also time ``torch.compile``d nodes (a compiler takes up to a minute first).
        seed: Seed of the inputs.
        progress: Called with one line per stage.

    Returns:
        ``seconds`` and ``peak_bytes`` per contender, ``ratios`` to the packed node (median, min, max over
        the rounds), ``flatness`` of time and memory in T, ``targets``, and the machine. JSON-ready.

    Raises:
        ParameterError: A size is not positive.
        RunError: A contender computes something else than it should.
    """
    for name, value in (("elements", elements), ("rounds", rounds)):
        if value < 1:
            raise ParameterError(f"bench neuron: {name} must be positive, got {value}; raise it.")
    say = progress or (lambda _: None)
    say("checking the formulas of the others")
    if others := wrong(peers(), time_steps):
        raise RunError(
            f"bench neuron: {', '.join(others)} must compute its formula, got other spikes; not timed."
        )
    contenders = _contenders(elements, time_steps, compiled, seed)
    for name, contender in contenders.items():
        say(f"checking {name}")
        contender.step()
    _check(contenders, time_steps)
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        say(f"round {index + 1} of {rounds}")
        for name, contender in contenders.items():
            seconds[name].append(seconds_of(contender.step))
    peak = {name: peak_bytes(contender.step) for name, contender in contenders.items()}
    return _report(seconds, peak, elements, time_steps)


def _contenders(elements: int, time_steps: int, compiled: bool, seed: int) -> dict[str, Contender]:
    generator = torch.Generator().manual_seed(seed)
    window = torch.randn(1, elements, generator=generator)
    window_grad = torch.randn(1, elements, generator=generator)
    # One sequence for all: they leave their input alone.
    sequence = torch.randn(time_steps, elements, generator=generator).requires_grad_()
    sequence_grad = torch.randn(time_steps, elements, generator=generator)

    def packed(steps: int) -> SpikePackNode:
        return SpikePackNode(steps, form="packed", step_mode="m")

    def on_window(node: nn.Module) -> Contender:
        return Contender(node, window.clone().requires_grad_(), window_grad)

    def on_sequence(node: nn.Module) -> Contender:
        return Contender(node, sequence, sequence_grad)

    contenders = {
        "packed": on_window(packed(time_steps)),
        "packed_t1": on_window(packed(1)),
        "relu": on_window(nn.ReLU()),
    }
    contenders |= {name: on_sequence(peer.make(time_steps)) for name, peer in peers().items()}
    if compiled:
        contenders["packed_compiled"] = on_window(_compile(packed(time_steps)))
        contenders["lif_compiled"] = on_sequence(_compile(sj_neuron.LIFNode(step_mode="m")))
    return contenders


def _compile(node: nn.Module) -> nn.Module:
    # In place: the module stays a SpikingJelly node that reset_net finds.
    node.compile()
    return node


def _check(contenders: dict[str, Contender], time_steps: int) -> None:
    reference = contenders["packed"]
    start = reference.x.detach()
    node = SpikePackNode(time_steps)
    inside = (start >= 0) & (start <= 1)
    facts = {
        "packed": torch.equal(reference.step(), decode(node.encode(start), time_steps)),
        "packed gradient": torch.equal(_grad(reference), reference.grad * inside),
    }
    for name in ("packed", "lif"):
        other = contenders.get(f"{name}_compiled")
        if other is None:
            continue
        facts[f"{name}_compiled"] = torch.equal(other.step(), contenders[name].step())
        expected = _grad(contenders[name])
        facts[f"{name}_compiled gradient"] = torch.allclose(_grad(other), expected, rtol=1e-4, atol=1e-4)
    wrong = [name for name, holds in facts.items() if not holds]
    if wrong:
        raise RunError(f"bench neuron: {', '.join(wrong)} must equal the reference; nothing was timed.")


def _grad(contender: Contender) -> torch.Tensor:
    contender.step()
    grad = contender.x.grad
    assert grad is not None
    return grad.clone()


def _ratios(seconds: dict[str, list[float]], base: str) -> dict[str, dict[str, float]]:
    return {name: ratio(values, seconds[base]) for name, values in seconds.items() if name != base}


def _report(
    seconds: dict[str, list[float]], peak: dict[str, int], elements: int, time_steps: int
) -> dict[str, object]:
    ratios = _ratios(seconds, "packed")
    report: dict[str, object] = {
        "elements": elements,
        "time_steps": time_steps,
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "peak_bytes": peak,
        "ratios": ratios,
        "memory_ratios": {name: value / peak["packed"] for name, value in peak.items() if name != "packed"},
        "flatness": {
            "time": ratio(seconds["packed"], seconds["packed_t1"]),
            "memory": peak["packed"] / peak["packed_t1"],
        },
        "targets": {
            name: {
                "wanted": wanted,
                "median": ratios[name]["median"],
                "met": ratios[name]["median"] >= wanted,
            }
            for name, (_, wanted) in TARGETS.items()
            if name in ratios
        },
        "libraries": versions(),
        "machine": machine(),
    }
    if "packed_compiled" in seconds:
        report["ratios_to_compiled"] = _ratios(seconds, "packed_compiled")
    return report


def table(report: dict[str, Any]) -> str:
    """Format the ratios of :func:`run` as a Markdown table: median (smallest to largest)."""
    names = {
        **{name: peer.title for name, peer in PEERS.items()},
        "lif_compiled": "LIFNode, `torch.compile`d",
        "packed_compiled": "SpikePackNode packed, `torch.compile`d",
        "relu": "ReLU",
    }
    steps = report["time_steps"]
    lines = [f"| forward and backward, T = {steps} | time | peak memory |", "|---|---:|---:|"]
    for key, name in names.items():
        if key in report["ratios"]:
            time_ratio = "{median:.2f} ({min:.2f} to {max:.2f})".format(**report["ratios"][key])
            lines.append(f"| {name} | {time_ratio} | {report['memory_ratios'][key]:.2f} |")
    flat = "{median:.2f} ({min:.2f} to {max:.2f})".format(**report["flatness"]["time"])
    lines.append(
        f"| SpikePackNode packed, T = {steps} against T = 1 | {flat} | {report['flatness']['memory']:.2f} |"
    )
    return "\n".join(lines)
