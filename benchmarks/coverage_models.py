"""Torchvision's models as the coverage benchmark runs them: offline, weights made to behave, small inputs."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.ops import FrozenBatchNorm2d

__all__ = ["GROUPS", "amplification", "answer", "build", "inputs", "listed", "settle", "side_of", "size_of"]

GROUPS = {
    "classification": "torchvision.models",
    "detection": "torchvision.models.detection",
    "segmentation": "torchvision.models.segmentation",
    "video": "torchvision.models.video",
}
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


def listed(groups: tuple[str, ...], names: tuple[str, ...] | None = None) -> list[tuple[str, str]]:
    """``(name, group)`` of every model, in torchvision's order."""
    return [
        (name, group)
        for group in groups
        for name in list_models(module=importlib.import_module(GROUPS[group]))
        if names is None or name in names
    ]


def size_of(name: str) -> float:
    """Billions of multiply-accumulates at the size it was trained for, as torchvision states them."""
    weights: Any = next(iter(get_model_weights(name)))
    return float(weights.meta["_ops"])


def side_of(name: str, side: int) -> int:
    """Height and width of the input: ``side``, or what the model asks for."""
    side = SIDES.get(name, side)
    return side - side % 14 if name.endswith("_14") else side


def build(name: str, group: str, side: int) -> nn.Module:
    """The model in evaluation mode, without a download."""
    options = dict(OPTIONS.get(name, {}))
    if group in {"detection", "segmentation"}:
        options["weights_backbone"] = None
    if group == "detection" and not name.startswith("ssd"):
        options |= {"min_size": side, "max_size": side * 4 // 3}
    if "rcnn" in name:
        options |= TWO_STAGES
    if name.startswith("vit_"):
        options["image_size"] = side_of(name, side)
    torch.manual_seed(0)
    return get_model(name, weights=None, **options).eval()


def inputs(name: str, group: str, side: int, seed: int, images: int | None = None) -> Any:
    """A batch as the model takes it; detectors take a list of images."""
    generator = torch.Generator().manual_seed(seed)
    count, side = images or CALIBRATION[group], side_of(name, side)
    if group == "detection":
        return list(torch.sigmoid(_blobs((count, 3, side, side * 5 // 4), generator)))
    frames = (FRAMES.get(name, 8),) if group == "video" else ()
    return _blobs((count, 3, *frames, side, side), generator)


def _blobs(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Smooth random images, standard deviation about 1."""
    coarse = torch.randn(*shape[:-2], 6, 6, generator=generator).flatten(0, -4)
    smooth = nn.functional.interpolate(coarse, size=shape[-2:], mode="bicubic") * 1.3
    return smooth.reshape(shape) + 0.1 * torch.randn(shape, generator=generator)


def settle(model: nn.Module, x: Any) -> None:
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


def answer(model: nn.Module, x: Any, group: str) -> Tensor:
    """All outputs in one vector; of a detector those of its (first) head."""
    found: list[Any] = []
    hooks = []
    if group == "detection":
        inner: Any = getattr(model, "model", model)
        head = inner.rpn.head if hasattr(inner, "rpn") else inner.head
        hooks.append(head.register_forward_hook(lambda _module, _args, output: found.append(output)))
    with torch.no_grad():
        output = model(x)
    for hook in hooks:
        hook.remove()
    return torch.cat([tensor.double().flatten() for tensor in _floats(found if hooks else output)])


def amplification(model: nn.Module, x: Any, wanted: Tensor, group: str) -> float:
    """Relative change of the output over that of the input, for white noise added to it."""
    generator = torch.Generator().manual_seed(3)
    moved = []
    for image in x if isinstance(x, list) else [x]:
        noise = torch.randn(image.shape, generator=generator)
        moved.append(image + NUDGE * image.norm() / noise.norm() * noise)
    got = answer(model, moved if isinstance(x, list) else moved[0], group)
    return float((got - wanted).norm() / wanted.norm()) / NUDGE
