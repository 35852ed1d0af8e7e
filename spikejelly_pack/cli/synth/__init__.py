"""``spikepack synth``: from an exported network to simulated, placed and routed hardware."""

from __future__ import annotations

import argparse
from typing import Any

__all__ = ["HELP", "NAME", "add_arguments", "run"]

NAME = "synth"
HELP = "turn an exported network into SystemVerilog, prove it by simulation, synthesize, place and route it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument("file", metavar="FILE", help="exchange file (.spk) made by spikepack export")
    parser.add_argument("--out", metavar="DIR", required=True, help="folder to write")
    _hardware(parser)
    _samples(parser)
    _stages(parser)


def _hardware(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--device", default="ecp5-85f", metavar="NAME", help="ice40-up5k, ecp5-25f or ecp5-85f (default)"
    )
    parser.add_argument(
        "--fit",
        choices=["speed", "area", "none"],
        default=None,
        help="speed (default): fill the device; area: the fewest LUTs; none: --lanes and --fire as they are",
    )
    parser.add_argument(
        "--lanes", type=int, metavar="N", help="neurons that add in one cycle; implies --fit none"
    )
    parser.add_argument(
        "--fire", type=int, metavar="N", help="neurons that fire in one cycle; implies --fit none"
    )
    parser.add_argument(
        "--weight-memory", choices=["auto", "block", "distributed"], default="auto", help="where weights live"
    )
    parser.add_argument(
        "--digits",
        choices=["csd", "binary"],
        default="csd",
        help="csd: fewest signed digits; binary: every spike an event",
    )
    parser.add_argument(
        "--convolution",
        choices=["event", "line", "auto"],
        default="event",
        help="event (default): every digit adds to a memory of membranes; line: line buffers, position after "
        "position, where possible; auto: what is faster or smaller, by estimate",
    )


def _samples(parser: argparse.ArgumentParser) -> None:
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


def _stages(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--seeds",
        type=int,
        nargs="*",
        default=[1, 2, 3],
        metavar="S",
        help="of place-and-route; none: no placing",
    )
    parser.add_argument(
        "--constraints",
        metavar="FILE",
        help="pins of your board (.lpf for ECP5, .pcf for iCE40); with it a bitstream is made",
    )
    parser.add_argument("--engine", default="auto", help="simulator: auto, verilator, cxxrtl or icarus")
    parser.add_argument(
        "--simulate",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="compare every code (default: yes)",
    )
    parser.add_argument(
        "--synth",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run yosys and nextpnr (default: yes)",
    )
    parser.add_argument("--timeout", type=float, default=3600.0, metavar="S", help="for each tool's run")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command; see :func:`.job.run`."""
    from .job import run as job  # late: --help needs no numpy

    return job(args)
