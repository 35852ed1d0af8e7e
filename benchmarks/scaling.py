"""What T, batch, width, depth and the number of processes cost, and an estimate for ImageNet on many GPUs.

One residual CNN with SpikePack (packed, and serial: spike by spike), with SpikingJelly's LIF neuron
(multi-step) and with ReLU. ``run()`` checks that packed and serial form are one function, then times
inference and training steps of all, interleaved. Slopes are of ``log time`` against ``log T`` (0: T is free,
1: every step is paid for), one per round. Activation memory is what autograd keeps for the backward pass,
parameters left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from benchmarks.measure import machine, ratio, spread
from benchmarks.measure import seconds as seconds_of
from benchmarks.scaling_estimate import estimates
from benchmarks.scaling_figure import figure
from benchmarks.scaling_network import network
from benchmarks.scaling_workers import workers
from spikejelly_pack import decode_output
from spikejelly_pack.spec.errors import ParameterError, RunError

__all__ = ["FAST", "figure", "run", "table"]

# A smoke test, no measurement.
FAST: dict[str, Any] = {
    "time_steps": (1, 2),
    "batches": (1, 2),
    "widths": (2, 4),
    "depths": (1, 2),
    "rounds": 1,
    "size": 8,
    "processes": (1,),
}
BASE = {"batch": 8, "width": 16, "depth": 4}
TITLES = {"packed": "SpikePack packed", "serial": "SpikePack serial", "lif": "LIF", "ann": "ANN"}


class Contender:
    """A network and its input sequence: one image a step, or one packed window."""

    def __init__(self, kind: str, steps: int, batch: int, width: int, depth: int, size: int) -> None:
        self.net = network(kind, steps, width, depth)
        image = torch.rand(1, batch, 3, size, size, generator=torch.Generator().manual_seed(0))
        self.x = image if kind in ("packed", "ann") else image.repeat(steps, 1, 1, 1, 1)
        self.target = torch.arange(batch) % 10

    def infer(self) -> Tensor:
        """One forward pass."""
        functional.reset_net(self.net)
        with torch.no_grad():
            return self.net(self.x).mean(0)

    def train(self) -> None:
        """Forward and backward pass of one step."""
        functional.reset_net(self.net)
        self.net.zero_grad()
        nn.functional.cross_entropy(self.net(self.x).mean(0), self.target).backward()

    def activation_bytes(self) -> int:
        """Bytes autograd keeps for the backward pass."""
        functional.reset_net(self.net)
        own = {p.untyped_storage().data_ptr() for p in self.net.parameters()}
        kept: dict[int, int] = {}

        def keep(value: Tensor) -> Tensor:
            storage = value.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            loss = nn.functional.cross_entropy(self.net(self.x).mean(0), self.target)
        total = sum(kept.values())
        del loss
        return total


def run(
    time_steps: Sequence[int] = (1, 2, 4, 8, 16),
    batches: Sequence[int] = (1, 4, 16, 64),
    widths: Sequence[int] = (8, 16, 32, 64),
    depths: Sequence[int] = (1, 2, 4, 8),
    rounds: int = 7,
    size: int = 32,
    processes: Sequence[int] = (1, 2),
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Check, then time along every axis.

    Args:
        time_steps: T, at batch, width and depth of :data:`BASE`.
        batches: Images per step, at the middle T.
        widths: Channels.
        depths: Residual blocks.
        rounds: Timed rounds; each runs every contender at every place of an axis once.
        size: Height and width of the images.
        processes: Numbers of training processes, the same global batch (gloo).
        progress: Called with one line per stage.

    Returns:
        Per axis, place and contender: seconds of inference and training, activation bytes; slopes in T with
        their spread over rounds; ``workers``; ``estimate``; the machine. JSON-ready.

    Raises:
        ParameterError: A size is not positive.
        RunError: Packed and serial form differ; nothing is timed.
    """
    axes = {"time_steps": time_steps, "batch": batches, "width": widths, "depth": depths}
    sizes = {**axes, "rounds": (rounds,), "size": (size,), "processes": processes}
    for name, values in sizes.items():
        if not values or min(values) < 1:
            raise ParameterError(f"bench scaling: {name} must be positive, got {list(values)}; raise it.")
    say = progress or (lambda _: None)
    say("checking packed against serial")
    for steps in time_steps:
        _check(steps, size)
    steps = time_steps[len(time_steps) // 2]
    result: dict[str, Any] = {"axes": {}}
    for axis, places in axes.items():
        result["axes"][axis] = _along(axis, places, {**BASE, "time_steps": steps}, size, rounds, say)
    say("processes")
    result["workers"] = workers(processes, rounds, size)
    result["estimate"] = estimates(result["axes"]["time_steps"]["ratios"])
    return {**result, "base": {**BASE, "time_steps": steps}, "size": size, "machine": machine()}


def _check(steps: int, size: int) -> None:
    """Packed against serial form in float64, so that codes do not flip."""
    outputs = []
    for kind in ("packed", "serial"):
        contender = Contender(kind, steps, 1, 4, 2, size)
        net = contender.net.double()
        with torch.no_grad():
            out = net(contender.x.double())
        outputs.append(out[0] if kind == "packed" else decode_output(out, steps)[0])
    difference = float((outputs[0] - outputs[1]).abs().max())
    if not difference <= 1e-9:
        raise RunError(
            f"bench scaling: packed and serial form must agree to 1e-9 at T = {steps}, got a difference of "
            f"{difference:.2e}; nothing was timed."
        )


def _along(
    axis: str, places: Sequence[int], base: dict[str, int], size: int, rounds: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Every contender at every place of one axis."""
    made = {}
    for place in places:
        own = {**base, axis: place}
        numbers = (own["time_steps"], own["batch"], own["width"], own["depth"], size)
        made[place] = {kind: Contender(kind, *numbers) for kind in TITLES}
    modes = ("infer", "train")
    taken: dict[str, Any] = {mode: {k: {p: [] for p in places} for k in TITLES} for mode in modes}
    for index in range(-1, rounds):
        say(f"{axis}: {'first calls' if index < 0 else f'round {index + 1} of {rounds}'}")
        for place, kinds in made.items():
            for kind, contender in kinds.items():
                for mode in modes:
                    seconds = seconds_of(partial(getattr(contender, mode)))
                    if index >= 0:
                        taken[mode][kind][place].append(seconds)
    memory = {k: {str(p): made[p][k].activation_bytes() for p in places} for k in TITLES}
    return {
        "places": list(places),
        "activation_bytes": memory,
        "seconds": _each(taken, lambda values, _: spread(values)),
        "ratios": _each(taken, lambda values, packed: ratio(values, packed)),
        "slopes": {m: {k: spread(_slopes(taken[m][k])) for k in TITLES} for m in modes},
        "memory_slopes": {k: _slope(list(places), list(values.values())) for k, values in memory.items()},
    }


def _each(taken: dict[str, Any], what: Callable[[list[float], list[float]], Any]) -> dict[str, Any]:
    return {
        mode: {
            kind: {str(place): what(values, kinds["packed"][place]) for place, values in places.items()}
            for kind, places in kinds.items()
        }
        for mode, kinds in taken.items()
    }


def _slopes(places: dict[int, list[float]]) -> list[float]:
    """One slope per round."""
    return [_slope(list(places), list(values)) for values in zip(*places.values(), strict=True)]


def _slope(places: list[int], values: Sequence[float]) -> float:
    """Of the straight line of least squares through the logarithms."""
    x, y = [math.log(place) for place in places], [math.log(value) for value in values]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    spread_x = sum((a - mean_x) ** 2 for a in x)
    return sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread_x if spread_x else 0.0


def table(result: dict[str, Any]) -> str:
    """Slopes in T, workers and the estimate, as Markdown tables."""
    steps = result["axes"]["time_steps"]
    first, last = steps["places"][0], steps["places"][-1]
    lines = [f"| cost against T, {first} to {last}: slope | inference | training step | activation memory |"]
    lines.append("|---|---:|---:|---:|")
    for kind, title in TITLES.items():
        cells = [
            "{median:.2f} ({min:.2f} to {max:.2f})".format(**steps["slopes"][m][kind])
            for m in ("infer", "train")
        ]
        lines.append(f"| {title} | {' | '.join(cells)} | {steps['memory_slopes'][kind]:.2f} |")
    lines += ["", "| processes | SpikePack packed, ms a step | speed-up | LIF, ms a step | speed-up |"]
    lines.append("|---:|---:|---:|---:|---:|")
    for count, kinds in result["workers"]["results"].items():
        cells = []
        for kind in ("packed", "lif"):
            cells.append(f"{1e3 * kinds[kind]['seconds']['median']:.1f}")
            cells.append("{median:.2f} ({min:.2f} to {max:.2f})".format(**kinds[kind]["speed_up"]))
        lines.append(f"| {count} | {' | '.join(cells)} |")
    lines += ["", "| estimate, not measured | GPUs | ANN or packed, h | LIF, h |", "|---|---:|---:|---:|"]
    for row in result["estimate"]["rows"]:
        hours = f"{row['hours']['packed']:.1f} | {row['hours']['lif']:.1f}"
        lines.append(
            f"| {row['network']}, {row['epochs']} epochs, T = {row['time_steps']} | {row['gpus']} | {hours} |"
        )
    return "\n".join(lines)
