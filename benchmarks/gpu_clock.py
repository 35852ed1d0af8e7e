"""Time on a CUDA device: of its own work, and of the Python that gives it work.

A kernel of microseconds is over before Python has asked for the next one; timing calls then times Python.
Calls are therefore captured in a CUDA graph, and replays of the graph are timed by the device's own events.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

import torch

__all__ = ["Calls", "captured", "device_times", "host_seconds"]

Calls = Mapping[str, Callable[[], object]]
# Calls in one graph: enough that its start counts for nothing.
_CALLS = 10


def captured(call: Callable[[], object], calls: int = _CALLS) -> torch.cuda.CUDAGraph:
    """A graph of ``calls`` calls; what they allocate stays with it."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(2):
            call()  # compiles, and sets up what cannot be set up while a graph is captured
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(calls):
            call()
    return graph


def device_times(calls: Calls, rounds: int) -> dict[str, list[float]]:
    """Seconds of one call of each in every round, contenders interleaved."""
    graphs = {name: captured(call) for name, call in calls.items()}
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for index in range(rounds + 1):
        for name, graph in graphs.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            graph.replay()
            end.record()
            end.synchronize()
            if index:  # the first round warms up
                taken[name].append(start.elapsed_time(end) / 1000.0 / _CALLS)
    return taken


def host_seconds(call: Callable[[], object], calls: int = 100) -> float:
    """Seconds that Python needs to ask for one call; the device is not waited for."""
    call()
    torch.cuda.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        call()
    taken = (time.perf_counter() - start) / calls
    torch.cuda.synchronize()
    return taken
