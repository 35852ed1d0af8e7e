"""``spikepack train``: direct training by a configuration file, on one machine or many."""

from __future__ import annotations

import argparse
import os
from importlib.util import find_spec
from typing import Any

from ..spec.errors import EnvironmentMissingError

__all__ = ["HELP", "PASSES_ON", "add_arguments", "run"]

HELP = "train a network whose neuron is chosen in a configuration file"
#: Arguments that this command does not declare go to its own parser, Lightning's.
PASSES_ON = True
_NEEDS = ("lightning", "jsonargparse", "tensorboard")
_EPILOG = """\
Every entry of a configuration is an option: --model.neuron.class_path, --model.time_steps, --model.teacher,
--data.init_args.root, --trainer.max_epochs, --trainer.precision, --trainer.accumulate_grad_batches,
--trainer.devices, --trainer.num_nodes, --model.compile, ...; --print_config shows all with their values.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the help shows; everything but ``--json`` is parsed by Lightning's command line."""
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.allow_abbrev = False
    add = parser.add_argument
    add(
        "--config",
        action="append",
        required=True,
        metavar="NAME|FILE",
        help="configuration, see docs/training.md",
    )
    add("--out", metavar="DIR", help="folder of checkpoints and logs")
    add("--resume", metavar="FILE.ckpt", help="continue from a checkpoint")
    add("--ema", metavar="DECAY", help="moving average of the weights, e.g. 0.99; null: none")
    add(
        "--patience",
        metavar="EPOCHS",
        help="stop after so many epochs without a better accuracy; null: never",
    )
    add("--seed_everything", metavar="SEED", help="seed of the weights (the data's is --data.init_args.seed)")
    add("--fast-dev-run", action="store_true", help="one batch of everything: a smoke test")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Train and print what came out."""
    absent = [name for name in _NEEDS if find_spec(name) is None]
    if absent:
        raise EnvironmentMissingError(
            f"train: {' and '.join(absent)} must be installed, got no such package; run: "
            "pip install 'spikejelly-pack[train]'"
        )
    from ..train.command import train

    passed = [word for name in args.config for word in ("--config", name)]
    for name in ("out", "resume", "ema", "patience", "seed_everything"):
        value = getattr(args, name)
        passed += [f"--{name}", value] if value is not None else []
    if args.fast_dev_run:
        passed.append("--fast-dev-run")
    result = train([*passed, *args.passed_on])
    if os.environ.get("LOCAL_RANK", "0") != "0" or os.environ.get("NODE_RANK", "0") != "0":
        args.json = None  # the first process tells what all of them found
        return result
    for name, value in result["metrics"].items():
        if name.startswith(("test_", "val_")):
            print(f"{name.replace('_', ' ')}: {value:.4g}")
    for name, path in result.get("files", {}).items():
        print(f"{name}: {path}")
    return result
