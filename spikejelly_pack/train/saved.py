"""Trained networks in files: safetensors that say what network they are, and the checkpoints of training."""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ..spec.atomic import replacing
from ..spec.errors import OutputError, ParameterError, SpikePackError
from ..spec.reason import reason
from .classifier import Classifier
from .networks import build_network
from .neurons import NeuronFactory, class_at
from .planned import plan_of, planned

__all__ = ["CHECKPOINT_KEY", "load_network", "load_weights", "read_checkpoint", "rebuild", "save_network"]

CHECKPOINT_KEY = "spikepack_network"
VERSION = 1
PREFIX = "network."
#: A file may come from elsewhere: only classes of these packages are looked up for it.
_TRUSTED = ("spikejelly_pack.", "spikingjelly.activation_based.")
#: A description may ask for this many times the numbers of the file, and so many more.
_TIMES, _MORE = 4, 1 << 20


def save_network(net: Classifier, path: str | os.PathLike[str]) -> None:
    """Write weights and what rebuilds the network to one safetensors file, whole or not at all.

    Raises:
        OutputError: It cannot be written; a file that was there stays.
    """
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in net.state_dict().items()}
    metadata = {"format": "pt", CHECKPOINT_KEY: json.dumps(describe(net), sort_keys=True)}
    with replacing(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except (OSError, SafetensorError) as error:
            raise OutputError(
                f"{path}: the disk must hold the file, got {getattr(error, 'strerror', None) or error}; free "
                "some space or choose another output path."
            ) from None


def describe(net: Classifier) -> dict[str, Any]:
    """What rebuilds the network, as JSON values."""
    return {"version": VERSION, **net.config, "spikejelly-pack": version("spikejelly-pack")}


def load_network(path: str | os.PathLike[str]) -> Classifier:
    """The trained network in a ``.safetensors`` file or a training checkpoint; packed, eval mode.

    No code in the file runs: tensors and JSON only, and classes of spikejelly_pack and spikingjelly only.

    Raises:
        ParameterError: The file is missing, damaged, not of training, or of another network than it says.
    """
    config, state = _read(Path(path))
    if not isinstance(config, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ParameterError(
            f"{path}: must hold tensors by name and a description of their network, got something else; "
            "name a file that spikepack train wrote."
        )
    _check_size(config, state, str(path))
    net = rebuild(config, str(path))
    load_weights(net, state, str(path))
    return net.eval()


def _check_size(config: dict[str, Any], state: Mapping[str, Tensor], path: str) -> None:
    """Refuse a description of a network far larger than the file, before memory is taken for it."""
    with torch.device("meta"):
        bare = rebuild({**config, "plan": None, "joined": False}, path)
    wanted, held = (sum(x.numel() for x in some.values()) for some in (bare.state_dict(), state))
    if wanted > _TIMES * held + _MORE:
        raise ParameterError(
            f"{path}: the network's description must fit the {held} numbers of the file, got {wanted}; "
            "name a file that spikepack train wrote."
        )


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    if path.suffix != ".safetensors":
        checkpoint = read_checkpoint(path)
        return checkpoint[CHECKPOINT_KEY], network_state(checkpoint)
    _must_exist(path)
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(CHECKPOINT_KEY)
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        config = json.loads(text) if text else None
    except (
        OSError,
        SafetensorError,
        ValueError,
        TypeError,
        AttributeError,
        LookupError,
        RecursionError,
    ) as error:
        raise _damaged(path, error) from None  # the last ones: dtypes that torch lacks, JSON without an end
    if not isinstance(config, dict):
        raise ParameterError(
            f"{path}: must be a network saved by spikepack train, got weights without its description; name "
            "the model and pass the file as its weights."
        )
    return config, state


def read_checkpoint(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The content of a checkpoint: tensors and plain values, no code.

    Raises:
        ParameterError: It is missing, damaged or not of ``spikepack train``.
    """
    file = Path(path)
    _must_exist(file)
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (torch raises what its unpickler meets)
        raise _damaged(file, error) from None
    keys = content.keys() if isinstance(content, dict) else ()
    if not {"state_dict", CHECKPOINT_KEY} <= set(keys) or not isinstance(content["state_dict"], dict):
        raise ParameterError(
            f"{file}: must be a checkpoint of spikepack train, got one without its network's description; "
            "name a file that spikepack train wrote."
        )
    return content


def network_state(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The network's part of a checkpoint's state dict, by the network's own names."""
    items = checkpoint["state_dict"].items()
    return {name.removeprefix(PREFIX): value for name, value in items if str(name).startswith(PREFIX)}


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise ParameterError(f"{path}: the checkpoint must be a file, got none there; check the path.")


def _damaged(path: Path, error: Exception) -> ParameterError:
    return ParameterError(
        f"{path}: the checkpoint must be whole, got a damaged file ({reason(error)}); use an earlier one."
    )


def rebuild(config: Mapping[str, Any], path: str) -> Classifier:
    """The untrained network that a file describes.

    Raises:
        ParameterError: The description is not of this version, or names classes of other packages.
    """
    with _complete(path):
        factory = neurons_of(config, path)
        net = build_network(config["network"], factory, options=config["options"])
        if config.get("plan"):
            planned(net, plan_of(config["plan"], path))
    if config.get("joined"):
        net.join_windows()
    return net


def neurons_of(config: Mapping[str, Any], path: str) -> NeuronFactory:
    """The neurons of the network that a file describes.

    Raises:
        ParameterError: The description is not of this version, or names classes of other packages.
    """
    if config.get("version") != VERSION:
        raise ParameterError(
            f"{path}: the network's description must be of version {VERSION}, got "
            f"{config.get('version')!r}; use the spikejelly-pack that wrote it."
        )
    with _complete(path):
        neuron = dict(config["neuron"])
        for named in _class_paths(neuron):
            _check_class(named, path)
        place = neuron.pop("class_path")
        return NeuronFactory(place, neuron.pop("init_args"), **neuron)


@contextmanager
def _complete(path: str) -> Generator[None]:
    """Tell what a description lacks in one sentence."""
    try:
        yield
    except SpikePackError:
        raise
    except (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        raise ParameterError(
            f"{path}: the network's description must be complete, got {type(error).__name__}: "
            f"{reason(error)}; train again."
        ) from None


def _check_class(named: Any, path: str) -> None:
    """Only modules (neurons, surrogates) of trusted packages are made: no other class, whatever it does."""
    kind = class_at(named, path) if str(named).startswith(_TRUSTED) else None
    if kind is None or not issubclass(kind, nn.Module) or not kind.__module__.startswith(_TRUSTED):
        raise ParameterError(
            f"{path}: classes must be of spikejelly_pack or spikingjelly (modules only), got "
            f"{named!r}; build the network yourself and load the weights into it."
        )


def _class_paths(value: Any) -> list[Any]:
    if not isinstance(value, Mapping):
        return []
    own = [value["class_path"]] if "class_path" in value else []
    return own + [path for inner in value.values() for path in _class_paths(inner)]


def load_weights(net: Classifier, state: Mapping[str, Tensor], path: str) -> None:
    """Load weights, or say in one sentence that they are another network's.

    Raises:
        ParameterError: A tensor is missing, left over or of another shape.
    """
    own = net.state_dict()
    missing, extra = sorted(set(own) - set(state)), sorted(set(state) - set(own))
    shapes = [
        f"{name} is {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in sorted(set(own) & set(state))
        # A threshold per channel takes its size from the file.
        if own[name].shape != state[name].shape and not (name.endswith(".theta") and own[name].numel() == 1)
    ]
    if missing or extra or shapes:
        told = (
            shapes[:1] or [f"{missing[0]} is missing"] if missing or shapes else [f"{extra[0]} is left over"]
        )
        count = len(missing) + len(extra) + len(shapes)
        raise ParameterError(
            f"{path}: the checkpoint must be of this network ({net.config.get('network', 'unknown')}), got "
            f"another's: {told[0]} ({count} tensors differ); name the configuration it was trained with."
        )
    net.load_state_dict(dict(state))
