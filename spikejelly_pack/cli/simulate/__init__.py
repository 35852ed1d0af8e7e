"""``spikepack simulate``: run an exported network in Intel Lava and compare it with the integer reference."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["HELP", "NAME", "add_arguments", "run"]

NAME = "simulate"
HELP = "run an exported network in Intel Lava, spike by spike, and compare every integer with the reference"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("file", metavar="FILE", help="exchange file (.spk) made by spikepack export")
    parser.add_argument(
        "--input",
        "--data",
        metavar="X",
        help=".npy of real values [N, ...] (.npz: an array per input); default: the file's golden samples",
    )
    parser.add_argument(
        "--codes", action="store_true", help="the values of --input are integer codes already"
    )
    parser.add_argument("--samples", type=int, metavar="N", help="use the first N samples only")
    _add_modes(parser)
    parser.add_argument(
        "--record",
        nargs="*",
        default=[],
        metavar="NAME",
        help="neurons and inputs to record, codes and membranes, or: all",
    )
    parser.add_argument("--timeout", type=float, default=600.0, metavar="S", help="give up after S seconds")
    parser.add_argument("--python", metavar="PATH", help="Python 3.10 with Lava, or its virtual environment")
    parser.add_argument("--out", metavar="NPZ", help="write codes/NAME, membranes/NAME and outputs/NAME here")
    parser.add_argument(
        "--check",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare with the integer reference (default: yes)",
    )


def _add_modes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--engine",
        default="loihi",
        help="loihi (Lava's own runtime), async (the same without its barrier) or inline (one process)",
    )
    parser.add_argument(
        "--spikes",
        default="serial",
        help="serial (a digit per time step) or graded (a code per time step, as payload)",
    )
    parser.add_argument(
        "--batch",
        type=int,
        metavar="B",
        help="samples side by side, same integers (default: as many as pay with engine inline, else 1)",
    )
    parser.add_argument(
        "--model",
        metavar="TAG",
        help="fixed_pt, floating_pt or fpga (the target's registers, every overflow reported); default: fpga "
        "with --target, else fixed_pt",
    )
    parser.add_argument(
        "--target",
        metavar="DEVICE",
        help="device whose limits hold: loihi2, generic_fpga or a target file (.json)",
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command; see :func:`.job.run`."""
    from .job import run as job  # late: --help needs no numpy

    return job(args)
