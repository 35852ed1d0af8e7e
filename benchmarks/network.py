"""SEW-ResNet-18 at 32 x 32: packed SpikePack against LIF multi-step and against the same ANN with ReLU.

``run()`` first checks that the packed network and its serial form are one function (after ``adapt``), then
times inference and a training step of every contender, interleaved in one process, so that ratios are of
neighbours in time. Activation memory is what autograd keeps for the backward pass, parameters left out.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from spikingjelly.activation_based import functional, neuron
from spikingjelly.activation_based.model.sew_resnet import sew_resnet18
from torch import Tensor, nn

from benchmarks.gpu_clock import captured
from benchmarks.measure import machine, ratio, spread
from benchmarks.measure import seconds as seconds_of
from spikejelly_pack import SpikePackNode, adapt, decode_output, set_form
from spikejelly_pack.spec.errors import ParameterError, RunError

__all__ = ["FAST", "GOALS", "run", "table"]

# A smoke test, no measurement.
FAST: dict[str, Any] = {"time_steps": (4,), "batch": 2, "rounds": 1}
# What the packed network is to reach: T times faster and smaller than LIF, at most so much slower than ReLU.
GOALS = {"against_ann": 1.1}
CLASSES = 10


@dataclass
class Contender:
    """A network, its input sequence, and how its output sequence becomes logits."""

    net: nn.Module
    x: Tensor
    optimizer: torch.optim.Optimizer
    graph: torch.cuda.CUDAGraph | None = None

    def infer(self) -> Tensor:
        """One forward pass in eval mode."""
        self.net.eval()
        functional.reset_net(self.net)
        with torch.no_grad():
            return self.net(self.x).mean(0)

    def train(self, target: Tensor) -> None:
        """One training step."""
        self.net.train()
        functional.reset_net(self.net)
        self.optimizer.zero_grad()
        nn.functional.cross_entropy(self.net(self.x).mean(0), target).backward()
        self.optimizer.step()

    def replay(self) -> None:
        """:meth:`infer` without the Python between its kernels: captured once in a CUDA graph."""
        if self.graph is None:
            self.graph = captured(self.infer, calls=1)
        self.graph.replay()

    def activation_bytes(self, target: Tensor) -> int:
        """Bytes autograd keeps for the backward pass of one training step."""
        self.net.train()
        functional.reset_net(self.net)
        own = {p.untyped_storage().data_ptr() for p in (*self.net.parameters(), *self.net.buffers())}
        kept: dict[int, int] = {}

        def keep(value: Tensor) -> Tensor:
            storage = value.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            return value

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            loss = nn.functional.cross_entropy(self.net(self.x).mean(0), target)
        total = sum(kept.values())
        del loss
        return total


def run(
    time_steps: Sequence[int] = (4, 8),
    batch: int = 128,
    rounds: int = 5,
    size: int = 32,
    seed: int = 0,
    device: str = "cpu",
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Check, then time the contenders.

    Args:
        time_steps: Window lengths T of the packed network, sequence lengths of the LIF network.
        batch: Images per step.
        rounds: Timed rounds; each runs every contender once in each mode.
        size: Height and width of the images.
        seed: Seed of weights and images.
        device: Where all of them run.
        progress: Called with one line per stage.

    Returns:
        ``seconds`` and ``activation_bytes`` per mode and contender, ``ratios`` (LIF over packed at the same
        T, packed over the ANN; median, min and max over the rounds), ``goals``, and the machine. JSON-ready.

    Raises:
        ParameterError: A size is not positive.
        RunError: Packed and serial form differ; nothing is timed.
    """
    for name, value in (("batch", batch), ("rounds", rounds), ("size", size)):
        if value < 1:
            raise ParameterError(f"bench network: {name} must be positive, got {value}; raise it.")
    say = progress or (lambda _: None)
    contenders = _contenders(time_steps, batch, size, seed, device)
    target = torch.arange(batch, device=device) % CLASSES
    for steps in time_steps:
        say(f"checking packed against serial at T = {steps}")
        _check(contenders[f"packed_{steps}"], steps)
    modes: dict[str, Callable[[Contender], object]] = {
        "inference": Contender.infer,
        "training": lambda contender: contender.train(target),
    }
    if torch.device(device).type == "cuda":
        modes["captured inference"] = Contender.replay
    seconds: dict[str, dict[str, list[float]]] = {mode: {name: [] for name in contenders} for mode in modes}
    for contender in contenders.values():
        for step in modes.values():
            step(contender)  # first call: buffers and kernels are set up
    for index in range(rounds):
        say(f"round {index + 1} of {rounds}")
        for mode, step in modes.items():
            for name, contender in contenders.items():
                seconds[mode][name].append(seconds_of(partial(step, contender)))
    kept = {name: contender.activation_bytes(target) for name, contender in contenders.items()}
    return _report(seconds, kept, time_steps, batch, size)


def _network(spiking_neuron: Callable[..., nn.Module], seed: int, **arguments: Any) -> nn.Module:
    torch.manual_seed(seed)
    net = sew_resnet18(cnf="ADD", num_classes=CLASSES, spiking_neuron=spiking_neuron, **arguments)
    functional.set_step_mode(net, "m")
    return net


def _contenders(
    time_steps: Sequence[int], batch: int, size: int, seed: int, device: str
) -> dict[str, Contender]:
    chance = torch.Generator().manual_seed(seed)
    image = torch.rand(1, batch, 3, size, size, generator=chance).to(device)

    def contender(net: nn.Module, x: Tensor) -> Contender:
        net.to(device)
        return Contender(net, x, torch.optim.SGD(net.parameters(), lr=1e-3))

    found = {"ann": contender(_network(lambda **_: nn.ReLU(), seed), image)}
    for steps in time_steps:
        packed = _network(SpikePackNode, seed, time_steps=steps)
        adapt(packed)
        found[f"packed_{steps}"] = contender(set_form(packed, "packed"), image)
        lif = _network(neuron.LIFNode, seed, detach_reset=True)
        found[f"lif_{steps}"] = contender(lif, image.repeat(steps, 1, 1, 1, 1))
    return found


def _check(contender: Contender, steps: int) -> None:
    """Packed and serial form on the first image, in float64 so that codes do not flip."""
    net = copy.deepcopy(contender.net).double().eval()
    image = contender.x[:, :1].double()
    with torch.no_grad():
        packed = net(image)
        functional.reset_net(net)
        serial = decode_output(set_form(net, "serial")(image.repeat(steps, 1, 1, 1, 1)), steps)
    difference = float((packed - serial).abs().max())
    if not difference <= 1e-9:
        raise RunError(
            f"bench network: packed and serial form must agree to 1e-9 at T = {steps}, got a difference of "
            f"{difference:.2e}; not timed."
        )


def _report(
    seconds: dict[str, dict[str, list[float]]],
    kept: dict[str, int],
    time_steps: Sequence[int],
    batch: int,
    size: int,
) -> dict[str, Any]:
    ratios: dict[str, dict[str, Any]] = {}
    goals: dict[str, bool] = {}
    for steps in time_steps:
        packed, lif = f"packed_{steps}", f"lif_{steps}"
        entry: dict[str, Any] = {"activation_memory_lif_over_packed": kept[lif] / kept[packed]}
        entry["activation_memory_packed_over_ann"] = kept[packed] / kept["ann"]
        for mode, values in seconds.items():
            entry[f"{mode}_lif_over_packed"] = ratio(values[lif], values[packed])
            entry[f"{mode}_packed_over_ann"] = ratio(values[packed], values["ann"])
            goals[f"{mode}, T = {steps}: at least T times faster than LIF"] = (
                entry[f"{mode}_lif_over_packed"]["median"] >= steps
            )
            goals[f"{mode}, T = {steps}: within {GOALS['against_ann']} times the ANN"] = (
                entry[f"{mode}_packed_over_ann"]["median"] <= GOALS["against_ann"]
            )
        goals[f"T = {steps}: T times less activation memory than LIF"] = kept[lif] / kept[packed] >= steps
        ratios[str(steps)] = entry
    return {
        "network": "sew_resnet18 (ADD)",
        "batch": batch,
        "size": size,
        "time_steps": list(time_steps),
        "seconds": {
            mode: {name: spread(v) for name, v in values.items()} for mode, values in seconds.items()
        },
        "activation_bytes": kept,
        "ratios": ratios,
        "goals": goals,
        "machine": machine(),
    }


def table(result: dict[str, Any]) -> str:
    """Format the ratios of :func:`run` as a Markdown table: median (min to max)."""
    columns = [
        ("inference", "inference_lif_over_packed"),
        ("training step", "training_lif_over_packed"),
        ("inference, packed / ANN", "inference_packed_over_ann"),
        ("training, packed / ANN", "training_packed_over_ann"),
    ]
    if "captured inference" in result["seconds"]:
        columns += [
            ("captured inference, LIF / packed", "captured inference_lif_over_packed"),
            ("captured inference, packed / ANN", "captured inference_packed_over_ann"),
        ]
    lines = [
        "| T | activation memory, LIF / packed | "
        + " | ".join(f"{name}, LIF / packed" if "/" not in name else name for name, _ in columns)
        + " |",
        "|" + "---|" * (len(columns) + 2),
    ]
    for steps, entry in result["ratios"].items():
        cells = [f"{entry['activation_memory_lif_over_packed']:.1f}"]
        cells += ["{median:.2f} ({min:.2f} to {max:.2f})".format(**entry[key]) for _, key in columns]
        lines.append(f"| {steps} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
