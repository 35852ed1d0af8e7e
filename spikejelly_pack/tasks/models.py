"""Networks by reference, ``torchvision:NAME`` or ``FILE.py:FUNCTION``."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from torch import nn

from ..spec.errors import ParameterError, SpikePackError

__all__ = ["TORCHVISION", "build_model", "task_of", "torchvision_model"]

TORCHVISION = "torchvision:"
#: torchvision builds these with another input scale when it loads their weights.
_SCALED_INPUT = ("googlenet", "inception_v3")


def build_model(reference: str, options: dict[str, Any] | None = None) -> nn.Module:
    """The network without trained weights, in evaluation mode.

    Args:
        reference: ``torchvision:NAME``, ``FILE.py:FUNCTION`` or ``package.module:FUNCTION``; the
            function is called without arguments.
        options: For torchvision: ``classes`` (``num_classes``), ``epsilon`` (of its BatchNorms) and
            ``transform_input``.

    Raises:
        ParameterError: It cannot be found or does not return a module.
    """
    if reference.startswith(TORCHVISION):
        return torchvision_model(reference.removeprefix(TORCHVISION), options or {}).eval()
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
            "check the path and the function's name."
        ) from error
    if not isinstance(made, nn.Module):
        raise ParameterError(f"model {reference!r}: must return an nn.Module, got {type(made).__name__}.")
    return made.eval()


def _module_at(place: str) -> Any:
    if not place.endswith(".py"):
        if str(Path.cwd()) not in sys.path:
            sys.path.insert(0, str(Path.cwd()))
        return importlib.import_module(place)
    spec = importlib.util.spec_from_file_location(_module_name(Path(place)), place)
    if spec is None or spec.loader is None or not Path(place).is_file():
        raise ParameterError(f"model: the file must exist, got {place!r}; check the path.")
    folder = str(Path(place).resolve().parent)
    if folder not in sys.path:  # as where the file is run: it may import its neighbours
        sys.path.insert(0, folder)
    module = importlib.util.module_from_spec(spec)
    before = sys.modules.get(spec.name)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[spec.name]
        if before is not None:
            sys.modules[spec.name] = before
        raise
    return module


def _module_name(path: Path) -> str:
    """The file's own name; marked by its place where another module is loaded by that name."""
    loaded = sys.modules.get(path.stem)
    origin = getattr(loaded, "__file__", None)
    if loaded is None or (origin is not None and Path(origin).resolve() == path.resolve()):
        return path.stem
    return f"{path.stem}_{hashlib.sha256(os.fsencode(path.resolve())).hexdigest()[:16]}"


def torchvision_model(name: str, options: dict[str, Any]) -> nn.Module:
    """A network of torchvision without trained weights; options as for :func:`build_model`.

    Raises:
        ParameterError: torchvision has no model of that name.
    """
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
