"""Networks by reference, ``torchvision:NAME`` or ``FILE.py:FUNCTION``, and their trained weights."""

from __future__ import annotations

import importlib
import importlib.util
import pickle
import sys
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..spec.errors import ParameterError, RunError, SpikePackError, UnsupportedError

__all__ = ["TORCHVISION", "Weights", "build_model", "load_weights", "read_weights", "task_of", "weights_enum"]

TORCHVISION = "torchvision:"
_FILES = (".safetensors", ".pth", ".pt")
#: torchvision builds these with another BatchNorm epsilon when it loads their weights.
_ZERO_EPSILON = {
    "FasterRCNN_ResNet50_FPN_Weights.COCO_V1",
    "KeypointRCNN_ResNet50_FPN_Weights.COCO_LEGACY",
    "KeypointRCNN_ResNet50_FPN_Weights.COCO_V1",
    "MaskRCNN_ResNet50_FPN_Weights.COCO_V1",
    "RetinaNet_ResNet50_FPN_Weights.COCO_V1",
}
#: ... and these with another input scale.
_SCALED_INPUT = ("googlenet", "inception_v3")


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
        """What a rebuilt network needs: see :func:`build_model`."""
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


def build_model(reference: str, options: dict[str, Any] | None = None) -> nn.Module:
    """The network without trained weights, in evaluation mode.

    Args:
        reference: ``torchvision:NAME``, ``FILE.py:FUNCTION`` or ``package.module:FUNCTION``; the
            function is called without arguments. Or ``NET.safetensors``, a network that ``spikepack
            convert`` wrote.
        options: For torchvision: ``classes`` (``num_classes``), ``epsilon`` (of its BatchNorms) and
            ``transform_input``.

    Raises:
        ParameterError: It cannot be found or does not return a module.
    """
    if reference.startswith(TORCHVISION):
        return _torchvision(reference.removeprefix(TORCHVISION), options or {}).eval()
    if reference.endswith(".safetensors"):
        from .saved import load_conversion  # which builds networks itself

        return load_conversion(reference)[0]
    place, _, name = reference.rpartition(":")
    if not place or not name:
        raise ParameterError(
            "model: must be torchvision:NAME, FILE.py:FUNCTION or package.module:FUNCTION, got "
            f"{reference!r}."
        )
    try:
        made = getattr(_module_at(place), name)
        made = made if isinstance(made, nn.Module) else made()
    except SpikePackError:
        raise
    except Exception as error:
        raise ParameterError(
            f"model {reference!r}: must be importable and callable, got {type(error).__name__}: {error}; "
            "check "
            "the path and the function's name."
        ) from error
    if not isinstance(made, nn.Module):
        raise ParameterError(f"model {reference!r}: must return an nn.Module, got {type(made).__name__}.")
    return made.eval()


def _module_at(place: str) -> Any:
    if not place.endswith(".py"):
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(Path(place).stem, place)
    if spec is None or spec.loader is None or not Path(place).is_file():
        raise ParameterError(f"model: the file must exist, got {place!r}; check the path.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _torchvision(name: str, options: dict[str, Any]) -> nn.Module:
    from torchvision import models

    if name not in models.list_models():
        import difflib

        near = difflib.get_close_matches(name, models.list_models(), 3)
        known = "torchvision.models.list_models() has them."
        hint = f"did you mean {' or '.join(near)}?" if near else known
        raise ParameterError(f"model: torchvision must know the model, got {name!r}; {hint}")
    arguments: dict[str, Any] = {"weights": None}
    if name in models.list_models(models.detection) or name in models.list_models(models.segmentation):
        arguments["weights_backbone"] = None
    if "classes" in options:
        arguments["num_classes"] = options["classes"]
    if name in _SCALED_INPUT:
        scaled = bool(options.get("transform_input"))
        arguments |= {"transform_input": scaled, "init_weights": False, "aux_logits": False}
    network = models.get_model(name, **arguments)
    if "epsilon" in options:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eps = float(options["epsilon"])
    return network


def task_of(reference: str) -> str | None:
    """The task of a torchvision model by the module it is in, None where that does not say."""
    if not reference.startswith(TORCHVISION):
        return None
    from torchvision import models

    name = reference.removeprefix(TORCHVISION)
    for task in ("detection", "segmentation"):
        if name in models.list_models(getattr(models, task)):
            return task
    return "classification" if name in models.list_models(models) else None


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
            "file where "
            "there is a network and pass its path as --weights."
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
        _torchvision(model, {})  # says so
    known = models.get_model_weights(model)
    member = name.rpartition(".")[2]
    if member not in known.__members__:
        raise ParameterError(
            f"--weights must be a .safetensors or .pth file or one of {', '.join(known.__members__)} for "
            f"{model}, "
            f"got {name!r}; check the path or choose one."
        )
    return known[member]


def _from_file(path: Path) -> dict[str, Tensor]:
    import safetensors
    import safetensors.torch
    import torch

    if not path.is_file():
        raise ParameterError(f"--weights: the file must exist, got {str(path)!r}; check the path.")
    try:
        if path.suffix == ".safetensors":
            state: Any = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        OSError,
        safetensors.SafetensorError,
        RuntimeError,
        EOFError,
        ValueError,
        pickle.UnpicklingError,
    ) as error:
        reason = str(error).splitlines()[0][:200]
        raise ParameterError(
            f"--weights {path}: must be a state dict as .safetensors or .pth (tensors only), got: {reason}; "
            "save it "
            "with safetensors.torch.save_file."
        ) from None
    for key in ("state_dict", "model"):  # what training scripts wrap it in
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ParameterError(
            f"--weights {path}: must hold tensors by name, got {type(state).__name__}; save "
            "model.state_dict()."
        )
    return {name.removeprefix("module."): value for name, value in state.items()}


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
            "--model, and "
            "--classes for another number of classes."
        )
    network.load_state_dict(state, strict=False)
