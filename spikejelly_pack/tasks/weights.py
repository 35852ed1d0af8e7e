"""Trained weights: state dicts from files, or torchvision's by name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..spec.errors import ParameterError, RunError, UnsupportedError
from ..spec.reason import reason
from .models import TORCHVISION, torchvision_model

__all__ = ["Weights", "load_weights", "read_weights", "weights_enum"]

_FILES = (".safetensors", ".pth", ".pt")
#: What training scripts wrap a state dict in, and what wrappers of networks put before its names.
_WRAPPED = ("state_dict", "model_state_dict", "model", "net", "network")
_PREFIXES = ("module.", "_orig_mod.")
#: torchvision builds these with another BatchNorm epsilon when it loads their weights.
_ZERO_EPSILON = {
    "FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
    "KeypointRCNN_ResNet50_FPN_Weights.COCO_LEGACY",
    "KeypointRCNN_ResNet50_FPN_Weights.COCO_V1",
    "MaskRCNN_ResNet50_FPN_Weights.COCO_V1",
    "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
}


class Weights:
    """A state dict, where it is from, and what torchvision says about it.

    Attributes:
        state: Tensors by name.
        source: File or enum name.
        enum: Torchvision's weights, None for a file.
    """

    def __init__(self, state: dict[str, Tensor], source: str, enum: Any = None) -> None:
        self.state, self.source, self.enum = state, source, enum

    @property
    def transforms(self) -> Any:
        """Preprocessing that belongs to the weights, None for a file."""
        return None if self.enum is None else self.enum.transforms()

    @property
    def options(self) -> dict[str, Any]:
        """What a rebuilt network needs: see :func:`.build_model`."""
        if self.enum is None:
            return {}
        found: dict[str, Any] = {"classes": len(self.enum.meta["categories"])} if self._counted else {}
        if str(self.enum) in _ZERO_EPSILON:
            found["epsilon"] = 0.0
        if type(self.enum).__name__ in ("GoogLeNet_Weights", "Inception_V3_Weights"):
            found["transform_input"] = True
        return found

    @property
    def _counted(self) -> bool:
        return "categories" in self.enum.meta and "keypoint_names" not in self.enum.meta


def read_weights(name: str, reference: str) -> Weights:
    """A state dict from a file, or torchvision's by the name of an enum member.

    Args:
        name: ``FILE.safetensors``, ``FILE.pth``, or such as ``IMAGENET1K_V2``, ``DEFAULT`` or
            ``ResNet50_Weights.IMAGENET1K_V2``.
        reference: The network's.

    Raises:
        ParameterError: The file is no state dict, or the name is unknown.
        RunError: The download failed.
    """
    if Path(name).suffix in _FILES or Path(name).exists():
        return Weights(_from_file(Path(name)), name)
    if not reference.startswith(TORCHVISION):
        raise ParameterError(
            f"--weights must be a .safetensors or .pth file for a model of your own, got {name!r}; check the "
            "path."
        )
    enum = weights_enum(name, reference)
    try:
        state = enum.get_state_dict(progress=True, check_hash=True)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a wrong checksum is a RuntimeError
        raise RunError(
            f"--weights {enum}: torchvision must be able to download {enum.url}, got {error}; fetch that "
            "file where there is a network and pass its path as --weights."
        ) from None
    return Weights(dict(state), str(enum), enum)


def weights_enum(name: str, reference: str) -> Any:
    """Torchvision's weights of that name for a model.

    Raises:
        ParameterError: The model or the name is unknown.
    """
    from torchvision import models

    model = reference.removeprefix(TORCHVISION)

    if model not in models.list_models():
        torchvision_model(model, {})  # says so
    known = models.get_model_weights(model)
    member = name.rpartition(".")[2]
    if member not in known.__members__:
        raise ParameterError(
            f"--weights must be a .safetensors or .pth file or one of {', '.join(known.__members__)} for "
            f"{model}, got {name!r}; check the path or choose one."
        )
    return known[member]


def _from_file(path: Path) -> dict[str, Tensor]:
    import safetensors.torch
    import torch

    if not path.is_file():
        raise ParameterError(f"--weights: the file must exist, got {str(path)!r}; check the path.")
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (torch raises what its unpickler meets)
        found = reason(error, 200)
        if isinstance(error, pickle.UnpicklingError):  # torch's own text is a page on how to trust the file
            found = "a damaged file, or a pickle of other objects, such as a whole model"
        raise ParameterError(
            f"--weights {path}: must be a state dict as .safetensors or .pth (tensors only), got: {found}; "
            "save model.state_dict()."
        ) from None
    for key in _WRAPPED:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise ParameterError(
            f"--weights {path}: must hold tensors by name, got {type(state).__name__}; save "
            "model.state_dict()."
        )
    return {_plain(name): value for name, value in state.items()}


def _plain(name: str) -> str:
    """The name in the bare network: without what DataParallel and torch.compile put before it."""
    for prefix in (*_PREFIXES, *_PREFIXES):
        name = name.removeprefix(prefix)
    return name


def load_weights(network: nn.Module, weights: Weights) -> None:
    """Put the weights in; heads that only training uses (``aux...``) are left out.

    Raises:
        UnsupportedError: They do not fit.
    """
    wanted = network.state_dict()
    state = {k: v for k, v in weights.state.items() if k in wanted or not k.lower().startswith("aux")}
    optional = {k for k in wanted if k.endswith("num_batches_tracked")}
    problems = [f"no {k}" for k in wanted if k not in state and k not in optional]
    problems += [f"unknown {k}" for k in state if k not in wanted and not k.endswith("num_batches_tracked")]
    problems += [
        f"{k} of shape {tuple(v.shape)} instead of {tuple(wanted[k].shape)}"
        for k, v in state.items()
        if k in wanted and v.shape != wanted[k].shape
    ]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise UnsupportedError(
            f"--weights {weights.source}: must fit the model, got {', '.join(problems[:3])}{more}; check "
            "--model, and --classes for another number of classes."
        )
    network.load_state_dict(state, strict=False)
