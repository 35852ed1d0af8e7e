"""Training steps of one global batch on several CPU processes, gradients exchanged by gloo."""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import Tensor, distributed, multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from benchmarks.measure import ratio, seconds, spread
from benchmarks.scaling_network import network
from spikejelly_pack.spec.errors import RunError

__all__ = ["workers"]

STEPS, WIDTH, DEPTH, BATCH = 4, 32, 4, 32


def workers(processes: Sequence[int], rounds: int, size: int) -> dict[str, Any]:
    """Seconds of a step per number of processes, and the speed-up against the first of them.

    Every process has one thread. The numbers of processes run one after the other, so that their ratio is not
    of neighbours in time; gradients of all are compared before anything is reported.
    """
    found = {count: _launch(count, rounds, size) for count in processes}
    first = found[processes[0]]
    for count, one in found.items():
        for kind in ("packed", "lif"):
            if not torch.allclose(one[kind]["gradient"], first[kind]["gradient"], rtol=1e-3, atol=1e-5):
                raise RunError(
                    f"bench scaling: {count} processes must give the gradients of {processes[0]} ({kind}), "
                    "got others; not reported."
                )
    results = {
        str(count): {
            kind: {
                "seconds": spread(one[kind]["seconds"]),
                "speed_up": ratio(first[kind]["seconds"], one[kind]["seconds"]),
            }
            for kind in ("packed", "lif")
        }
        for count, one in found.items()
    }
    sizes = {"time_steps": STEPS, "width": WIDTH, "depth": DEPTH, "global_batch": BATCH}
    return {**sizes, "threads_per_process": 1, "backend": "gloo", "results": results}


def _launch(count: int, rounds: int, size: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        multiprocessing.spawn(_process, (count, rounds, size, folder), count)  # pyright: ignore
        return torch.load(Path(folder) / "0.pt", weights_only=True)


def _process(rank: int, count: int, rounds: int, size: int, folder: str) -> None:
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", f"file://{folder}/meet", rank=rank, world_size=count)
    report = _measured(rank, count, rounds, size)
    if rank == 0:
        torch.save(report, Path(folder) / "0.pt")
    distributed.barrier()
    # The networks are gone by now: they hold the group, whose threads must not outlive the interpreter.
    distributed.destroy_process_group()


def _measured(rank: int, count: int, rounds: int, size: int) -> dict[str, Any]:
    image = torch.rand(1, BATCH, 3, size, size, generator=torch.Generator().manual_seed(0))
    target = torch.arange(BATCH) % 10
    mine = slice(rank * BATCH // count, (rank + 1) * BATCH // count)
    report = {}
    for kind in ("packed", "lif"):
        net = DistributedDataParallel(network(kind, STEPS, WIDTH, DEPTH))
        x = image[:, mine] if kind == "packed" else image[:, mine].repeat(STEPS, 1, 1, 1, 1)
        step = partial(_step, net, x, target[mine])
        step()
        gradient = torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None]).clone()
        step()
        taken = []
        for _ in range(rounds):
            distributed.barrier()
            taken.append(statistics.median(seconds(step) for _ in range(3)))
        report[kind] = {"seconds": taken, "gradient": gradient}
    return report


def _step(net: nn.Module, x: Tensor, target: Tensor) -> None:
    functional.reset_net(net)
    net.zero_grad()
    nn.functional.cross_entropy(net(x).mean(0), target).backward()
