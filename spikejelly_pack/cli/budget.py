"""``spikepack budget``: what one inference of a network costs."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spec.errors import ParameterError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..bit_budget import BudgetReport, Comparison
    from ..spec.energy import EnergyTable

__all__ = ["HELP", "add_arguments", "run"]

HELP = "count what one inference costs: S-ACE, NS-ACE, ACE, memory and energy, per layer"
DIGITS = "digits"
_SUFFIXES = (".csv", ".html", ".json", ".svg")
_INPUT_SIDE = 224


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="torchvision:NAME, FILE.py:FUNCTION, package.module:FUNCTION, what spikepack convert wrote "
        "(.safetensors), an exchange file (.spk), or digits (the demo's network)",
    )
    parser.add_argument("--weights", metavar="FILE|NAME", help="state dict, or torchvision's weights by name")
    parser.add_argument("--source", metavar="MODEL", help="source of a .safetensors file of your own model")
    parser.add_argument(
        "--data", metavar="FILE",
        help="inputs [N, *] as .npy; for a file of spikepack convert also its folder of images (default: "
        "random in 0..1)",
    )  # fmt: skip
    parser.add_argument(
        "--shape",
        metavar="C,H,W",
        help="of random inputs (default: that of the images a network was converted for, else "
        f"3,{_INPUT_SIDE},{_INPUT_SIDE})",
    )
    parser.add_argument("--samples", type=int, default=2, metavar="N", help="at most N (default: 2)")
    parser.add_argument("--time-steps", type=int, metavar="T", help="convert to SpikePack first")
    parser.add_argument("--weight-bits", type=int, metavar="B", help="of weights that nothing quantizes")
    parser.add_argument("--activation-bits", type=int, metavar="B", help="of values that nothing quantizes")
    parser.add_argument("--input-bits", type=int, default=32, metavar="B", help="of the input (default: 32)")
    parser.add_argument(
        "--rate", choices=("digit", "word"), default="digit",
        help="of NS-ACE and energy: digits that are one, or words that are not zero (default: digit)",
    )  # fmt: skip
    parser.add_argument(
        "--energy-table", "--energy", dest="energy", metavar="FILE", help="energy table of your own (JSON)"
    )
    parser.add_argument("--compare", action="store_true", help="ANN, QANN, LIF and SpikePack in one table")
    parser.add_argument("--strict", action="store_true", help="refuse operations without a counting rule")
    parser.add_argument(
        "--out", nargs="+", default=[], metavar="FILE", help="files to write: .csv, .json, .html, .svg"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Count, print and write."""
    from ..spec.atomic import check_writable, write_text
    from ..spec.energy import DEFAULT_TABLE, load_energy_table

    for path in args.out:
        if Path(path).suffix not in _SUFFIXES:
            raise ParameterError(f"--out must end in one of {', '.join(_SUFFIXES)}, got {path!r}; rename it.")
        check_writable(path)
    for option in ("samples", "input_bits", "weight_bits", "activation_bits"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise ParameterError(f"--{option.replace('_', '-')} must be at least 1, got {value}; raise it.")
    table = load_energy_table(args.energy or DEFAULT_TABLE)
    found = _found(args, table)
    print(found)
    for path in args.out:
        write_text(path, _rendered(found, Path(path).suffix))
        print(f"written: {path}")
    return found.to_dict()


def _rendered(found: BudgetReport | Comparison, suffix: str) -> str:
    from ..bit_budget.page import as_html, figure_svg

    if suffix == ".json":
        return json.dumps(found.to_dict(), indent=2) + "\n"
    if suffix == ".csv":
        return found.to_csv()
    return as_html(found) if suffix == ".html" else figure_svg(found)


def _found(args: argparse.Namespace, table: EnergyTable) -> BudgetReport | Comparison:
    suffix = Path(args.model).suffix
    if suffix == ".spk":
        return _of_exchange_file(args, table)
    net, x = _network(args, suffix)
    if args.compare:
        from ..bit_budget import compare

        if suffix == ".safetensors":
            raise ParameterError(
                f"--compare must start from a source network, got {args.model}; name the model behind it."
            )
        return compare(
            net, x, [x], time_steps=args.time_steps or 4, weight_bits=args.weight_bits or 8,
            input_bits=args.input_bits, rate=args.rate, energy=table,
        )  # fmt: skip
    from ..bit_budget import measure

    if args.time_steps is not None:
        from ..recipes import convert

        net = convert(net, [x], args.time_steps)
    return measure(
        net, x, name=args.model, input_bits=args.input_bits, weight_bits=args.weight_bits,
        activation_bits=args.activation_bits, rate=args.rate, energy=table, strict=args.strict,
    )  # fmt: skip


def _of_exchange_file(args: argparse.Namespace, table: EnergyTable) -> BudgetReport:
    import numpy as np

    from ..bit_budget import measure_integer
    from ..spec import exchange
    from ..spec.execute import encode

    fixed = ("compare", "time_steps", "weight_bits", "activation_bits", "weights")
    if given := [name for name in fixed if getattr(args, name)]:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ParameterError(f"{args.model}: is an integer network, leave out {names}; export it otherwise.")
    network = exchange.load(args.model)
    if args.data:
        from .inputs import load_data

        values = load_data(args.data).numpy()[: args.samples]
        codes: Any = {op.name: encode(op, values) for op in network.inputs}
    else:
        golden = exchange.golden_samples(network, args.model)
        codes = {op.name: np.asarray(golden[op.name]) for op in network.inputs} if golden else None
    return measure_integer(network, codes, name=args.model, rate=args.rate, energy=table)


def _network(args: argparse.Namespace, suffix: str) -> tuple[nn.Module, Tensor]:
    """The network and an input for it."""
    if args.model == DIGITS:
        return _digits(args)
    if suffix == ".safetensors":
        from ..tasks.saved import load_conversion

        if args.time_steps is not None:
            raise ParameterError(
                f"{args.model}: is converted already, leave out --time-steps; convert again."
            )
        net, about = load_conversion(args.model, args.source)
        return net, _input(args, None, about.preprocessing)
    from ..tasks.models import build_model
    from ..tasks.weights import load_weights, read_weights

    net = build_model(args.model)
    if args.weights:
        load_weights(net, read_weights(args.weights, args.model))
    return net, _input(args, None)


def _digits(args: argparse.Namespace) -> tuple[nn.Module, Tensor]:
    import torch

    from ..tasks.weights import load_weights, read_weights
    from .demo import digits

    torch.manual_seed(0)
    net = digits.ResidualNet().eval()
    if args.weights:
        load_weights(net, read_weights(args.weights, args.model))
    return net, _input(args, digits.load().test_inputs)


def _input(args: argparse.Namespace, default: Tensor | None, made: dict[str, Any] | None = None) -> Tensor:
    """Data, or random values of the shape given, or of ``made``, the preprocessing a conversion remembers."""
    import torch

    from .inputs import load_data

    if args.data:
        return load_data(args.data, args.model, args.samples)[: args.samples]
    if default is not None:
        return default[: args.samples]
    try:
        channels, side = ((made or {}).get(*about) for about in (("channels", 3), ("size", _INPUT_SIDE)))
        shape = [int(size) for size in (args.shape or f"{channels},{side},{side}").split(",")]
    except ValueError:
        shape = []
    if not shape or min(shape) < 1:
        raise ParameterError(f"--shape must be positive integers such as 3,224,224, got {args.shape!r}.")
    generator = torch.Generator().manual_seed(0)
    return torch.rand(args.samples, *shape, generator=generator)
