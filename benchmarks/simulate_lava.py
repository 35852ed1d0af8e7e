"""The half of ``benchmarks/simulate.py`` that runs beside Lava, on Python 3.10: raw seconds in a JSON file.

Usage: ``python3.10 -I simulate_lava.py '{"samples": 16, ...}' OUT.json``. Every contender must give every
integer of the numpy reference before anything is timed; then all of them run once per round: ratios are of
neighbours in time. Timed are the time steps alone, without compilation and start-up.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import lava_bridge
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import RunError
from spikejelly_pack.spec.execute import run_packed

MLP = (64, 128, 64, 10)
BATCH = 32
# With a batch of 1 on Lava's own Dense.
RUNS: dict[str, dict[str, Any]] = {
    f"{engine}, {spikes}": {"engine": engine, "spikes": spikes, "batch": 1}
    for spikes in ("serial", "graded")
    for engine in ("loihi", "async", "inline")
}
RUNS |= {
    f"{engine}, serial, batch {BATCH}": {"engine": engine, "batch": BATCH} for engine in ("loihi", "inline")
}


def mlp(time_steps: int, rng: np.random.Generator) -> g.Network:
    """Three dense layers of 8-bit weights over their full range."""
    source = g.Input(
        name="x", inputs=(), threshold=np.ones(1, np.float32), shape=MLP[:1], time_steps=time_steps
    )
    ops: list[g.Op] = [source]
    for layer, (fan_in, fan_out) in enumerate(pairwise(MLP)):
        weight = rng.integers(-128, 128, size=(fan_out, fan_in)).astype(np.int32)
        bias = rng.integers(-500, 500, size=fan_out).astype(np.int32)
        ops.append(g.Dense(name=f"fc{layer}", inputs=(ops[-1].name,), weight_bits=8, weight=weight))
        if layer + 2 == len(MLP):
            ops.append(
                g.Readout(
                    name="out", inputs=(f"fc{layer}",), scale=np.ones(fan_out), bias=bias, state_bits=32
                )
            )
        else:
            theta = rng.integers(200, 400, size=fan_out).astype(np.int32)
            constants = {"threshold": theta, "bias": bias, "time_steps": time_steps, "state_bits": 32}
            ops.append(g.Neuron(name=f"n{layer}", inputs=(f"fc{layer}",), **constants))
    return g.Network(ops, time_steps)


def conv(channels: int, side: int, time_steps: int, rng: np.random.Generator) -> g.Network:
    """One 3 x 3 convolution that doubles the channels."""
    weight = rng.integers(-128, 128, size=(2 * channels, channels, 3, 3)).astype(np.int32)
    shape, zeros = (channels, side, side), np.zeros(2 * channels, np.int32)
    return g.Network(
        [
            g.Input(
                name="x", inputs=(), threshold=np.ones(1, np.float32), shape=shape, time_steps=time_steps
            ),
            g.Conv2d(name="c", inputs=("x",), weight_bits=8, weight=weight, padding=(1, 1)),
            g.Readout(name="out", inputs=("c",), scale=np.ones(2 * channels), bias=zeros, state_bits=32),
        ],
        time_steps,
    )


@contextmanager
def stock_conv() -> Iterator[None]:
    """Run ``Conv`` on Lava's own model."""
    from lava.proc.conv.models import PyConvModelFixed
    from lava.proc.conv.process import Conv

    from lava_bridge.engines import configuration

    models = configuration.STOCK_MODELS["fixed_pt"]
    ours = models[Conv]
    models[Conv] = PyConvModelFixed
    try:
        yield
    finally:
        models[Conv] = ours


def run_once(network: g.Network, codes: Any, stock: bool = False, **options: Any) -> lava_bridge.Simulation:
    """One run of one contender."""
    call = partial(lava_bridge.simulate, network, codes, codes=True, progress=False, timeout=300, **options)
    if stock:
        with stock_conv():
            return call()
    return call()


def measure(
    network: g.Network, codes: Any, contenders: dict[str, dict[str, Any]], rounds: int, title: str
) -> dict[str, list[float]]:
    """Seconds per sample of every contender, one value per round; what is wrong is not timed."""
    reference = run_packed(network, codes)["out"]
    for name, options in contenders.items():
        print(f"{title}: checking {name}", file=sys.stderr, flush=True)
        if not np.array_equal(run_once(network, codes, **options).membranes["out"], reference):
            raise RunError(f"bench simulate: {name} must equal the numpy reference, got other membranes.")
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for index in range(rounds):
        print(f"{title}: round {index + 1} of {rounds}", file=sys.stderr, flush=True)
        for name, options in contenders.items():
            seconds[name].append(run_once(network, codes, **options).seconds_per_sample)
    return seconds


def main(sizes: dict[str, int]) -> dict[str, Any]:
    """Both comparisons."""
    rng = np.random.default_rng(0)
    steps, samples, rounds = sizes["time_steps"], sizes["samples"], sizes["rounds"]
    top = (1 << steps) - 1
    network = mlp(steps, rng)
    x = rng.integers(0, top + 1, size=(samples, MLP[0]))
    layer = conv(sizes["channels"], sizes["side"], steps, rng)
    images = rng.integers(0, top + 1, size=(sizes["images"], sizes["channels"], sizes["side"], sizes["side"]))
    models = {
        "ours": {"engine": "inline", "batch": 1},
        "stock": {"engine": "inline", "batch": 1, "stock": True},
    }
    return {
        "mlp": measure(network, x, RUNS, rounds, "three-layer network"),
        "conv": measure(layer, images, models, rounds, "convolution"),
    }


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(json.dumps(main(json.loads(sys.argv[1]))), "utf-8")
