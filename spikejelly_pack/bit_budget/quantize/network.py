"""Quantize the weights of a network in place, through ``torch.nn.utils.parametrize``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ...recipes.signals import SYNAPSES, TRANSPOSED
from ...spec.errors import ParameterError, UnsupportedError
from .quantizers import WeightQuantizer, check_bits, quantizer_class

__all__ = ["OTHERS", "Bits", "bake_weights", "quantize_weights", "quantized_layers", "quantizer_of"]

#: Widths: one for all layers, or ``{path: bits}``; None leaves a layer's weight as it is.
Bits = int | None | Mapping[str, int | None]
#: Key for the layers a mapping does not name; without it they stay as they are.
OTHERS = "*"


def quantized_layers(net: nn.Module) -> dict[str, WeightQuantizer]:
    """Path -> weight quantizer of every layer that has one."""
    found = {path: quantizer_of(module) for path, module in net.named_modules()}
    return {path: quantizer for path, quantizer in found.items() if quantizer is not None}


def quantizer_of(module: nn.Module) -> WeightQuantizer | None:
    """The quantizer of a layer's weight, or None."""
    if not parametrize.is_parametrized(module, "weight"):
        return None
    chain: Any = module.parametrizations
    last = chain["weight"][-1]
    return last if isinstance(last, WeightQuantizer) else None


def quantize_weights(net: nn.Module, bits: Bits, *, training: bool = False) -> dict[str, WeightQuantizer]:
    """Quantize the weights of convolutions and linear layers per output channel; biases stay float.

    The float weight stays underneath as ``parametrizations.weight.original``: a second call with another
    width starts from it again.

    Args:
        net: Any network; changed in place.
        bits: b_w, 1..16, for all layers or per path: ``{"conv1": 4, "*": 8}``. None leaves a layer out.
        training: Learn the scales too (LSQ); otherwise they stay where the squared error is least.

    Returns:
        Path -> quantizer of the layers quantized.

    Raises:
        ParameterError: A width is outside 1..16, or a path names no layer with weights.
        UnsupportedError: A layer's weight is computed by something else already, or shared.
    """
    layers = {path: module for path, module in net.named_modules() if isinstance(module, SYNAPSES)}
    wanted = _wanted(bits, list(layers))
    _check_shared({path: layers[path] for path in wanted})
    return {path: _quantize(path, layers[path], width, training) for path, width in wanted.items()}


def _wanted(bits: Any, paths: list[str]) -> dict[str, int]:
    if not isinstance(bits, Mapping):
        bits = {OTHERS: bits}
    if unknown := sorted(set(map(str, bits)) - set(paths) - {OTHERS}):
        raise ParameterError(
            f"quantize_weights: bits must name convolutions or linear layers, got {unknown}; this network "
            f"has {paths}."
        )
    widths = {path: bits.get(path, bits.get(OTHERS)) for path in paths}
    for path, width in (*widths.items(), (OTHERS, bits.get(OTHERS))):
        if width is not None:
            check_bits(width, f"quantize_weights: layer {path!r}")
    return {path: width for path, width in widths.items() if width is not None}


def _check_shared(layers: dict[str, nn.Module]) -> None:
    owner: dict[int, str] = {}
    for path, module in layers.items():
        weight: Any = dict(module.named_parameters(recurse=False)).get("weight")
        first = owner.setdefault(id(weight), path) if weight is not None else path
        if first != path:
            raise UnsupportedError(
                f"quantize_weights: layer {path!r} must have a weight of its own, got the one of {first!r}; "
                "give it a copy, or quantize the network before tying."
            )


def _quantize(path: str, module: Any, bits: int, training: bool) -> WeightQuantizer:
    if quantizer_of(module) is not None:
        _unparametrize(module, quantized=False)
    if parametrize.is_parametrized(module, "weight") or "weight" not in module._parameters:
        raise UnsupportedError(
            f"quantize_weights: layer {path!r} must hold its weight as a parameter, got one that something "
            "else computes; bake it in first (torch.nn.utils.parametrize.remove_parametrizations)."
        )
    axis = int(isinstance(module, TRANSPOSED))  # [in, out / groups, *]: groups share their scales
    quantizer = quantizer_class(bits)(bits, module.weight, axis=axis, training=training)
    parametrize.register_parametrization(module, "weight", quantizer)
    return quantizer


def bake_weights(net: nn.Module) -> nn.Module:
    """Replace every quantizer by the values it computes: plain parameters again; returns the network."""
    for path in quantized_layers(net):
        _unparametrize(net.get_submodule(path), quantized=True)
    return net


def _unparametrize(module: Any, quantized: bool) -> None:
    """Take the weight's quantizer off.

    ``remove_parametrizations`` would take the property off a class that copies of the module share.
    """
    chain = module.parametrizations["weight"]
    with torch.no_grad():
        value: Tensor = module.weight.detach().clone() if quantized else chain.original.detach().clone()
    asked = chain.original.requires_grad
    others = [name for name in module.parametrizations if name != "weight"]
    if others or len(chain) > 1:
        raise UnsupportedError(
            f"bake_weights: a quantized layer must have no other parametrization, got {others or 'two'} on "
            f"{type(module).__name__}; remove them first."
        )
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    module.register_parameter("weight", nn.Parameter(value, asked))
