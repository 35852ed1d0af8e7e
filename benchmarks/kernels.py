"""CUDA kernels on a GPU: bandwidth of packed fire, and its time beside SpikingJelly's LIF node.

``run()`` first compares codes and gradients with torch on the CPU, bit for bit, then times the device's work
(:mod:`.gpu_clock`), contenders interleaved, so that ratios are of neighbours in time, and beside it the
Python that asks for it. Without a GPU it says so.
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
from benchmarks.gpu_clock import device_times, host_seconds
from benchmarks.measure import ratio, spread
from cupy_kernels import CupyBackend, KernelEnvironmentError, Queue, launcher
from spikejelly_pack import SpikePackNode, functional
from spikejelly_pack.spec.errors import EnvironmentMissingError, ParameterError, RunError
from spikejelly_pack.spec.parameters import NeuronParameters

__all__ = ["FAST", "TARGETS", "run", "table"]

# A smoke test, no measurement.
FAST = {"elements": 2**16, "rounds": 2, "time_steps": (4,), "batch": 2, "size": 256, "image": 32}
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
    image: int = 128,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Check, then time.

    Args:
        elements: Neurons of the layer, float32.
        time_steps: T of the packed node and sequence lengths of the LIF node.
        rounds: Timed rounds; each runs every contender once.
        batch: Images per step of the convolutions and of the integer network (``bench integer``); half as
            many of the large network (``bench network``).
        size: Rows, columns and depth of the dense product, a multiple of 16.
        image: Height and width of the large network's images; of 32 x 32 the card makes less work than
            Python.
        seed: Seed of the inputs.
        progress: Called with one line per stage.

    Returns:
        The card, its copy bandwidth (bytes read and written per second) and, per T, seconds of each
        contender, the bandwidth of packed fire and the ratios that :data:`TARGETS` names; seconds of Python
        for a call of a small layer; integer products beside cuBLASLt and bf16 spikes, convolutions fused and
        not; whole networks, with the route of every integer product and why it was chosen. JSON-ready.

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
        report["T"][steps] = _times(u, steps, rounds)
    say("Python between launches")
    report["host_seconds"] = _host(device)
    report["copy_bytes_per_second"] = max(entry["copy_bytes_per_second"] for entry in report["T"].values())
    small = {"rounds": rounds, "seed": seed}
    say("integer products: comparing and timing")
    report["products"] = {
        t: kernel_products.products(device, t, device_times, size=size, **small) for t in time_steps
    }
    say("fused convolutions: comparing and timing")
    report["fused"] = kernel_products.fused(device, max(time_steps), device_times, batch=batch, **small)
    options: dict[str, Any] = {"time_steps": time_steps, "device": str(device), "progress": say}
    report["network"] = network.run(batch=max(1, batch // 2), size=image, **options)
    report["integer"] = integer.run(batch=batch, **options)
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


def _contenders(u: torch.Tensor, steps: int) -> dict[str, Callable[[], object]]:
    theta = torch.ones((), device=u.device)
    numbers = (steps, 2.0, False, True)
    out, upstream = torch.empty_like(u), u.flip(0)
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

    fire, encode, back = (
        getattr(torch.ops.spikepack, name).default for name in ("fire", "encode", "fire_backward")
    )
    return {
        "copy": lambda: out.copy_(u),
        "fire": lambda: encode(u, theta, *numbers, "cupy"),
        "fire_values": lambda: fire(u, theta, *numbers, False, "cupy"),
        "backward": lambda: back(upstream, u, theta, *numbers, False, False, "cupy"),
        "fire_torch": lambda: encode(u, theta, *numbers, "torch"),
        "lif_forward": lif,
        "lif_forward_backward": lif_both,
    }


def _times(u: torch.Tensor, steps: int, rounds: int) -> dict[str, Any]:
    seconds = device_times(_contenders(u, steps), rounds)
    median = {name: statistics.median(values) for name, values in seconds.items()}
    pairs = zip(seconds["lif_forward_backward"], seconds["lif_forward"], strict=True)
    lif_backward = [both - forward for both, forward in pairs]
    code_bytes = 1 if steps <= 8 else 2
    return {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "copy_bytes_per_second": 2 * u.nbytes / median["copy"],
        "fire_bytes_per_second": u.numel() * (4 + code_bytes) / median["fire"],
        "forward": ratio(seconds["lif_forward"], seconds["fire"]),
        "backward": ratio(lif_backward, seconds["backward"]),
    }


def _host(device: torch.device) -> dict[str, float]:
    """Seconds of Python for one call of a small layer without gradient, ``both`` with its backward pass."""
    packed = SpikePackNode(4, form="packed", step_mode="m", provider="cupy").to(device)
    lif = sj_neuron.LIFNode(step_mode="m").to(device)
    x = torch.rand(4, 2, 8, 4, 4, device=device)
    calls: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
        "relu": torch.relu, "packed": lambda v: packed(v[:1]), "lif": lif,
    }  # fmt: skip
    found: dict[str, float] = {}
    for name, call in calls.items():

        def infer(call: Callable[[torch.Tensor], torch.Tensor] = call) -> None:
            lif.reset()
            with torch.no_grad():
                call(x)

        def train(call: Callable[[torch.Tensor], torch.Tensor] = call) -> None:
            lif.reset()
            call(x.clone().requires_grad_()).sum().backward()

        found |= {name: host_seconds(infer), f"{name}_both": host_seconds(train)}
    return found


def _targets(report: dict[str, Any]) -> dict[str, dict[str, float | bool]]:
    found = {}
    for steps, entry in report["T"].items():
        share = entry["fire_bytes_per_second"] / report["copy_bytes_per_second"]
        wanted = {"bandwidth": TARGETS["bandwidth"]}
        wanted |= {name: TARGETS[name][steps] for name in ("forward", "backward") if steps in TARGETS[name]}
        got = {"bandwidth": share} | {name: entry[name]["median"] for name in ("forward", "backward")}
        for name, goal in wanted.items():
            found[f"{name} T={steps}"] = {"wanted": goal, "median": got[name], "met": got[name] >= goal}
    return found | kernel_products.targets(report) | _network_targets(report["network"])


def _network_targets(found: dict[str, Any]) -> dict[str, dict[str, float | bool]]:
    """Inference of the whole network beside LIF's and the float ANN's, as called and captured in a graph."""
    ratios = {int(steps): entry for steps, entry in found["ratios"].items()}.get(8)
    if ratios is None:
        return {}
    goals, targets = TARGETS["network"], {}
    for mode, name in (("inference", "network"), ("captured inference", "captured network")):
        lif, ann = (ratios[f"{mode}_{pair}"]["median"] for pair in ("lif_over_packed", "packed_over_ann"))
        seen = {
            f"{name}, LIF over packed T=8": (goals["lif"], lif),
            f"{name}, ANN over packed T=8": (goals["ann"], 1 / ann),
        }
        targets |= {what: {"wanted": w, "median": got, "met": got >= w} for what, (w, got) in seen.items()}
    return targets


def neuron_table(report: dict[str, Any]) -> str:
    """Microseconds of the device for one layer, as Markdown."""
    names = {
        "copy": "copy of float32 numbers",
        "fire": "packed fire to codes",
        "fire_values": "packed fire to values",
        "backward": "its backward pass",
        "lif_forward": "SpikingJelly's LIF, forward",
        "lif_forward_backward": "LIF, forward and backward",
    }
    head = " | ".join(f"T = {steps}, us" for steps in report["T"])
    lines = [f"| {report['elements']} neurons | {head} |", "|---" + "|---:" * len(report["T"]) + "|"]
    for name, words in names.items():
        cells = (f"{1e6 * entry['seconds'][name]['median']:.0f}" for entry in report["T"].values())
        lines.append(f"| {words} | {' | '.join(cells)} |")
    return "\n".join(lines)


def targets_table(report: dict[str, Any]) -> str:
    """What is wanted and what was measured, as Markdown."""
    lines = ["| | wanted | measured | met |", "|---|---:|---:|---|"]
    for name, entry in report["targets"].items():
        met = "yes" if entry["met"] else "no"
        lines.append(f"| {name} | {entry['wanted']:.2f} | {entry['median']:.2f} | {met} |")
    return "\n".join(lines)


def host_table(report: dict[str, Any]) -> str:
    """Microseconds of Python for one call, as Markdown."""
    host = {name: 1e6 * seconds for name, seconds in report["host_seconds"].items()}
    lines = ["| Python for one call, us | forward | with backward |", "|---|---:|---:|"]
    for name in ("relu", "packed", "lif"):
        lines.append(f"| {name} | {host[name]:.0f} | {host[name + '_both']:.0f} |")
    return "\n".join(lines)


def table(report: dict[str, Any]) -> str:
    """Format :func:`run` as Markdown."""
    copy = report["copy_bytes_per_second"] / 1e12
    parts = [f"{report['card']}, copy {copy:.2f} TB/s", targets_table(report), neuron_table(report)]
    parts += [host_table(report), kernel_products.table(report)]
    parts += [network.table(report["network"]), integer.table(report["integer"])]
    return "\n\n".join(parts)
