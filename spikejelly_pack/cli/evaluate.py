"""``spikepack evaluate``: a converted network on a data folder, its source network beside it on request."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..spec.errors import ParameterError
from .convert import add_data_arguments, chosen_device, opened

if TYPE_CHECKING:
    from ..tasks.saved import Conversion

__all__ = ["HELP", "add_arguments", "run"]

HELP = "measure a converted network: top-1 and top-5, mAP or mIoU"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", help="what spikepack convert wrote")
    add_data_arguments(parser)
    parser.add_argument("--model", metavar="MODEL", help="the source network, if it is none of torchvision's")
    parser.add_argument("--samples", type=int, metavar="N", help="at most N images (default: all)")
    parser.add_argument("--compare", action="store_true", help="measure the source network too")
    parser.add_argument(
        "--weights", metavar="FILE|NAME", help="the source's weights, for --compare on the FX route"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Rebuild, measure and print."""
    from ..recipes import SpikePackNetwork
    from ..tasks.evaluation import evaluate
    from ..tasks.saved import load_conversion

    device = chosen_device(args.device)
    network, about = load_conversion(args.file, args.model)
    if args.task not in (None, about.task):
        raise ParameterError(
            f"--task must be {about.task!r}, what {args.file} was converted for, got {args.task!r}; leave it "
            "out."
        )
    source = _source(args, network, about) if args.compare else None
    args.model = about.model
    given = {"size": args.size, "mean": args.mean, "std": args.std, "channels": args.channels}
    given = {name: value for name, value in given.items() if value is not None}
    data = opened(args, about.task, given or about.preprocessing, about.voc, args.samples)
    network.to(device)
    result: dict[str, Any] = {"file": args.file, "task": about.task, "time_steps": about.time_steps}
    result["route"] = about.route
    result["converted"] = evaluate(network, data, device)
    print_measures(f"T = {about.time_steps}", result["converted"])
    if source is not None:
        if isinstance(source, SpikePackNetwork) and source is network:
            source.transparent = True
        result["source"] = evaluate(source.to(device), data, device)
        print_measures("source", result["source"])
        result["lost"] = lost(result["source"], result["converted"])
        print_measures("points lost", result["lost"])
    return result


def _source(args: argparse.Namespace, network: Any, about: Conversion) -> Any:
    """The source network; one of the module route holds it itself."""
    from ..recipes import SpikePackNetwork
    from ..tasks.models import TORCHVISION, build_model
    from ..tasks.weights import load_weights, read_weights

    if isinstance(network, SpikePackNetwork):
        return network
    own = not about.model.startswith(TORCHVISION)
    if args.weights is None or (own and args.model is None):
        needed = "--weights FILE and --model MODEL" if own else "--weights FILE"
        missing = "no weights" if args.weights is None else "no model"
        raise ParameterError(
            f"--compare needs {needed}, got {missing}: {args.file} was converted by the FX route and holds "
            f"no source network; it was {about.model} with {about.weights}."
        )
    reference = args.model or about.model
    source = build_model(reference, about.options)
    load_weights(source, read_weights(args.weights, reference))
    return source


def lost(source: dict[str, Any], converted: dict[str, Any]) -> dict[str, float]:
    """Points lost, per measure."""
    from ..tasks.evaluation import MEASURES

    return {name: source[name] - converted[name] for name in MEASURES if name in source}


def print_measures(name: str, found: dict[str, Any]) -> None:
    """One line."""
    from ..tasks.evaluation import MEASURES

    values = ", ".join(f"{key} {found[key]:.2f}" for key in MEASURES if key in found)
    print(f"{name}: {values}" + (f" ({found['samples']} samples)" if "samples" in found else ""))
