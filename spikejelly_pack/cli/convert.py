"""``spikepack convert``: a trained checkpoint and a data folder to a converted network in one file."""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spec.errors import ParameterError
from ..spec.parameters import MAX_TIME_STEPS
from ..spec.reason import reason
from .plan_option import add_plan_argument, chosen_plan, quantized_by

if TYPE_CHECKING:
    from ..tasks.folders import Preprocessing, TaskData
    from ..tasks.weights import Weights

__all__ = ["HELP", "add_arguments", "add_data_arguments", "preprocessing_options", "run"]

HELP = "convert a trained network (torchvision's or your own) for classification, detection or segmentation"
_TASKS = ("classification", "detection", "segmentation")


def add_data_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options about data, which ``evaluate`` has too."""
    parser.add_argument(
        "--data", required=True, metavar="DIR", help="ImageFolder (classification) or COCO folder"
    )
    parser.add_argument("--annotations", metavar="FILE", help="COCO annotations, if not in DIR")
    parser.add_argument("--images", metavar="DIR", help="COCO images, if not in DIR")
    parser.add_argument(
        "--task", choices=_TASKS,
        help="default: what the torchvision model is for; for your own, classification unless the data have "
        "COCO annotations",
    )  # fmt: skip
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
    parser.add_argument("--strict", action="store_true", help="refuse a network with a layer not on spikes")
    parser.add_argument("--plots", metavar="DIR", help="write plots per layer here (SVG)")
    _add_conversion_arguments(parser)
    parser.add_argument(
        "--sweep", metavar="T,T,..", help="also convert with these T, measure each: a table, a plot (--plots)"
    )
    parser.add_argument(
        "--sweep-data", metavar="DIR", help="data that --sweep measures on (default: all of --data)"
    )


def _add_conversion_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--route", default="auto", choices=("auto", "fx", "module"), help="how to convert (default: auto)"
    )
    parser.add_argument(
        "--time-steps", default="8", metavar="T",
        help="1..16, auto (under --error-bound), or FILE.json with T by node and '*' (default: 8)",
    )  # fmt: skip
    add_plan_argument(parser)
    parser.add_argument(
        "--error-bound", type=float, metavar="E", help="relative error of the outputs, for --time-steps auto"
    )
    parser.add_argument(
        "--improve", nargs="+", default=(), metavar="NAME",
        help="equalization (FX route), batchnorm, bias_correction",
    )  # fmt: skip
    parser.add_argument(
        "--compare", nargs="+", default=(), metavar="MODULE", help="modules whose outputs searches compare"
    )
    parser.add_argument(
        "--calibrator", default="mse", help="mse, max, percentile, e.g. 99.9%%, or divergence (default: mse)"
    )
    parser.add_argument("--channel-wise", action="store_true", help="one threshold per channel")
    parser.add_argument(
        "--samples", type=int, default=256, metavar="N", help="images to calibrate with (default: 256)"
    )
    parser.add_argument("--resume", metavar="FILE", help="keep what calibration saw here, and go on from it")
    parser.add_argument(
        "--resume-every", type=int, default=10, metavar="N", help="batches between two writes (default: 10)"
    )


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Convert, write the file and print the report."""
    from ..spec.atomic import check_writable
    from ..tasks.models import build_model, task_of
    from ..tasks.saved import save_conversion
    from ..tasks.weights import load_weights, read_weights

    check_writable(args.out)
    steps, sweep = _time_steps(args.time_steps), _sweep(args.sweep)
    task = chosen_task(args, task_of(args.model))
    device = chosen_device(args.device)
    weights = read_weights(args.weights, args.model)
    options = {**weights.options, **({} if args.classes is None else {"classes": args.classes})}
    source = build_model(args.model, options)
    load_weights(source, weights)
    plan, steps = chosen_plan(args, source, steps)
    how = preprocessing_options(args, weights)
    voc = task == "segmentation" and "_VOC_" in weights.source
    data = opened(args, task, how, voc, args.samples)
    network = quantized_by(plan, _converted(args, source.to(device), data, steps, device))
    report = network.report
    about = _conversion(args, task, weights.source, options, how, voc)
    about.time_steps, about.route = report.time_steps, report.route
    about.calibration_samples, about.coverage = data.samples, report.coverage
    save_conversion(network, about, args.out)
    print(report)
    shown = f"T = {report.time_steps}, {len(report.layers)} nodes, {data.samples} images calibrated"
    print(f"{args.out}: {shown}")
    result = {"file": args.out, "task": task, "time_steps": report.time_steps, "samples": data.samples}
    result |= {"coverage": report.coverage, "nodes": len(report.layers), "analog": report.analog}
    result |= {"route": report.route, "output_error": report.output_error}
    result |= {} if plan is None else {"plan": args.plan, "weight_bits": plan.weight_bits}
    if args.plots:
        from ..tasks.plots import write_plots

        result["plots"] = [str(path) for path in write_plots(network, data, args.plots, device)]
        print("\n".join(result["plots"]))
    if sweep:
        args.data = args.sweep_data or args.data
        test = opened(args, task, how, voc, None)
        result["sweep"] = _run_sweep(args, source, data, test, sweep, device)
    return result


def _converted(
    args: argparse.Namespace, source: Any, data: Any, steps: Any, device: Any, resume: str | None = None
) -> Any:
    from ..recipes import convert

    bound = args.error_bound if steps == "auto" or resume is None else None
    return convert(
        source, data, steps, calibrator=args.calibrator, channel_wise=args.channel_wise, error_bound=bound,
        improve=tuple(args.improve), compare=tuple(args.compare), strict=args.strict, route=args.route,
        device=device, resume=resume or args.resume, resume_every=args.resume_every,
    )  # fmt: skip


def _run_sweep(
    args: argparse.Namespace, source: Any, data: TaskData, test: TaskData, sweep: list[int], device: Any
) -> list[dict[str, Any]]:
    """Accuracy against T: all conversions use the statistics of one calibration."""
    from ..tasks.evaluation import evaluate
    from ..tasks.sweep import draw_sweep, sweep_table, sweep_time_steps

    with tempfile.TemporaryDirectory() as folder:
        statistics = args.resume or str(Path(folder) / "calibration.safetensors")
        found = sweep_time_steps(
            source, lambda steps: _converted(args, source, data, steps, device, statistics),
            lambda network: evaluate(network, test, device), sweep,
        )  # fmt: skip
    print(sweep_table(found))
    if args.plots:
        print(draw_sweep(found, Path(args.plots) / "time_steps.svg"))
    return found


def _time_steps(text: str) -> Any:
    """T, ``"auto"``, or T by node from a JSON file."""
    if text == "auto":
        return text
    if text.endswith(".json"):
        try:
            found = json.loads(Path(text).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ParameterError(
                f"--time-steps {text}: must be a JSON file that can be read, got {reason(error)}; check it."
            ) from None
        if not isinstance(found, dict):
            got = type(found).__name__
            raise ParameterError(f"--time-steps {text}: must hold T by node, got {got}; name the nodes.")
        return found
    try:
        return int(text)
    except ValueError:
        raise ParameterError(f"--time-steps must be 1..16, auto or FILE.json, got {text!r}.") from None


def _sweep(text: str | None) -> list[int]:
    try:
        found = [int(part) for part in text.split(",")] if text else []
    except ValueError:
        found = [0]
    if any(not 1 <= steps <= MAX_TIME_STEPS for steps in found):
        raise ParameterError(
            f"--sweep must be T such as 2,3,4,6,8, each in 1..{MAX_TIME_STEPS}, got {text!r}; mend the list."
        )
    return sorted(set(found))


def _conversion(
    args: argparse.Namespace, task: str, source: str, options: dict[str, Any], how: dict[str, Any], voc: bool
) -> Any:
    from importlib.metadata import version

    from ..tasks.saved import Conversion

    return Conversion(
        args.model, task, 0, args.calibrator, args.channel_wise, source, options, how, voc,
        versions={name: version(name) for name in ("torch", "torchvision", "spikingjelly")},
    )  # fmt: skip


def chosen_task(args: argparse.Namespace, known: str | None) -> str:
    """The task: asked for, the model's own, or classification where the folder holds no COCO annotations."""
    from ..tasks.folders import has_annotations

    if args.task is None and known is None:
        if args.annotations is not None or has_annotations(args.data):
            raise ParameterError(
                "--task must be detection or segmentation for a model of your own on COCO data, got none "
                f"for {args.annotations or args.data}; add it."
            )
        return "classification"
    return args.task or known or ""


def chosen_device(name: str) -> Any:
    """The device, if the machine has it."""
    import torch

    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ParameterError(
            f"--device must be one this machine has, got {name!r}: {reason(error)}; use cpu."
        ) from None
    return device


def preprocessing_options(args: argparse.Namespace, weights: Weights | None) -> dict[str, Any]:
    """What the command line says, else the weights' own."""
    given = {"size": args.size, "mean": args.mean, "std": args.std, "channels": args.channels}
    given = {name: value for name, value in given.items() if value is not None}
    if weights is not None and weights.enum is not None and not given:
        return {"weights": weights.source}
    return given


def preprocessing(options: dict[str, Any], model: str) -> Preprocessing:
    """The function that options of a file or a command line describe."""
    from ..tasks.folders import Preprocessing
    from ..tasks.weights import weights_enum

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
