"""Samples one by one through a network in Intel Lava: a generator goes in, a generator of results comes out.

Needs what ``convert_and_simulate.py`` needs::

    python examples/stream.py net.spk --samples 64 --chunk 16

A run of Lava cannot be given more samples once it has started, so the stream is cut into chunks, and one
run, in which samples follow each other without a gap, takes each. Results do not depend on the chunk; its
length trades the delay of the first result against start-up time per sample.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterable, Iterator

import numpy as np

import lava_bridge
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.graph import Network


def stream(
    network: Network, samples: Iterable[np.ndarray], chunk: int = 16, engine: str = "inline"
) -> Iterator[np.ndarray]:
    """Yield the real output of every sample, in order; at most ``chunk`` samples are held at a time."""
    (readout,) = network.readouts
    source = iter(samples)
    while batch := list(itertools.islice(source, chunk)):
        result = lava_bridge.simulate(network, np.stack(batch), engine=engine, progress=False)
        yield from result.outputs[readout.name]


def sensor(shape: tuple[int, ...], count: int) -> Iterator[np.ndarray]:
    """Stand-in for a sensor: noise in [0, 1)."""
    rng = np.random.default_rng(0)
    for _ in range(count):
        yield rng.random(shape, np.float32)


def main() -> None:
    """Stream random samples through an exported network; print the class of each."""
    parser = argparse.ArgumentParser(description="stream samples through a network in Lava")
    parser.add_argument("file", help="exchange file (.spk)")
    parser.add_argument("--samples", type=int, default=64)
    parser.add_argument("--chunk", type=int, default=16)
    args = parser.parse_args()
    network = exchange.load(args.file)
    began = time.perf_counter()
    samples = sensor(network.inputs[0].shape, args.samples)
    for index, logits in enumerate(stream(network, samples, args.chunk)):
        print(f"{time.perf_counter() - began:7.2f} s  sample {index}: class {logits.argmax()}", flush=True)


if __name__ == "__main__":
    main()
