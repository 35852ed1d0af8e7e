"""A converted network in one safetensors file: its tensors, and in the metadata how to rebuild it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

from torch import fx, nn

from ..recipes.files import read_about, read_tensors, write_tensors
from ..recipes.stored_graph import graph_of, network_from
from ..recipes.tree import SpikePackNetwork
from ..spec.errors import ExchangeFileError, ParameterError
from ..spec.reason import reason
from .evaluation import TASKS
from .models import TORCHVISION, build_model

__all__ = ["Conversion", "is_conversion", "load_conversion", "read_conversion", "save_conversion"]

KEY = "spikepack_conversion"
VERSION = 2


@dataclass
class Conversion:
    """How a network was converted.

    Attributes:
        model: Reference of the source network, see :func:`.build_model`.
        task: Its task.
        time_steps: T of the window, the largest of the nodes'.
        calibrator: Name of the calibrator.
        channel_wise: One threshold per channel.
        weights: Where the source's weights are from.
        options: Options of :func:`.build_model`.
        preprocessing: ``size``, ``mean``, ``std``, ``channels``, or ``weights`` (an enum's name).
        voc: Segmentation labels are VOC's.
        calibration_samples: Images it was calibrated with.
        coverage: Share of multiply-accumulates on spikes.
        versions: Of the packages that made it.
        route: ``"fx"`` or ``"module"``.
        graph: On the FX route the network's graph, see :func:`.graph_of`.
    """

    model: str
    task: str
    time_steps: int
    calibrator: str
    channel_wise: bool
    weights: str
    options: dict[str, Any] = field(default_factory=dict)
    preprocessing: dict[str, Any] = field(default_factory=dict)
    voc: bool = False
    calibration_samples: int = 0
    coverage: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    route: str = "module"
    graph: Any = None


def save_conversion(network: nn.Module, about: Conversion, path: str | os.PathLike[str]) -> None:
    """Write the file, whole or not at all.

    Raises:
        ParameterError: The network is none of :func:`.convert`.
        UnsupportedError: It has a module that has no stored form.
        OutputError: It cannot be written.
    """
    found: dict[str, Any] = {"version": VERSION, **asdict(about)}
    if isinstance(network, fx.GraphModule):
        found["graph"] = graph_of(network)
    elif not isinstance(network, SpikePackNetwork):
        raise ParameterError(
            f"save_conversion: network must be a result of convert, got {type(network).__name__}; convert it."
        )
    write_tensors(path, network.state_dict(), KEY, found)


def read_conversion(path: str | os.PathLike[str]) -> Conversion:
    """What the file says about itself.

    Raises:
        ExchangeFileError: It is no such file, or of another version.
    """
    found = read_about(path, KEY, "spikepack convert")
    if isinstance(found, dict) and found.pop("version", None) != VERSION:
        raise ExchangeFileError(
            f"{path}: must be of version {VERSION}, got another; convert again with this release."
        )
    try:
        about = Conversion(**found)
        _check(about)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ExchangeFileError(
            f"{path}: must be written by spikepack convert, got {reason(error)}; convert again."
        ) from None
    return about


def _check(about: Conversion) -> None:
    """Every entry of the kind and range that :func:`save_conversion` stores."""
    for name, kind in _KINDS.items():
        if not isinstance(getattr(about, name), kind) or (kind is int and getattr(about, name) is True):
            raise TypeError(f"{name} {str(getattr(about, name))[:40]!r}")
    if about.task not in TASKS:
        raise ValueError(f"task {about.task!r}, which must be one of {', '.join(TASKS)}")
    for given, known in ((about.options, _OPTIONS), (about.preprocessing, _PREPROCESSING)):
        for name, value in given.items():
            if name not in known or not known[name](value):
                raise ValueError(f"{name[:40]!r} {str(value)[:40]!r}")


def _whole(most: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and 1 <= value <= most


def _number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _numbers(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) in (1, 3) and all(map(_number, value))


_KINDS: dict[str, Any] = {
    "model": str, "task": str, "time_steps": int, "calibrator": str, "channel_wise": bool, "weights": str,
    "options": dict, "preprocessing": dict, "voc": bool, "calibration_samples": int, "coverage": (int, float),
    "versions": dict, "route": str,
}  # fmt: skip
#: What a file may ask of torchvision: networks are built, and memory taken, before its tensors are compared.
_OPTIONS: dict[str, Callable[[Any], bool]] = {
    "classes": _whole(1 << 15),
    "epsilon": _number,
    "transform_input": lambda value: isinstance(value, bool),
}
_PREPROCESSING: dict[str, Callable[[Any], bool]] = {
    "size": _whole(1 << 14),
    "mean": _numbers,
    "std": _numbers,
    "channels": _whole(3),
    "weights": lambda value: isinstance(value, str),
}


def is_conversion(path: str | os.PathLike[str]) -> bool:
    """Whether a file is one of ``spikepack convert``; False too where it cannot be read."""
    try:
        read_about(path, KEY, "spikepack convert")
    except ExchangeFileError:
        return False
    return True


def load_conversion(path: str | os.PathLike[str], model: str | None = None) -> tuple[nn.Module, Conversion]:
    """Rebuild the converted network; nothing is downloaded and no data is needed.

    A file may come from elsewhere, so it cannot name code to run. Networks of the FX route are in the file as
    a graph of known layers; of the others only torchvision's are rebuilt from the reference in it.

    Args:
        path: File of :func:`save_conversion`.
        model: Reference of the source network; needed on the module route where it is none of torchvision's.

    Raises:
        ExchangeFileError: The file is damaged or does not fit the source network.
        ParameterError: The source network is not found.
    """
    about = read_conversion(path)
    if about.graph is not None:
        return network_from(about.graph, read_tensors(path), path), about
    if model is None and not about.model.startswith(TORCHVISION):
        raise ParameterError(
            f"{path}: its network is made by code of yours, {about.model!r}; pass --model {about.model} to "
            "run that code."
        )
    network = SpikePackNetwork.load(build_model(model or about.model, about.options), path)
    return network.eval(), about
