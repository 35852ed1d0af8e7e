"""Which route computes an integer product: the fastest of the exact ones, measured once per shape and kept.

A route must first prove itself from weights and code range (:meth:`.base.Route.refuses`), then give the very
sums of float64 on codes at their extremes, then be the fastest. What was tried, refused and measured, and
why, is kept for :func:`measured_choices`, which ``spikepack bench kernels`` prints.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor

from ...spec.errors import RunError, UnsupportedError
from .base import FusedRoute, Kernel, Product, Route, storage_dtype
from .floats import FloatRoute, HalfRoute
from .int8 import Int8Route
from .onednn import OneDnnRoute
from .onednn_fire import OneDnnFire
from .tensor_cores import Fire, FusedKernel, KernelRoute

__all__ = [
    "ROUTES",
    "Measured",
    "choose_fusion",
    "choose_route",
    "forget_choices",
    "fused_routes",
    "measured_choices",
    "measured_table",
    "routes",
]

# The first is the reference the others are compared with: exact for every network that can be built.
ROUTES: list[Route] = [
    FloatRoute("float64", torch.float64),
    FloatRoute("float32", torch.float32),
    HalfRoute("bfloat16", torch.bfloat16),
    HalfRoute("float16", torch.float16),
    Int8Route(),
    OneDnnRoute(),
    KernelRoute(),
]
# Products with the neurons behind them.
FUSED: list[FusedRoute] = [FusedKernel(), OneDnnFire()]
_REPEATS = 5
_CHOICES: dict[tuple[object, ...], Measured] = {}
_LOCK = threading.RLock()


@dataclass
class Measured:
    """One decision.

    Attributes:
        device: Where.
        kind: ``"dense"``, ``"conv"`` or ``"grouped conv"``.
        weight: Shape of the weights.
        codes: Shape of the codes it was measured on.
        chosen: Name of the fastest exact route.
        seconds: Median time of each route that was measured.
        refused: Why each of the others was not.
    """

    device: str
    kind: str
    weight: tuple[int, ...]
    codes: tuple[int, ...]
    chosen: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)


def _bucket(samples: int) -> int:
    return 1 << max(0, samples - 1).bit_length()


@cache
def _cuda_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device)


def _device_name(device: torch.device) -> str:
    return _cuda_name(device) if device.type == "cuda" else f"cpu, {torch.get_num_threads()} threads"


def _extremes(product: Product, shape: tuple[int, ...], device: torch.device) -> Tensor:
    """Codes half of which are at an end of their range, the rest anywhere in it; the same for every call."""
    generator = torch.Generator().manual_seed(0)
    anywhere = torch.randint(product.low, product.high + 1, shape, generator=generator)
    ends = torch.randint(0, 2, shape, generator=generator) * (product.high - product.low) + product.low
    mixed = torch.where(torch.rand(shape, generator=generator) < 0.5, ends, anywhere)
    if len(mixed):
        mixed[0] = product.high
    stored = mixed.to(storage_dtype(product.low, product.high)).to(device)
    return stored.contiguous(memory_format=torch.channels_last) if stored.dim() == 4 else stored


def _seconds(kernel: Kernel, codes: Tensor) -> float:
    taken = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        kernel(codes)
        if codes.is_cuda:
            torch.cuda.synchronize(codes.device)
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def fastest(seconds: dict[str, float]) -> str:
    """Name of the least time."""
    return min(seconds, key=seconds.__getitem__)


# A way to compute something: its name, why it is not exact or cannot run here, how to make it.
Candidate = tuple[str, str | None, Callable[[], Kernel]]


def _measure(candidates: Iterable[Candidate], codes: Tensor, found: Measured) -> None:
    """Try every candidate; the first that runs is the reference of the others."""
    expected: Tensor | None = None
    for name, reason, make in candidates:
        if reason is None:
            try:
                kernel = make()
                result = kernel(codes).to(torch.float64)
            except (AttributeError, RuntimeError) as error:
                # A missing or unfit operator of this torch build or device, not a wrong result.
                reason = (
                    f"cannot run here: {str(error).splitlines()[0]}" if str(error) else type(error).__name__
                )
            else:
                expected = result if expected is None else expected
                if not torch.equal(result, expected):
                    reason = f"gave other sums than {next(iter(found.seconds))} on extreme codes"
                else:
                    found.seconds[name] = _seconds(kernel, codes)
        if reason is not None:
            found.refused[name] = reason
    if not found.seconds:
        raise UnsupportedError(
            f"accelerate: a {found.kind} product must have an exact route on {found.device}, got none "
            f"({found.refused}); run spec.execute.run_packed."
        )
    found.chosen = fastest(found.seconds)


def fused_routes(device: torch.device, provider: str) -> dict[str, FusedRoute]:
    """The routes of a product with its neurons that a provider allows there, by name."""
    allowed = ("cupy", "torch") if provider == "auto" else (provider,)
    return {
        route.name: route for route in FUSED if device.type in route.devices and route.provider in allowed
    }


def routes() -> dict[str, Route]:
    """Routes by name."""
    return {route.name: route for route in ROUTES}


def choose_route(product: Product, shape: tuple[int, ...], device: torch.device) -> Measured:
    """The decision for a product and an input shape; measured at the first call, then remembered.

    The number of samples counts by its next power of two, so that a shorter last batch is not measured anew.

    Raises:
        UnsupportedError: No route is exact there.
        RunError: Called first inside a CUDA graph capture, where nothing can be timed.
    """
    reasons = _refusals(product, device)
    candidates = (
        (route.name, reasons[route.name], partial(route.prepare, product, device))
        for route in ROUTES
        if device.type in route.devices
    )
    admitted = tuple(name for name, reason in reasons.items() if reason is None)
    return _choose(product, shape, device, product.kind, (*product.key, admitted), candidates)


def _refusals(product: Product, device: torch.device) -> dict[str, str | None]:
    """Why each route is not for the product there; asked once, since a forward must not read all weights."""
    known = product.refusals.get(str(device))
    if known is None or list(known) != [route.name for route in ROUTES if device.type in route.devices]:
        known = {r.name: r.refuses(product, device) for r in ROUTES if device.type in r.devices}
        product.refusals[str(device)] = known
    return known


def choose_fusion(
    product: Product,
    fire: Fire,
    separate: Kernel,
    shape: tuple[int, ...],
    device: torch.device,
    candidates: Mapping[str, FusedRoute],
) -> Measured:
    """Which of the fused routes a product and its neurons take, or ``"separate"``; as above."""
    reasons = fire.refusals.setdefault(str(device), {})
    for name, route in candidates.items():
        if name not in reasons:
            reasons[name] = route.refuses(product, fire, device)
    tried: list[Candidate] = [("separate", None, lambda: separate)]
    tried += [(n, reasons[n], partial(r.prepare, product, device, fire)) for n, r in candidates.items()]
    admitted = tuple(name for name in candidates if reasons[name] is None)
    key = (*product.key, fire.time_steps, fire.signed, admitted)
    return _choose(product, shape, device, f"{product.kind} and fire", key, tried)


def _choose(
    product: Product,
    shape: tuple[int, ...],
    device: torch.device,
    kind: str,
    key: tuple[object, ...],
    candidates: Iterable[Candidate],
) -> Measured:
    shape = (_bucket(shape[0]), *shape[1:])
    name = _device_name(device)
    with _LOCK:
        known = _CHOICES.get((name, shape, kind, *key))
        if known is not None:
            return known
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            raise RunError(
                "accelerate: routes must be measured before a CUDA graph is captured, got the first forward "
                "inside the capture; run one forward before it."
            )
        found = Measured(name, kind, tuple(product.weight.shape), shape)
        with torch.no_grad():
            _measure(candidates, _extremes(product, shape, device), found)
        _CHOICES[(name, shape, kind, *key)] = found
        return found


def measured_choices() -> list[Measured]:
    """All decisions of this process, in order."""
    return list(_CHOICES.values())


def forget_choices() -> None:
    """Drop all decisions, for example after :func:`torch.set_num_threads`."""
    with _LOCK:
        _CHOICES.clear()


def measured_table(choices: list[Measured] | None = None) -> str:
    """Decisions as a Markdown table: which route, its time, the time of the others, why some were refused."""
    lines = ["| product | weight | codes | chosen | microseconds | refused |", "|---|---|---|---|---|---|"]
    for choice in measured_choices() if choices is None else choices:
        times = ", ".join(f"{name} {1e6 * seconds:.0f}" for name, seconds in choice.seconds.items())
        reasons = "; ".join(f"{name}: {reason}" for name, reason in choice.refused.items())
        cells: list[Any] = [choice.kind, choice.weight, choice.codes, choice.chosen, times, reasons]
        lines.append("| " + " | ".join(str(cell) for cell in cells) + " |")
    return "\n".join(lines)
