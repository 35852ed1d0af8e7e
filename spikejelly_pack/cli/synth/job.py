"""Write, simulate, synthesize, place and report an exported network."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lava_bridge.fpga.flow import Plan, synth
from lava_bridge.fpga.options import Options
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import ParameterError

from ..simulate.job import sample_codes
from ..termination import terminable

__all__ = ["run"]


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Run the command; returns the report.

    Raises:
        SpikePackError: Bad input, a missing tool, a network that does not fit, or a code that differs.
    """
    todo = _plan(args)
    network = exchange.load(args.file)
    codes = sample_codes(network, args) if args.simulate else None
    with terminable(), tqdm(bar_format="{desc} [{elapsed}]", disable=None, leave=False) as bar:
        report = synth(
            network,
            args.out,
            todo,
            name=Path(args.file).name,
            codes=codes,
            progress=bar.set_description_str,
        )
    _print(report, args.out)
    return report


def _plan(args: argparse.Namespace) -> Plan:
    given = args.lanes is not None or args.fire is not None
    if given and args.fit not in (None, "none"):
        raise ParameterError(
            f"synth: --fit must be left out where --lanes or --fire are given, got {args.fit!r}; choose one."
        )
    if args.timeout <= 0:
        raise ParameterError(f"synth: --timeout must be > 0 s, got {args.timeout}; allow more.")
    if len(set(args.seeds)) != len(args.seeds) or any(seed < 0 for seed in args.seeds):
        raise ParameterError(
            f"synth: --seeds must be different numbers >= 0, got {args.seeds}; name each once."
        )
    chosen = {name: getattr(args, name) for name in ("lanes", "fire") if getattr(args, name) is not None}
    shared = {name: getattr(args, name) for name in ("weight_memory", "digits", "convolution")}
    options = Options(**shared, **chosen)
    fit = None if given or args.fit == "none" else args.fit or "speed"
    return Plan(
        device=args.device,
        fit=fit,
        options=options,
        seeds=tuple(args.seeds),
        simulate=args.simulate,
        engine=args.engine,
        synthesize=args.synth,
        constraints=args.constraints,
        deadline=args.timeout,
    )


def _print(report: dict[str, Any], out: str) -> None:
    if simulation := report.get("simulation"):
        print(
            f"{simulation['samples']} samples in {simulation['engine']}, with and without stalls: every "
            f"code of {', '.join(simulation['compared'])} equals the integer reference"
        )
        print(
            f"{simulation['cycles_per_sample']:.1f} cycles per sample, latency of one sample "
            f"{simulation['latency_cycles']:.0f} cycles"
        )
    what = "placed" if "place" in report else "synthesized" if "synthesis" in report else "estimated"
    used = ", ".join(
        f"{entry['used']} of {entry['available']} {name.upper()}"
        for name, entry in report["utilization"].items()
    )
    print(f"{report['device']['title']}, {what}: {used}")
    if "place" in report:
        low, high = report["place"]["fmax_spread_mhz"]
        print(f"Fmax {report['place']['fmax_mhz']:.1f} MHz ({low:.1f} to {high:.1f}), an estimate of nextpnr")
    if speed := report.get("performance"):
        print(
            f"{speed['samples_per_second']:,.0f} samples per second, latency "
            f"{speed['latency_microseconds']:.2f} microseconds, "
            f"{speed['synaptic_operations_per_second']:.3g} synaptic operations per second"
        )
    written = [report["bitstream"]] if "bitstream" in report else []
    print(f"written: {', '.join(str(Path(out) / name) for name in ('report.html', 'report.json', *written))}")
