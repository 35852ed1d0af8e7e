"""``spikepack convert``: a trained checkpoint and a data folder to a converted network in one file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..spec.errors import ParameterError

if TYPE_CHECKING:
    from ..tasks.folders import Preprocessing, TaskData
    from ..tasks.models import Weights

__all__ = ["HELP", "add_arguments", "add_data_arguments", "run"]

HELP = "convert a trained network (torchvision's or your own) for classification, detection or segmentation"
_TASKS = ("classification", "detection", "segmentation")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options about data, which ``evaluate`` has too."""
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="ImageFolder (classification) or COCO folder"
    )
    parser.add_argument("--annotations", metavar="FILE", help="COCO annotations, if not in DIR")
    parser.add_argument("--images", metavar="DIR", help="COCO images, if not in DIR")
    parser.add_argument("--task", choices=_TASKS, help="default: what the torchvision model is for")
    parser.add_argument("--batch", type=int, default=16, metavar="N", help="images per batch (default: 16)")
    parser.add_argument("--size", type=int, metavar="N", help="resize images to N x N")
    parser.add_argument("--mean", type=float, nargs="+", metavar="M", help="subtracted, per channel")
    parser.add_argument("--std", type=float, nargs="+", metavar="S", help="divided by, per channel")
    parser.add_argument("--channels", type=int, metavar="C", help="3, or 1 for grey images (default: 3)")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1, ... (default: cpu)")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "--model", required=True, metavar="MODEL",
        help="torchvision:NAME, FILE.py:FUNCTION or package.module:FUNCTION",
    )  # fmt: skip
    parser.add_argument(
        "--weights", required=True, metavar="FILE|NAME",
        help="state dict (.safetensors, .pth), or torchvision's weights such as IMAGENET1K_V2, downloaded",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="FILE", help="file to write, e.g. net.safetensors")
    add_data_arguments(parser)
    parser.add_argument("--classes", type=int, metavar="N", help="outputs of the torchvision model")
    parser.add_argument("--time-steps", type=int, default=8, metavar="T", help="1..16 (default: 8)")
    parser.add_argument(
        "--calibrator", default="mse", help="mse, max, percentile or e.g. 99.9%% (default: mse)"
    )
    parser.add_argument("--channel-wise", action="store_true", help="one threshold per channel")
    parser.add_argument(
        "--samples", type=int, default=256, metavar="N", help="images to calibrate with (default: 256)"
    )
    parser.add_argument("--strict", action="store_true", help="refuse a network with a layer not on spikes")
    parser.add_argument("--plots", metavar="DIR", help="write plots per layer here (SVG)")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Convert, write the file and print the report."""
    from ..recipes import convert
    from ..spec.atomic import check_writable
    from ..tasks.models import build_model, load_weights, read_weights, task_of
    from ..tasks.saved import save_conversion

    check_writable(args.out)
    task = chosen_task(args.task, task_of(args.model))
    device = chosen_device(args.device)
    weights = read_weights(args.weights, args.model)
    options = {**weights.options, **({} if args.classes is None else {"classes": args.classes})}
    source = build_model(args.model, options)
    load_weights(source, weights)
    how = _preprocessing_options(args, weights)
    voc = task == "segmentation" and "_VOC_" in weights.source
    data = opened(args, task, how, voc, args.samples)
    network: Any = convert(
        source.to(device), data, args.time_steps, calibrator=args.calibrator, channel_wise=args.channel_wise,
        strict=args.strict, route="module", device=device,
    )  # fmt: skip
    report = network.report
    about = _conversion(args, task, weights.source, options, how, voc)
    about.calibration_samples, about.coverage = data.samples, report.coverage
    save_conversion(network, about, args.out)
    print(report)
    print(f"{args.out}: T = {args.time_steps}, {len(report.layers)} nodes, {data.samples} images calibrated")
    result = {"file": args.out, "task": task, "time_steps": args.time_steps, "samples": data.samples}
    result |= {"coverage": report.coverage, "nodes": len(report.layers), "analog": report.analog}
    if args.plots:
        from ..tasks.plots import write_plots

        result["plots"] = [str(path) for path in write_plots(network, data, args.plots, device)]
        print("\n".join(result["plots"]))
    return result


def _conversion(
    args: argparse.Namespace, task: str, source: str, options: dict[str, Any], how: dict[str, Any], voc: bool
) -> Any:
    from importlib.metadata import version

    from ..tasks.saved import Conversion

    return Conversion(
        args.model, task, args.time_steps, args.calibrator, args.channel_wise, source, options, how, voc,
        versions={name: version(name) for name in ("torch", "torchvision", "spikingjelly")},
    )  # fmt: skip


def chosen_task(asked: str | None, known: str | None) -> str:
    """The task, asked for or the model's own."""
    if asked is None and known is None:
        raise ParameterError(
            f"--task must be given for a model of your own, got none; choose one of {_TASKS}."
        )
    return asked or known or ""


def chosen_device(name: str) -> Any:
    """The device, if the machine has it."""
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise ParameterError(
            f"--device must be one this machine has, got {name!r}: {reason}; use cpu."
        ) from None
    return device


def _preprocessing_options(args: argparse.Namespace, weights: Weights) -> dict[str, Any]:
    """What the command line says, else the weights' own."""
    given = {"size": args.size, "mean": args.mean, "std": args.std, "channels": args.channels}
    given = {name: value for name, value in given.items() if value is not None}
    if weights.enum is not None and not given:
        return {"weights": weights.source}
    return given


def preprocessing(options: dict[str, Any], model: str) -> Preprocessing:
    """The function that options of a file or a command line describe."""
    from ..tasks.folders import Preprocessing
    from ..tasks.models import weights_enum

    if "weights" in options:
        enum = weights_enum(options["weights"], model)
        return Preprocessing(weights=enum.transforms())
    found = dict(options)
    for name in ("mean", "std"):
        if name in found:
            found[name] = tuple(found[name])
    return Preprocessing(**found)


def opened(
    args: argparse.Namespace, task: str, how: dict[str, Any], voc: bool, limit: int | None
) -> TaskData:
    """The data that the options name."""
    from ..tasks.folders import open_data

    return open_data(
        args.data, task, preprocessing(how, args.model), batch=args.batch, limit=limit,
        annotations=args.annotations, images=args.images, voc=voc,
    )  # fmt: skip
