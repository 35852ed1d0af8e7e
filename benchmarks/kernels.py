"""CUDA kernels on a GPU: bandwidth of packed fire, and its time beside SpikingJelly's LIF node.

``run()`` first compares codes and gradients with torch on the CPU, bit for bit, then times with CUDA events,
contenders interleaved, so that ratios are of neighbours in time. Without a GPU it says so.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Callable
from typing import Any

import torch
from spikingjelly.activation_based import functional as sj
from spikingjelly.activation_based import neuron as sj_neuron

from benchmarks import integer, kernel_products, network
from cupy_kernels import CupyBackend, KernelEnvironmentError, Queue, launcher
from spikejelly_pack import functional
from spikejelly_pack.spec.errors import EnvironmentMissingError, ParameterError, RunError
from spikejelly_pack.spec.parameters import NeuronParameters

__all__ = ["FAST", "TARGETS", "run", "table"]

# A smoke test, no measurement.
FAST = {"elements": 2**16, "rounds": 2, "time_steps": (4,), "batch": 2, "size": 256}
# What the kernels are to reach on an H200: share of the card's copy bandwidth, and LIF's time over theirs.
TARGETS = {
    "bandwidth": 0.85, "forward": {4: 10.0, 8: 20.0}, "backward": {4: 4.0, 8: 8.0},
    "network": {"lif": 8.0, "ann": 1.0},
}  # fmt: skip


def run(
    elements: int = 2**26,
    time_steps: tuple[int, ...] = (4, 8),
    rounds: int = 20,
    batch: int = 128,
    size: int = 8192,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Check, then time.

    Args:
        elements: Neurons of the layer, float32.
        time_steps: T of the packed node and sequence lengths of the LIF node.
        rounds: Timed rounds; each runs every contender once.
        batch: Images per step of the convolutions and of the whole networks (``bench network``, ``bench
            integer``) on the card.
        size: Rows, columns and depth of the dense product, a multiple of 16.
        seed: Seed of the inputs.
        progress: Called with one line per stage.

    Returns:
        The card, its copy bandwidth (bytes read and written per second) and, per T, seconds of each
        contender, the bandwidth of packed fire and the ratios that :data:`TARGETS` names; integer products
        beside cuBLASLt and bf16 spikes, convolutions fused and not; whole networks, with the route of every
        integer product and why it was chosen. JSON-ready.

    Raises:
        ParameterError: A size is not positive.
        EnvironmentMissingError: The kernels cannot run here; the message holds the cause.
        RunError: A kernel gives other results than torch on the CPU.
    """
    for name, value in (("elements", elements), ("rounds", rounds)):
        if value < 1:
            raise ParameterError(f"bench kernels: {name} must be positive, got {value}; raise it.")
    queue, device = _queue()
    say = progress or (lambda _: None)
    generator = torch.Generator().manual_seed(seed)
    small, large = (torch.randn(n, generator=generator) for n in (min(elements, 2**20), elements))
    report: dict[str, Any] = {
        "card": torch.cuda.get_device_name(device), "torch": torch.__version__, "elements": elements, "T": {},
    }  # fmt: skip
    u = large.to(device)
    for steps in time_steps:
        say(f"T = {steps}: comparing with torch on the CPU")
        _check(queue, small, NeuronParameters(steps))
        say(f"T = {steps}: timing")
        report["T"][steps] = _times(queue, u, steps, rounds)
    report["copy_bytes_per_second"] = max(entry["copy_bytes_per_second"] for entry in report["T"].values())
    small = {"rounds": rounds, "seed": seed}
    say("integer products: comparing and timing")
    report["products"] = {
        t: kernel_products.products(device, t, _seconds, size=size, **small) for t in time_steps
    }
    say("fused convolutions: comparing and timing")
    report["fused"] = kernel_products.fused(device, max(time_steps), _seconds, batch=batch, **small)
    report["network"] = network.run(time_steps=time_steps, batch=batch, device=str(device), progress=say)
    report["integer"] = integer.run(time_steps=time_steps, batch=batch, device=str(device), progress=say)
    report["targets"] = _targets(report)
    return report


def _queue() -> tuple[Queue, torch.device]:
    if not torch.cuda.is_available():
        raise EnvironmentMissingError(
            f"bench kernels: a CUDA device must be there, got torch {torch.__version__} without one; run it "
            "on a machine with an NVIDIA GPU."
        )
    device = torch.device("cuda", torch.cuda.current_device())
    backend = CupyBackend(int(str(torch.version.cuda).split(".")[0]))
    try:
        backend.check(device.index)
    except KernelEnvironmentError as error:
        raise EnvironmentMissingError(f"bench kernels: {error}") from error
    stream = torch.cuda.current_stream(device).cuda_stream
    return Queue(backend, device.index, stream, functools.partial(torch.cuda.device, device)), device


def _check(queue: Queue, u: torch.Tensor, params: NeuronParameters) -> None:
    device, theta = torch.device("cuda", queue.device or 0), torch.ones(1)
    codes = torch.empty(u.shape, dtype=functional.code_dtype(params.time_steps), device=device)
    launcher.fire(queue, u.to(device), theta.to(device), params, codes=codes)
    grad_u = torch.empty(u.shape, device=device)
    grad = u.flip(0)
    launcher.fire_backward(queue, grad.to(device), u.to(device), theta.to(device), params, grad_u=grad_u)
    wanted = {
        "codes": (codes, functional.spikepack_code(u, 1.0, params)),
        "gradient": (grad_u, grad * ((u >= 0) & (u <= 1))),
    }
    for name, (got, expected) in wanted.items():
        if not torch.equal(got.cpu(), expected):
            raise RunError(f"bench kernels: {name} must equal torch's on the CPU; nothing was timed.")


def _contenders(queue: Queue, u: torch.Tensor, steps: int) -> dict[str, Callable[[], object]]:
    params, theta = NeuronParameters(steps), torch.ones(1, device=u.device)
    codes = torch.empty(u.shape, dtype=functional.code_dtype(steps), device=u.device)
    out = torch.empty_like(u)
    node = sj_neuron.LIFNode(step_mode="m")
    sequence = u.expand(steps, -1).contiguous().requires_grad_()
    grad = torch.ones_like(sequence)

    def lif() -> torch.Tensor:
        sj.reset_net(node)
        with torch.no_grad():
            return node(sequence)

    def lif_both() -> None:
        sj.reset_net(node)
        sequence.grad = None
        node(sequence).backward(grad)

    return {
        "copy": lambda: out.copy_(u),
        "fire": lambda: launcher.fire(queue, u, theta, params, codes=codes),
        "fire_values": lambda: launcher.fire(queue, u, theta, params, values=out),
        "backward": lambda: launcher.fire_backward(queue, u, u, theta, params, grad_u=out),
        "lif_forward": lif,
        "lif_forward_backward": lif_both,
    }


def _times(queue: Queue, u: torch.Tensor, steps: int, rounds: int) -> dict[str, Any]:
    contenders = _contenders(queue, u, steps)
    for call in contenders.values():
        call()  # compiles and warms up
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, call in contenders.items():
            seconds[name].append(_seconds(call))
    median = {name: statistics.median(values) for name, values in seconds.items()}
    lif_backward = median["lif_forward_backward"] - median["lif_forward"]
    code_bytes = 1 if steps <= 8 else 2
    return {
        "seconds": {n: {"median": median[n], "min": min(v), "max": max(v)} for n, v in seconds.items()},
        "copy_bytes_per_second": 2 * u.nbytes / median["copy"],
        "fire_bytes_per_second": u.numel() * (4 + code_bytes) / median["fire"],
        "forward": median["lif_forward"] / median["fire"],
        "backward": lif_backward / median["backward"],
    }


def _seconds(call: Callable[[], object]) -> float:
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    call()
    end.record()
    end.synchronize()
    return start.elapsed_time(end) / 1000.0


def _targets(report: dict[str, Any]) -> dict[str, dict[str, float | bool]]:
    found = {}
    for steps, entry in report["T"].items():
        share = entry["fire_bytes_per_second"] / report["copy_bytes_per_second"]
        wanted = {"bandwidth": TARGETS["bandwidth"]}
        wanted |= {name: TARGETS[name][steps] for name in ("forward", "backward") if steps in TARGETS[name]}
        got = {"bandwidth": share, "forward": entry["forward"], "backward": entry["backward"]}
        for name, goal in wanted.items():
            found[f"{name} T={steps}"] = {"wanted": goal, "median": got[name], "met": got[name] >= goal}
    return found | kernel_products.targets(report) | _network_targets(report["network"])


def _network_targets(found: dict[str, Any]) -> dict[str, dict[str, float | bool]]:
    """Inference of the whole network, beside LIF's and the float ANN's."""
    ratios = {int(steps): entry for steps, entry in found["ratios"].items()}.get(8)
    if ratios is None:
        return {}
    goals, ann = TARGETS["network"], ratios["inference_packed_over_ann"]["median"]
    seen = {
        "network, LIF over packed T=8": (goals["lif"], ratios["inference_lif_over_packed"]["median"]),
        "network, ANN over packed T=8": (goals["ann"], 1 / ann),
    }
    return {name: {"wanted": w, "median": got, "met": got >= w} for name, (w, got) in seen.items()}


def table(report: dict[str, Any]) -> str:
    """Format :func:`run` as Markdown."""
    copy = report["copy_bytes_per_second"] / 1e12
    lines = [
        f"{report['card']}, {report['elements']} neurons, copy {copy:.2f} TB/s",
        "",
        "| | wanted | measured | met |",
        "|---|---:|---:|---|",
    ]
    for name, entry in report["targets"].items():
        met = "yes" if entry["met"] else "no"
        lines.append(f"| {name} | {entry['wanted']:.2f} | {entry['median']:.2f} | {met} |")
    lines += ["", kernel_products.table(report)]
    lines += ["", network.table(report["network"]), "", integer.table(report["integer"])]
    return "\n".join(lines)
