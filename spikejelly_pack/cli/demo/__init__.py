"""``spikepack demo``: from a trained PyTorch network to bit-exact spikes in Lava, on real data."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["HELP", "add_arguments", "run"]

HELP = "train a small network, convert it, export it, simulate it in Lava, and report"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--time-steps", type=int, default=4, metavar="T", help="T of the exported network, 1..16 (default: 4)"
    )
    parser.add_argument(
        "--out", default="spikepack-demo", metavar="DIR", help="folder of the results (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="seed of the training (default: 0)")
    parser.add_argument(
        "--fast", action="store_true", help="fewer epochs, time steps and samples: a smoke test"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the whole job; the result is the content of ``results.json``."""
    from .job import run_demo

    return run_demo(args.time_steps, args.out, args.seed, args.fast)
