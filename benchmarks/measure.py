"""What every benchmark measures with: time, memory, spreads, and the machine it was on."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["machine", "peak_bytes", "ratio", "seconds", "spread"]


def seconds(step: Callable[[], object]) -> float:
    """Wall-clock time of one call; what it left running on a GPU is waited for."""
    _wait()
    start = time.perf_counter()
    step()
    _wait()
    return time.perf_counter() - start


def _wait() -> None:
    if torch.cuda.is_initialized():
        torch.cuda.synchronize()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, smallest and largest."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def ratio(above: Sequence[float], below: Sequence[float]) -> dict[str, float]:
    """Spread of the ratios of neighbours in time."""
    return spread([mine / theirs for mine, theirs in zip(above, below, strict=True)])


def peak_bytes(step: Callable[[], object]) -> int:
    """Largest sum of what one call has allocated and not yet freed."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    results = recorded.profiler.kineto_results  # pyright: ignore[reportOptionalMemberAccess]
    events = [event for event in results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak


def machine() -> dict[str, object]:
    """Processor, vector instructions, threads and torch's version."""
    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
