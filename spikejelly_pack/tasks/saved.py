"""A converted network in one safetensors file: its tensors, and in the metadata how to rebuild it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from ..recipes.tree import SpikePackNetwork
from ..spec.atomic import replacing
from ..spec.errors import ExchangeFileError, OutputError, ParameterError
from .models import TORCHVISION, build_model

__all__ = ["Conversion", "load_conversion", "read_conversion", "save_conversion"]

KEY = "spikepack_conversion"
VERSION = 1


@dataclass
class Conversion:
    """How a network was converted.

    Attributes:
        model: Reference of the source network, see :func:`.build_model`.
        task: Its task.
        time_steps: T.
        calibrator: Name of the calibrator.
        channel_wise: One threshold per channel.
        weights: Where the source's weights are from.
        options: Options of :func:`.build_model`.
        preprocessing: ``size``, ``mean``, ``std``, ``channels``, or ``weights`` (an enum's name).
        voc: Segmentation labels are VOC's.
        calibration_samples: Images it was calibrated with.
        coverage: Share of multiply-accumulates on spikes.
        versions: Of the packages that made it.
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


def save_conversion(network: nn.Module, about: Conversion, path: str | os.PathLike[str]) -> None:
    """Write the file, whole or not at all.

    Raises:
        ParameterError: The network is none of the module route.
        OutputError: It cannot be written.
    """
    if not isinstance(network, SpikePackNetwork):
        raise ParameterError(
            f"save_conversion: network must be a SpikePackNetwork, got {type(network).__name__}; convert "
            "with "
            "route='module'."
        )
    tensors = {
        name: value.detach().cpu().clone().contiguous() for name, value in network.state_dict().items()
    }
    metadata = {"format": "pt", KEY: json.dumps({"version": VERSION, **asdict(about)}, sort_keys=True)}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata)
        except (OSError, SafetensorError) as error:  # a full disk
            raise OutputError(f"{path}: the disk must hold the file, got {error}; free some space.") from None


def read_conversion(path: str | os.PathLike[str]) -> Conversion:
    """What the file says about itself.

    Raises:
        ExchangeFileError: It is no such file, or of another version.
    """
    if not Path(path).is_file():
        raise ExchangeFileError(f"{path}: must be a file that exists, got none; check the path.")
    try:
        with safe_open(path, "pt") as file:
            found = json.loads((file.metadata() or {})[KEY])
        version = found.pop("version")
        if version != VERSION:
            raise ExchangeFileError(
                f"{path}: must be of version {VERSION}, got {version}; convert again with this release."
            )
        return Conversion(**found)
    except (SafetensorError, OSError, KeyError, ValueError, TypeError, AttributeError) as error:
        if isinstance(error, ExchangeFileError):
            raise
        reason = " ".join(str(error).split())[:160]
        raise ExchangeFileError(
            f"{path}: must be written by spikepack convert, got {type(error).__name__}: {reason}; convert "
            "again."
        ) from None


def load_conversion(
    path: str | os.PathLike[str], model: str | None = None
) -> tuple[SpikePackNetwork, Conversion]:
    """Rebuild the converted network; nothing is downloaded and no data is needed.

    A file may come from elsewhere, so it cannot name code to run: only torchvision's networks are
    rebuilt from the reference in it.

    Args:
        path: File of :func:`save_conversion`.
        model: Reference of the source network; needed where it is none of torchvision's.

    Raises:
        ExchangeFileError: The file is damaged or does not fit the source network.
        ParameterError: The source network is not found.
    """
    about = read_conversion(path)
    if model is None and not about.model.startswith(TORCHVISION):
        raise ParameterError(
            f"{path}: its network is made by code of yours, {about.model!r}; pass --model {about.model} to "
            "run that "
            "code."
        )
    network = SpikePackNetwork.load(build_model(model or about.model, about.options), path)
    return network.eval(), about
