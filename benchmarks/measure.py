"""What every benchmark measures with: time, memory, spreads, and the machine it was on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

__all__ = ["machine", "peak_bytes", "ratio", "seconds", "spread"]

# What oneDNN and FBGEMM choose their kernels by.
_INSTRUCTIONS = {"avx2", "avx512f", "avx_vnni", "avx512_vnni", "avx512_bf16", "amx_int8", "amx_bf16"}


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


def _features() -> list[str]:
    """Which of the instructions that fast products use this processor has (Linux; else none is known)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return []
    flags = set(next((line for line in text.splitlines() if line.startswith("flags")), "").split())
    return sorted(flags & _INSTRUCTIONS)


def machine() -> dict[str, object]:
    """Processor, vector instructions, threads, load and torch's version."""
    return {
        "processor": platform.processor() or platform.machine(),
        "capability": torch.backends.cpu.get_cpu_capability(),
        "features": _features(),
        "load": round(os.getloadavg()[0], 2),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }
