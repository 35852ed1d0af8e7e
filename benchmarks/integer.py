"""A residual network in integer form, accelerated, against float64 torch and two float networks.

``run()`` checks that the accelerated network gives every code and membrane of the numpy reference, then
times all contenders (IntegerNetwork, the packed float network, the same network with ReLU) interleaved in
one process, so that ratios are of neighbours in time. What is wrong is not timed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.measure import machine, ratio, spread
from benchmarks.measure import seconds as seconds_of
from spikejelly_pack import IntegerNetwork, SpikePackNode, accelerate, build_integer, set_form
from spikejelly_pack.ops.integer_products import Measured, measured_choices, measured_table
from spikejelly_pack.spec.errors import ParameterError, RunError
from spikejelly_pack.spec.execute import encode, run_packed
from spikejelly_pack.spec.graph import Network

__all__ = ["FAST", "run", "table"]

# A smoke test, no measurement.
FAST: dict[str, Any] = {"time_steps": (4,), "batch": 2, "rounds": 1, "size": 8, "width": 8}
CLASSES = 10


class Block(nn.Module):
    """Two convolutions and a skip connection, as in CIFAR ResNets."""

    def __init__(self, channels: int, out: int, stride: int, node: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.conv1, self.node1 = nn.Conv2d(channels, out, 3, stride, 1), node()
        self.conv2, self.node2 = nn.Conv2d(out, out, 3, 1, 1), node()
        same = stride == 1 and channels == out
        self.skip = nn.Identity() if same else nn.Conv2d(channels, out, 1, stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.node2(self.conv2(self.node1(self.conv1(x))) + self.skip(x))


class ResNet(nn.Module):
    """Encoder or activation, six blocks, pooled head."""

    def __init__(self, width: int, size: int, node: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.encoder = node()
        self.stem, self.first = nn.Conv2d(3, width, 3, 1, 1), node()
        shapes = [(1, 1, 1), (1, 1, 1), (1, 2, 2), (2, 2, 1), (2, 4, 2), (4, 4, 1)]
        self.blocks = nn.Sequential(*(Block(width * a, width * b, s, node) for a, b, s in shapes))
        self.pool, self.head = nn.AvgPool2d(size // 4), nn.Linear(4 * width, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        x = self.blocks(self.first(self.stem(self.encoder(x))))
        return self.head(self.pool(x).flatten(1))


def run(
    time_steps: Sequence[int] = (4, 7, 8),
    batch: int = 32,
    rounds: int = 5,
    size: int = 32,
    width: int = 64,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Check, then time the contenders.

    Args:
        time_steps: T of all nodes, one run each.
        batch: Images per step.
        rounds: Timed rounds; each runs every contender once.
        size: Height and width of the images, a multiple of 8.
        width: Channels of the first stage.
        seed: Seed of weights and images.
        device: Where all of them run; the numpy reference stays on the CPU.
        progress: Called with one line per stage.

    Returns:
        Seconds per T and contender, ratios to the accelerated network (median, min, max over rounds), the
        route of every product and why, and the machine. JSON-ready.

    Raises:
        ParameterError: A size is not positive.
        RunError: A code differs from the numpy reference; nothing is timed.
    """
    for name, value in (("batch", batch), ("rounds", rounds), ("width", width)):
        if value < 1:
            raise ParameterError(f"bench integer: {name} must be positive, got {value}; raise it.")
    say = progress or (lambda _: None)
    entries = {
        str(steps): _run_one(steps, batch, rounds, size, width, seed, device, say) for steps in time_steps
    }
    return {
        "network": "residual CNN, 15 convolutions, integer weights of 8 bits",
        "batch": batch,
        "size": size,
        "width": width,
        "results": entries,
        "routes": [vars(choice) for choice in measured_choices()],
        "device": device,
        "machine": machine(),
    }


def _network(width: int, size: int, seed: int, node: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(seed)
    return ResNet(width, size, node).eval()


def _run_one(
    steps: int,
    batch: int,
    rounds: int,
    size: int,
    width: int,
    seed: int,
    device: str,
    say: Callable[[str], None],
) -> dict[str, Any]:
    x = torch.rand(batch, 3, size, size, generator=torch.Generator().manual_seed(seed))
    snn = set_form(_network(width, size, seed, lambda: SpikePackNode(steps)), "packed")
    say(f"T = {steps}: integer form")
    network = build_integer(snn, x[:1], state_bits=32)
    codes = encode(network.inputs[0], x.numpy())
    accelerated, exact = accelerate(network).to(device), IntegerNetwork(network).to(device)
    snn, x = snn.to(device), x.to(device)
    say(f"T = {steps}: checking every code against the numpy reference")
    check(network, accelerated, codes[:1])
    given = torch.from_numpy(codes).to(device)
    calls = {
        "relu": partial(_network(width, size, seed, nn.ReLU).to(device, memory_format=torch.channels_last),
                        x.contiguous(memory_format=torch.channels_last)),
        "packed": partial(snn, x),
        "integer_float64": partial(exact, given),
        "accelerated": partial(accelerated.predict, x),
    }  # fmt: skip
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with torch.no_grad():
        say(f"T = {steps}: measuring the routes of every product")
        for call in calls.values():
            call()
        for index in range(rounds):
            say(f"T = {steps}: round {index + 1} of {rounds}")
            for name, call in calls.items():
                seconds[name].append(seconds_of(call))
    own = seconds["accelerated"]
    return {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "over_accelerated": {
            name: ratio(values, own) for name, values in seconds.items() if name != "accelerated"
        },
    }


def check(network: Network, accelerated: Any, codes: Any) -> None:
    """Raise unless every code and membrane equals the numpy reference."""
    expected, got = run_packed(network, codes), accelerated.every_code(codes)
    for name, values in expected.items():
        if not np.array_equal(values.astype(np.int64), got[name].cpu().numpy()):
            raise RunError(
                f"bench integer: {name!r} must equal the numpy reference, got other codes; not timed."
            )


def table(result: dict[str, Any]) -> str:
    """Milliseconds and ratios of :func:`run`, then the routes, as Markdown tables."""
    lines = [
        "| T | accelerated, ms | ReLU float32, ms (times slower) | packed float32 | IntegerNetwork float64 |",
        "|---|---|---|---|---|",
    ]
    for steps, entry in result["results"].items():
        cells = [f"{1e3 * entry['seconds']['accelerated']['median']:.1f}"]
        for name in ("relu", "packed", "integer_float64"):
            slower = "{median:.2f}, {min:.2f} to {max:.2f}".format(**entry["over_accelerated"][name])
            cells.append(f"{1e3 * entry['seconds'][name]['median']:.1f} ({slower})")
        lines.append(f"| {steps} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", measured_table([Measured(**route) for route in result["routes"]])])
