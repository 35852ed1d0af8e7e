"""Products of codes and 8-bit weights on a GPU: beside cuBLASLt and bf16 spikes, fused with neurons or not.

Part of ``spikepack bench kernels``. Results are compared before anything is timed. The tables of shapes and
the report need no GPU.
"""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from benchmarks.gpu_clock import Calls
from benchmarks.measure import ratio, spread
from spikejelly_pack.ops.codes import integer_fire
from spikejelly_pack.ops.integer_products import Fire, Product, Window, choose_route, routes
from spikejelly_pack.ops.integer_products.tensor_cores import KernelRoute
from spikejelly_pack.spec.errors import RunError, UnsupportedError

__all__ = ["CONVOLUTIONS", "TARGETS", "Shape", "check_equal", "fused", "products", "table", "targets"]

#: Wanted on an H200: share of cuBLASLt's int8 speed; T bf16 products over one of codes, per time step;
#: unfused over fused convolution.
TARGETS = {"cublaslt": 0.8, "spikes_per_step": 1.7, "fused": 1.5}
#: Seconds of one call of each in every round, contenders interleaved.
Clock = Callable[[Calls, int], dict[str, list[float]]]
# Operands are alternated so that no contender finds its own in the cache.
_CACHE_BYTES, _MOST_COPIES = 200e6, 8


@dataclass(frozen=True)
class Shape:
    """A convolution with padding that keeps the size of its maps.

    Attributes:
        inputs, outputs: Channels.
        side: Height and width of the maps.
        kernel: Height and width of the kernel.
    """

    inputs: int
    outputs: int
    side: int
    kernel: int

    def macs(self, batch: int) -> int:
        """Multiply-accumulates."""
        return batch * self.side**2 * self.outputs * self.inputs * self.kernel**2

    def bytes_moved(self, batch: int, *, fused: bool) -> int:
        """Least traffic: codes in and out and weights, a byte each; unfused also the int32 sums, twice."""
        places = batch * self.side**2
        codes = places * (self.inputs + self.outputs) + self.outputs * self.inputs * self.kernel**2
        return codes if fused else codes + 8 * places * self.outputs

    def intensity(self, batch: int) -> float:
        """Operations (two per multiply-accumulate) per byte of the unfused form."""
        return 2 * self.macs(batch) / self.bytes_moved(batch, fused=False)

    @property
    def name(self) -> str:
        """For tables."""
        return (
            f"{self.kernel}x{self.kernel}, {self.inputs} to {self.outputs} channels, {self.side}x{self.side}"
        )


#: Layers of residual networks whose sums cost more to move than to compute: fewer int8 operations per byte
#: than the about 450 that an H200 can do while it moves one (1,979 TOPS by data sheet, 4.3 TB/s measured).
CONVOLUTIONS = (
    Shape(64, 64, 56, 3), Shape(64, 64, 56, 1), Shape(64, 256, 56, 1), Shape(256, 64, 56, 1),
    Shape(128, 128, 28, 3), Shape(32, 32, 112, 3),
)  # fmt: skip


def check_equal(got: Tensor, wanted: Tensor, what: str) -> None:
    """Compare integers.

    Raises:
        RunError: They differ.
    """
    if got.shape != wanted.shape or not torch.equal(got.to(torch.float64), wanted.to(torch.float64)):
        raise RunError(f"bench kernels: {what} must be equal, got other values; nothing was timed.")


def products(
    device: torch.device, steps: int, clock: Clock, *, size: int, rounds: int, seed: int = 0
) -> dict[str, Any]:
    """One dense product of codes, ``[size, size] @ [size, size]``, in three ways.

    ``codes`` is the own kernel with int32 sums, ``cublaslt`` one ``torch._int_mm`` of int8 operands,
    ``spikes`` the T products of bf16 spikes and weights as one call.

    Args:
        device: The card.
        steps: T.
        clock: Times calls.
        size: Rows, columns and depth, a multiple of 16.
        rounds: Timed rounds.
        seed: Of the operands.

    Raises:
        RunError: Two of them give other sums.
        UnsupportedError: A route cannot run there.
    """
    generator = torch.Generator().manual_seed(seed)
    top = (1 << steps) - 1
    codes = torch.randint(0, top + 1, (size, size), generator=generator, dtype=torch.uint8)
    weight = torch.randint(-127, 128, (size, size), generator=generator)
    product = Product(weight, 0, top)
    own = _prepared(KernelRoute(), product, device)
    library = _prepared(routes()["int8"], product, device)
    stored = codes.to(device)
    sums = own(stored)
    check_equal(sums, library(stored), f"sums of the kernel and of cuBLASLt at T = {steps}")
    rows = codes[:64].double() @ weight.t().double()
    check_equal(sums[:64].cpu(), rows, f"sums of the kernel and of float64 at T = {steps}")
    spikes, halves = _spikes(stored, steps), weight.to(device, torch.bfloat16).t()
    digits = sum(float(1 << (steps - 1 - t)) * spikes[t, :64].double() for t in range(steps))
    check_equal(torch.as_tensor(digits), stored[:64], f"digits and codes at T = {steps}")
    signed = (stored ^ 0x80).view(torch.int8) if top > 127 else stored.view(torch.int8)
    matrix = weight.to(device, torch.int8).t()
    flat = spikes.flatten(0, 1)
    calls: Calls = {
        "codes": lambda: own(stored),
        "cublaslt": lambda: torch.ops.aten._int_mm(signed, matrix),
        "spikes": lambda: flat @ halves,
    }
    taken = clock(calls, rounds)
    operations = 2 * size**3
    return {
        "size": size,
        "seconds": {name: spread(values) for name, values in taken.items()},
        "operations_per_second": operations / statistics.median(taken["codes"]),
        "cublaslt": ratio(taken["cublaslt"], taken["codes"]),
        "spikes": ratio(taken["spikes"], taken["codes"]),
    }


def _spikes(codes: Tensor, steps: int) -> Tensor:
    """Digits ``[T, *]`` of codes, most significant first, in bf16."""
    return torch.stack([((codes >> (steps - 1 - t)) & 1).to(torch.bfloat16) for t in range(steps)])


def fused(
    device: torch.device,
    steps: int,
    clock: Clock,
    *,
    batch: int,
    rounds: int,
    shapes: tuple[Shape, ...] = CONVOLUTIONS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Convolutions with neurons behind them: one kernel against the fastest exact product and a fire kernel.

    Args:
        device: The card.
        steps: T of codes and neurons.
        clock: Times calls.
        batch: Images.
        rounds: Timed rounds.
        shapes: Of the convolutions.
        seed: Of the operands.

    Raises:
        RunError: The two give other codes than each other, or than int64 on the CPU.
        UnsupportedError: The kernel cannot run there.
    """
    return [_fused(shape, device, steps, clock, batch, rounds, seed) for shape in shapes]


def _fused(
    shape: Shape, device: torch.device, steps: int, clock: Clock, batch: int, rounds: int, seed: int
) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    top, pad = (1 << steps) - 1, shape.kernel // 2
    images = (batch, shape.inputs, shape.side, shape.side)
    codes = torch.randint(0, top + 1, images, generator=generator, dtype=torch.uint8)
    codes = codes.contiguous(memory_format=torch.channels_last)
    weight = torch.randint(
        -127, 128, (shape.outputs, shape.inputs, shape.kernel, shape.kernel), generator=generator
    )
    product = Product(weight, 0, top, Window(padding=(pad, pad)))
    width = 20 * math.isqrt(shape.inputs * shape.kernel**2)  # codes of all sizes come out
    theta = torch.randint(width, 2 * width, (shape.outputs,), generator=generator)
    bias = torch.randint(-width, width, (shape.outputs,), generator=generator)
    kernel = KernelRoute("fused")
    if reason := kernel.refuses(product, device):
        raise UnsupportedError(f"bench kernels: {shape.name} must run fused, got: {reason}.")
    joined = kernel.prepare(product, device, Fire(theta, bias, steps, False, True))
    stored = codes.to(device, memory_format=torch.channels_last)
    chosen = _fastest_integer(product, images, device)
    alone = routes()[chosen].prepare(product, device)
    near, level = bias.to(device, torch.int32), theta.to(device, torch.int32)

    def separate(given: Tensor) -> Tensor:
        return integer_fire(alone(given), near, level, steps, False, True)

    check_equal(joined(stored), separate(stored), f"codes of {shape.name}, fused and not")
    expected = _reference(codes[:1], weight, theta, bias, pad, top)
    check_equal(joined(stored[:1]).cpu(), expected, f"codes of {shape.name} and of the CPU")
    copies = max(1, min(_MOST_COPIES, int(_CACHE_BYTES // stored.numel())))
    turns = {name: itertools.cycle([stored.clone() for _ in range(copies)]) for name in ("fused", "separate")}
    taken = clock(
        {
            "fused": lambda: joined(next(turns["fused"])),
            "separate": lambda: separate(next(turns["separate"])),
        },
        rounds,
    )
    return {
        "shape": shape.name,
        "batch": batch,
        "route": chosen,
        "intensity": shape.intensity(batch),
        "bytes_per_second": shape.bytes_moved(batch, fused=True) / statistics.median(taken["fused"]),
        "seconds": {name: spread(values) for name, values in taken.items()},
        "fused": ratio(taken["separate"], taken["fused"]),
    }


def _fastest_integer(product: Product, shape: tuple[int, ...], device: torch.device) -> str:
    """The fastest exact route that gives int32 sums, which the fire kernel reads."""
    measured = choose_route(product, shape, device).seconds
    found = {name: measured[name] for name in ("int8", "cupy") if name in measured}
    if not found:
        raise UnsupportedError(f"bench kernels: a product with int32 sums must run there, got {measured}.")
    return min(found, key=found.__getitem__)


def _reference(codes: Tensor, weight: Tensor, theta: Tensor, bias: Tensor, pad: int, top: int) -> Tensor:
    """Codes by float64, exact for these sizes, and integer division."""
    sums = torch.nn.functional.conv2d(codes.double(), weight.double(), padding=pad).long()
    level = theta.view(-1, 1, 1)
    return ((sums + bias.view(-1, 1, 1) + level // 2).div(level, rounding_mode="floor")).clamp(0, top)


def _prepared(route: Any, product: Product, device: torch.device) -> Callable[[Tensor], Tensor]:
    if reason := route.refuses(product, device):
        raise UnsupportedError(f"bench kernels: the route {route.name} must run, got: {reason}.")
    return route.prepare(product, device)


def targets(report: dict[str, Any]) -> dict[str, dict[str, float | bool]]:
    """What is wanted of the products and what was seen, by name."""
    pairs = {}
    for steps, entry in report["products"].items():
        pairs[f"product against cuBLASLt int8 T={steps}"] = (TARGETS["cublaslt"], entry["cublaslt"]["median"])
        wanted = TARGETS["spikes_per_step"] * int(steps)
        pairs[f"T bf16 products over one of codes T={steps}"] = (wanted, entry["spikes"]["median"])
    for entry in report["fused"]:
        pairs[f"unfused over fused, {entry['shape']}"] = (TARGETS["fused"], entry["fused"]["median"])
    return {name: {"wanted": w, "median": got, "met": got >= w} for name, (w, got) in pairs.items()}


def table(report: dict[str, Any]) -> str:
    """Both comparisons as Markdown."""
    form = "{median:.2f} ({min:.2f} to {max:.2f})"
    lines = [
        "| dense product | TOPS | cuBLASLt int8 / kernel | T bf16 products / kernel |",
        "|---|---:|---:|---:|",
    ]
    for steps, entry in report["products"].items():
        cells = [form.format(**entry[name]) for name in ("cublaslt", "spikes")]
        speed = entry["operations_per_second"] / 1e12
        lines.append(f"| {entry['size']}^3, T = {steps} | {speed:.0f} | {' | '.join(cells)} |")
    lines += ["", "| convolution and neurons | operations / byte | unfused by | unfused / fused |"]
    lines.append("|---|---:|---|---:|")
    for entry in report["fused"]:
        cells = [f"{entry['intensity']:.0f}", entry["route"], form.format(**entry["fused"])]
        lines.append(f"| {entry['shape']}, batch {entry['batch']} | {' | '.join(cells)} |")
    return "\n".join(lines)
