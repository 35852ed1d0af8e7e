"""Every torchvision model of four groups through ``convert``: converted or why not, coverage, error, seconds.

Weights are random, but made to behave: BatchNorm takes its statistics from one batch, layers that start at
zero do not. Errors are against the source network on the calibration batch, ``||y' - y|| / ||y||`` over all
outputs: they show the coding, which halves with every time step. Other data leaves the ranges of a random
network, whose statistics hold for one batch. What a detector returns after non-maximum suppression is no
continuous function, so its error is that of its head. Inputs are smooth blobs: of white noise a deep network
keeps nothing but its mean.
Random networks amplify small changes; beside the error stands by how much: relative change of the output over
that of the input, for white noise at the input of the source network.
"""

from __future__ import annotations

import gc
import importlib
import os
import platform
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, list_models
from torchvision.ops import FrozenBatchNorm2d

from spikejelly_pack import convert

__all__ = ["FAST", "GROUPS", "run", "table"]

GROUPS = {
    "classification": "torchvision.models",
    "detection": "torchvision.models.detection",
    "segmentation": "torchvision.models.segmentation",
    "video": "torchvision.models.video",
}
# A smoke test, no measurement.
FAST: dict[str, Any] = {"names": ("squeezenet1_1", "mobilenet_v3_small", "lraspp_mobilenet_v3_large")}
# Side of the input where a model takes no smaller one.
SIDES = {"inception_v3": 96, "maxvit_t": 224, "mvit_v1_b": 224, "mvit_v2_s": 224, "s3d": 224}
FRAMES = {"mvit_v1_b": 16, "mvit_v2_s": 16, "s3d": 16}
OPTIONS: dict[str, dict[str, Any]] = {
    "inception_v3": {"init_weights": True},
    "googlenet": {"init_weights": True},
}
TWO_STAGES = {"box_score_thresh": 0.0, "box_detections_per_img": 5, "rpn_post_nms_top_n_test": 50}
# Values per channel below which BatchNorm takes one mean and variance for all.
FEW = 64
# Images or clips.
CALIBRATION = {"classification": 8, "detection": 4, "segmentation": 8, "video": 2}
# Size of the white noise that measures amplification, relative to the input.
NUDGE = 1e-3
# The source, its copy and what calibration holds.
COPIES = 4
# What may be wrong with one of a hundred models without ending the walk.
FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    AssertionError,
    MemoryError,
)


def _build(name: str, group: str, side: int) -> nn.Module:
    options = dict(OPTIONS.get(name, {}))
    if group in {"detection", "segmentation"}:
        options["weights_backbone"] = None
    if group == "detection" and not name.startswith("ssd"):
        options |= {"min_size": side, "max_size": side * 4 // 3}
    if "rcnn" in name:
        options |= TWO_STAGES
    if name.startswith("vit_"):
        options["image_size"] = side - side % 14 if name.endswith("14") else side
    torch.manual_seed(0)
    return get_model(name, weights=None, **options).eval()


def _inputs(name: str, group: str, side: int, seed: int, images: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    if group == "detection":
        shape = (images, 3, side, side * 5 // 4)
        return list(torch.sigmoid(_blobs(shape, generator)))
    if name == "vit_h_14":
        side -= side % 14
    frames = (FRAMES.get(name, 8),) if group == "video" else ()
    shape = (images, 3, *frames, side, side)
    return _blobs(shape, generator)


def _blobs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Smooth random images, standard deviation about 1."""
    coarse = torch.randn(*shape[:-2], 6, 6, generator=generator).flatten(0, -4)
    smooth = nn.functional.interpolate(coarse, size=shape[-2:], mode="bicubic") * 1.3
    return smooth.reshape(shape) + 0.1 * torch.randn(shape, generator=generator)


def _settle(model: nn.Module, x: Any) -> None:
    """Statistics for BatchNorm from one batch, layer after layer, and weights where all are zero."""

    def normalise(norm: Any, args: tuple[Tensor, ...]) -> None:
        values = args[0].detach().transpose(0, 1).flatten(1)
        if values.shape[1] < FEW:  # too few for statistics of each channel
            values = values.reshape(1, -1)
        norm.running_mean.copy_(values.mean(1).expand_as(norm.running_mean))
        norm.running_var.copy_(values.var(1, correction=0).clamp(min=1e-3).expand_as(norm.running_var))

    hooks = []
    for module in model.modules():
        if isinstance(module, (nn.modules.batchnorm._BatchNorm, FrozenBatchNorm2d)):
            hooks.append(module.register_forward_pre_hook(normalise))
        weight = getattr(module, "weight", None)
        if isinstance(module, (nn.Linear, nn.Conv2d)) and isinstance(weight, Tensor) and not weight.any():
            nn.init.normal_(weight, 0, weight[0].numel() ** -0.5)
    with torch.no_grad():
        model(x)
    for hook in hooks:
        hook.remove()


def _floats(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor) and value.is_floating_point():
        yield value
    elif isinstance(value, (tuple, list)):
        for part in value:
            yield from _floats(part)
    elif isinstance(value, dict):
        yield from _floats(list(value.values()))


def _answer(model: nn.Module, x: Any, group: str) -> Tensor:
    """All outputs in one vector; of a detector those of its (first) head."""
    found: list[Any] = []
    head: Any = None
    if group == "detection":
        inner: Any = getattr(model, "model", model)
        head = inner.rpn.head if hasattr(inner, "rpn") else inner.head
        hook = head.register_forward_hook(lambda _module, _args, output: found.append(output))
    with torch.no_grad():
        output = model(x)
    if head is not None:
        hook.remove()
        output = found
    return torch.cat([tensor.double().flatten() for tensor in _floats(output)])


def _amplification(model: nn.Module, x: Any, wanted: Tensor, group: str) -> float:
    generator = torch.Generator().manual_seed(3)
    images = x if isinstance(x, list) else [x]
    moved = []
    for image in images:
        noise = torch.randn(image.shape, generator=generator)
        moved.append(image + NUDGE * image.norm() / noise.norm() * noise)
    got = _answer(model, moved if isinstance(x, list) else moved[0], group)
    return float((got - wanted).norm() / wanted.norm()) / NUDGE


def _one(name: str, group: str, side: int, time_steps: int, calibrator: str) -> dict[str, Any]:
    side = SIDES.get(name, side)
    model = _build(name, group, side)
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size * COPIES > free:
        return {
            "reason": f"skipped: {COPIES} copies of {size / 2**30:.1f} GiB do not fit {free / 2**30:.1f} GiB"
        }
    data = _inputs(name, group, side, 1, CALIBRATION[group])
    _settle(model, data)
    start = time.perf_counter()
    snn: Any = convert(model, [(data, None)], time_steps, calibrator=calibrator, progress=False)
    seconds = time.perf_counter() - start
    wanted, got = (_answer(net, data, group) for net in (model, snn))
    return {
        "converted": True,
        "route": snn.report.route,
        "coverage": snn.report.coverage,
        "analog": snn.report.analog,
        "synapses": len(snn.report.synapses),
        "nodes": len(snn.report.layers),
        "unused": len(snn.report.unused),
        "error": float((got - wanted).norm() / wanted.norm()),
        "amplification": _amplification(model, data, wanted, group),
        "seconds": seconds,
    }


def run(
    progress: Callable[[str], Any] | None = None,
    names: Sequence[str] | None = None,
    groups: Sequence[str] = tuple(GROUPS),
    time_steps: int = 8,
    side: int = 64,
    calibrator: str = "mse",
) -> dict[str, Any]:
    """Convert every model.

    Args:
        progress: Called with one line per model.
        names: Only these models.
        groups: Keys of ``GROUPS``.
        time_steps: T.
        side: Height and width of the inputs, where the model takes them.
        calibrator: As in ``convert``.

    Returns:
        ``{"models": [one dict per model], "converted": .., "complete": .., ...}``.
    """
    rows: list[dict[str, Any]] = []
    for group in groups:
        for name in list_models(module=importlib.import_module(GROUPS[group])):
            if names is not None and name not in names:
                continue
            row: dict[str, Any] = {"name": name, "group": group, "converted": False}
            try:
                row |= _one(name, group, side, time_steps, calibrator)
            except FAILURES as error:
                row["reason"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            gc.collect()
            rows.append(row)
            if progress is not None:
                progress(_line(row))
    converted = [row for row in rows if row["converted"]]
    return {
        "time_steps": time_steps,
        "side": side,
        "calibrator": calibrator,
        "torchvision": torchvision.__version__,
        "torch": torch.__version__,
        "machine": f"{platform.machine()}, {torch.get_num_threads()} threads",
        "total": len(rows),
        "converted": len(converted),
        "complete": sum(row["coverage"] == 1.0 and not row["analog"] for row in converted),
        "models": rows,
    }


def _line(row: dict[str, Any]) -> str:
    if not row["converted"]:
        return f"{row['name']}: {row['reason']}"
    return (
        f"{row['name']}: {row['route']}, coverage {row['coverage']:.1%}, error {row['error']:.4f}, "
        f"amplification {row['amplification']:.1f}, "
        f"{row['seconds']:.1f} s"
    )


def table(result: dict[str, Any]) -> str:
    """The result as a Markdown table."""
    error = f"error at T = {result['time_steps']}"
    lines = [
        f"| model | group | route | on spikes | {error} | amplification | seconds |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in result["models"]:
        if row["converted"]:
            measured = f"{row['error']:.4f} | {row['amplification']:.1f} | {row['seconds']:.1f}"
            cells = f"{row['route']} | {row['coverage']:.1%} | {measured}"
        else:
            cells = f"no: {row['reason']} | | | |"
        lines.append(f"| {row['name']} | {row['group']} | {cells} |")
    lines.append("")
    lines.append(
        f"{result['converted']} of {result['total']} converted, {result['complete']} with every "
        "multiply-accumulate on spikes."
    )
    return "\n".join(lines)
