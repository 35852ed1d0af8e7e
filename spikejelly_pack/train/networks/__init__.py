"""Networks by name. To add one: a builder ``(neuron, **options) -> nn.Module`` and its line in NETWORKS."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from ...spec.errors import ParameterError, SpikePackError
from ..classifier import Classifier
from ..neurons import SPIKEPACK, NeuronFactory

__all__ = ["NETWORKS", "build_network"]

_SMALL = "spikejelly_pack.train.networks.small"
_BUILDERS = "spikejelly_pack.train.networks.builders"
#: Name -> (module and function of the builder, inputs carry real time).
NETWORKS: dict[str, tuple[str, bool]] = {
    "digits_cnn": (f"{_SMALL}:digits_cnn", False),
    "digits_spikformer": (f"{_BUILDERS}:digits_spikformer", False),
    "events_cnn": (f"{_SMALL}:events_cnn", True),
    "cifar_sew_resnet18": (f"{_BUILDERS}:cifar_sew_resnet18", False),
    "cifar_vgg": (f"{_BUILDERS}:cifar_vgg", False),
    "dvs_vgg": (f"{_BUILDERS}:dvs_vgg", True),
    "dvs_gesture_net": (f"{_BUILDERS}:dvs_gesture_net", True),
    "imagenet_sew_resnet34": (f"{_BUILDERS}:imagenet_sew_resnet34", False),
}


def build_network(
    name: str,
    neuron: str | Mapping[str, Any] | NeuronFactory = SPIKEPACK,
    *,
    time_steps: int = 4,
    options: Mapping[str, Any] | None = None,
    neuron_args: Mapping[str, Mapping[str, Any]] | None = None,
) -> Classifier:
    """Build a network with a neuron chosen by its class path.

    Args:
        name: One of :data:`NETWORKS`.
        neuron: Class path, ``{"class_path": ..., "init_args": {...}}`` (arguments may also stand beside
            ``class_path``), or a factory (``time_steps`` and ``neuron_args`` are its own then).
        time_steps: T: digits of a code; repetitions of a static input for neurons without codes. Windowed
            data bring their own W steps, which such neurons run over (a PSN's ``T`` must be W).
        options: Arguments of the network's builder.
        neuron_args: Arguments by neuron class name, see :class:`.NeuronFactory`.

    Raises:
        ParameterError: No such network, or an option, the neuron or an argument of it is refused.
    """
    if name not in NETWORKS:
        near = difflib.get_close_matches(str(name), NETWORKS, 1) or [", ".join(sorted(NETWORKS))]
        raise ParameterError(f"train: network must be a known one, got {name!r}; did you mean {near[0]}?")
    place, windowed = NETWORKS[name]
    if not isinstance(neuron, NeuronFactory):
        given = {"class_path": neuron} if isinstance(neuron, str) else dict(neuron)
        neuron = _factory(given, time_steps, neuron_args)
    module, _, function = place.partition(":")
    builder = getattr(importlib.import_module(module), function)
    chosen = dict(options or {})
    accepted = [key for key in inspect.signature(builder).parameters if key != "neuron"]
    unknown = sorted(set(chosen) - set(accepted))
    if unknown:
        raise ParameterError(
            f"network {name}: options must be among {', '.join(accepted)}, got {', '.join(unknown)}; "
            "remove or correct it."
        )
    try:
        body = builder(neuron, **chosen)
    except SpikePackError:
        raise
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        text = " ".join(str(error).split()) or type(error).__name__
        raise ParameterError(f"network {name}: options must be accepted, got {chosen}: {text}.") from error
    config = {"network": name, "options": chosen, "neuron": neuron.config()}
    return Classifier(body, neuron, windowed=windowed, config=config)


def _factory(
    given: dict[str, Any], time_steps: int, by_class: Mapping[str, Mapping[str, Any]] | None
) -> NeuronFactory:
    if "class_path" not in given:
        raise ParameterError(f"neuron: must have a class_path, got the entries {sorted(given)}; add it.")
    flat = {name: value for name, value in given.items() if name not in ("class_path", "init_args")}
    init_args = {**flat, **(given.get("init_args") or {})}
    return NeuronFactory(given["class_path"], init_args, time_steps=time_steps, by_class=by_class)
