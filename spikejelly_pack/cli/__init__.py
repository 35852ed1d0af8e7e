"""The ``spikepack`` command: one module per subcommand, imported when it is called.

A subcommand module has ``HELP`` (one line), ``add_arguments(parser)`` and ``run(args) -> dict``: what it
found, as JSON values. ``--json FILE`` writes that; ``"ok": False`` in it means exit code 1. To add one,
write the module and its line in :data:`COMMANDS`. With ``PASSES_ON = True`` in the module, arguments that it
does not declare reach it as ``args.passed_on``.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any

from ..spec.atomic import check_writable, write_text
from ..spec.errors import SpikePackError
from .outputs import check_outputs

__all__ = ["COMMANDS", "main"]

COMMANDS: dict[str, str] = {
    "demo": "spikejelly_pack.cli.demo",
    "convert": "spikejelly_pack.cli.convert",
    "evaluate": "spikejelly_pack.cli.evaluate",
    "export": "spikejelly_pack.cli.export",
    "simulate": "spikejelly_pack.cli.simulate",
    "synth": "spikejelly_pack.cli.synth",
    "train": "spikejelly_pack.cli.train",
    "budget": "spikejelly_pack.cli.budget",
    "budget plan": "spikejelly_pack.cli.budget_plan",
    "bench": "spikejelly_pack.cli.bench",
    "info": "spikejelly_pack.cli.info",
}
_HINT = "SPIKEPACK_TRACEBACK"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: Arguments without the program's name; those of the process when None.

    Returns:
        Exit code: 0 done, 1 the run failed or a check did not hold, 2 bad input, 130 interrupted, 141 nobody
        reads the output any more.
    """
    try:
        code = _run(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # as by "| head": no fault, and Python must not try again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    return code


def _run(argv: Sequence[str] | None) -> int:
    arguments = _joined(list(sys.argv[1:] if argv is None else argv))
    try:
        parser = _parser(arguments)
        args, args.passed_on = parser.parse_known_args(arguments)
        if args.passed_on and not args.passes_on:
            parser.error(f"unrecognized arguments: {' '.join(args.passed_on)}")
        if args.json:
            check_writable(args.json)
        check_outputs(args)
        result: dict[str, Any] = args.run(args)
        if args.json:
            write_text(args.json, json.dumps(result, indent=2) + "\n")
    except SpikePackError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except SystemExit as stop:  # argparse: 0 after --help, 2 after a usage error
        return stop.code if isinstance(stop.code, int) else 2
    except BrokenPipeError:
        raise
    except Exception as error:  # noqa: BLE001 (a fault of ours: still one sentence, the traceback on request)
        return _complain(
            f"internal error, {type(error).__name__}: {error}; set {_HINT}=1 to see where and report it.", 1
        )
    return 0 if result.get("ok", True) else 1


def _joined(arguments: list[str]) -> list[str]:
    """Two words that together name a command are one argument: ``budget plan``."""
    name = " ".join(arguments[:2])
    return [name, *arguments[2:]] if name in COMMANDS else arguments


def _parser(arguments: list[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="spikepack", description="SpikePack for SpikingJelly.")
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    for name, path in COMMANDS.items():
        module = import_module(path)
        child = commands.add_parser(name, help=module.HELP, description=module.HELP)
        if name == chosen:
            module.add_arguments(child)
            child.add_argument("--json", metavar="FILE", help="write the results as JSON")
            child.set_defaults(run=module.run, passes_on=getattr(module, "PASSES_ON", False))
    return parser


class _Version(argparse.Action):
    """``--version``; the package's metadata are read when asked for, not at every start."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"spikepack {version('spikejelly-pack')}")
        parser.exit()


def _complain(sentence: str, code: int) -> int:
    if os.environ.get(_HINT):
        traceback.print_exc()
    print(f"spikepack: {sentence}", file=sys.stderr)
    return code
