"""``spikepack evaluate``: a converted network on a data folder, its source network beside it on request."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..spec.errors import ParameterError
from .convert import add_data_arguments, chosen_device, opened

if TYPE_CHECKING:
    from ..tasks.folders import TaskData

__all__ = ["HELP", "add_arguments", "run"]

HELP = "measure a converted network: top-1 and top-5, mAP or mIoU"
_SHOWN = ("top1", "top5", "map", "map50", "map75", "miou", "pixel_accuracy")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("file", metavar="FILE", help="what spikepack convert wrote")
    add_data_arguments(parser)
    parser.add_argument("--model", metavar="MODEL", help="the source network, if it is none of torchvision's")
    parser.add_argument("--samples", type=int, metavar="N", help="at most N images (default: all)")
    parser.add_argument("--compare", action="store_true", help="measure the source network too")


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Rebuild, measure and print."""
    from ..tasks.saved import load_conversion

    device = chosen_device(args.device)
    network, about = load_conversion(args.file, args.model)
    if args.task not in (None, about.task):
        raise ParameterError(
            f"--task must be {about.task!r}, what {args.file} was converted for, got {args.task!r}; leave it "
            "out."
        )
    args.model = about.model
    given = {"size": args.size, "mean": args.mean, "std": args.std, "channels": args.channels}
    given = {name: value for name, value in given.items() if value is not None}
    data = opened(args, about.task, given or about.preprocessing, about.voc, args.samples)
    network.to(device)
    result: dict[str, Any] = {"file": args.file, "task": about.task, "time_steps": about.time_steps}
    result["converted"] = _measure(network, data, device)
    _print(f"T = {about.time_steps}", result["converted"])
    if args.compare:
        network.transparent = True
        result["source"] = _measure(network, data, device)
        _print("source", result["source"])
        shared = [name for name in _SHOWN if name in result["source"]]
        result["lost"] = {name: result["source"][name] - result["converted"][name] for name in shared}
        _print("points lost", result["lost"])
    return result


def _measure(network: Any, data: TaskData, device: Any) -> dict[str, Any]:
    from ..tasks import evaluation

    batches = _Moved(data, device)
    if data.task == "detection":
        return evaluation.evaluate_detection(network, batches, data.truth, progress=True)
    if data.task == "segmentation":
        return evaluation.evaluate_segmentation(network, batches, progress=True)
    return evaluation.evaluate_classification(network, batches, progress=True)


class _Moved:
    """Batches with their images on a device."""

    def __init__(self, data: TaskData, device: Any) -> None:
        self.data, self.device = data, device

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self) -> Any:
        for images, targets in self.data:
            moved = (
                [x.to(self.device) for x in images] if isinstance(images, list) else images.to(self.device)
            )
            yield moved, targets


def _print(name: str, found: dict[str, Any]) -> None:
    values = ", ".join(f"{key} {found[key]:.2f}" for key in _SHOWN if key in found)
    print(f"{name}: {values}" + (f" ({found['samples']} samples)" if "samples" in found else ""))
