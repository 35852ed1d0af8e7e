"""``spikepack info``: what is installed here and what can run, or what a file of this package holds."""

from __future__ import annotations

import argparse
import os
import platform
from typing import Any

from ..spec.errors import ParameterError

__all__ = ["HELP", "add_arguments", "run"]

HELP = "what a file of this package holds; without one: versions, interpreters and engines on this machine"
_PACKAGES = (
    "spikejelly-pack",
    "spikingjelly",
    "torch",
    "torchvision",
    "numpy",
    "safetensors",
    "cupy-cuda13x",
    "cupy-cuda12x",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "file",
        nargs="?",
        metavar="FILE",
        help="exchange file (.spk), or what spikepack convert or train wrote",
    )
    parser.add_argument(
        "--lava", action="store_true", help="every place where a Python 3.10 with Lava was looked for"
    )
    parser.add_argument(
        "--providers",
        action="store_true",
        help="what runs SpikePack's operations here, and why not the kernels",
    )


def _versions() -> dict[str, str | None]:
    from importlib.metadata import PackageNotFoundError, version  # late: --help needs none

    found: dict[str, str | None] = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def _providers() -> dict[str, Any]:
    """Print and return which providers there are, and what provider='auto' takes on each kind of tensor."""
    from ..ops import provider_report

    report = provider_report()
    print(f"providers (SPIKEPACK_PROVIDER: {report['environment'] or 'not set'}):")
    for name, state in report["providers"].items():
        print(f"  {name:6} {'available' if state['available'] else 'not available'}: {state['reason']}")
    for choice in report["auto"]:
        print(f"  auto on {choice['device']}, {choice['dtype']}: {choice['provider']} ({choice['reason']})")
    return report


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Print and return the facts."""
    if args.file:
        return _of_file(args)
    return _of_machine(args)


def _of_file(args: argparse.Namespace) -> dict[str, Any]:
    from . import file_info, network_info

    if args.lava or args.providers:
        raise ParameterError("info: --lava and --providers are about the machine; leave out FILE, or them.")
    reader = network_info if args.file.endswith(network_info.SUFFIXES) else file_info
    found = reader.describe(args.file)
    print(reader.text(found))
    return found


def _of_machine(args: argparse.Namespace) -> dict[str, Any]:
    import lava_bridge

    lava = lava_bridge.info()
    packages = _versions()
    result = {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "packages": packages,
        "lava": lava,
    }
    print(f"Python {result['python']} on {result['platform']}, {result['cpus']} CPUs")
    for name, found in packages.items():
        print(f"  {name:16} {found or 'not installed'}")
    if lava["available"]:
        print(f"Lava {lava['lava']} on Python {lava['python_version']}: {lava['python']}")
        print(f"  engines: {', '.join(lava['engines'])}")
    else:
        in_clone, anywhere = lava["commands"]
        print("Lava: no Python 3.10 with lava-nc found; one of these makes it:")
        print(f"  in a clone: {in_clone}")
        print(f"  anywhere: {anywhere}")
    if args.providers:
        result["providers"] = _providers()
    if args.lava:
        for place in lava["places"]:
            print(f"  {place['origin']}: {place['path']}: {place['reason'] or 'usable'}")
    return result
