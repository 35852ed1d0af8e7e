"""Before tracing: plain layers with their quantized weights, and a marker in the place of every quantizer."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.nn.utils import parametrize

from ...spec.errors import UnsupportedError
from .base import Reader, is_quantizer
from .layers import is_trained_layer, plain_layer

__all__ = ["MARK", "marker_of", "plain_network"]

#: Attribute of a marker (an ``nn.Identity``, which tracers keep whole) that holds the quantizer.
MARK = "spikepack_quantizer_of_this_place"

# What each module became; the module itself is kept so that no other one gets its id.
_Done = dict[int, tuple[nn.Module, nn.Module]]


def plain_network(net: nn.Module, readers: dict[type, Reader], fold: bool = False) -> nn.Module:
    """Rewrite a network in place for tracing; returns it, or what stands for it as a whole.

    Args:
        net: A copy of the quantized network in evaluation mode.
        readers: Types of quantizers that do not describe themselves.
        fold: As in :func:`.plain_layer`.

    Raises:
        UnsupportedError: A layer's weight quantizer is not fixed.
    """
    return _plain("", net, readers, fold, {})


def _plain(path: str, module: nn.Module, readers: dict[type, Reader], fold: bool, done: _Done) -> nn.Module:
    if id(module) in done:
        return done[id(module)][1]
    if is_quantizer(module, readers):
        result = marker_of(module)
    elif isinstance(module, (QuantStub, DeQuantStub)):
        result = _with_output_quantizer(path, nn.Identity(), module, readers)
    elif is_trained_layer(module):
        result = _with_output_quantizer(path, plain_layer(path, module, fold), module, readers)
    else:
        _bake_parametrizations(module)
        for name, child in list(module.named_children()):
            below = f"{path}.{name}" if path else name
            setattr(module, name, _plain(below, child, readers, fold, done))
        result = _without_hooks(module)
    done[id(module)] = module, result
    done[id(result)] = result, result
    return result


def marker_of(quantizer: nn.Module) -> nn.Module:
    """What stands for a quantizer while a network is traced."""
    marker = nn.Identity()
    vars(marker)[MARK] = quantizer  # past __setattr__: not a submodule, so that tracers copy it along
    return marker


def _with_output_quantizer(
    path: str, plain: nn.Module, source: Any, readers: dict[type, Reader]
) -> nn.Module:
    """``plain``, followed by the quantizer that prepare_qat hooked onto ``source``."""
    quantizer = getattr(source, "activation_post_process", None)
    if quantizer is None or isinstance(quantizer, nn.Identity):
        return plain
    if not is_quantizer(quantizer, readers):
        raise UnsupportedError(
            f"layer {path!r}: a quantizer must stand behind it, got {type(quantizer).__name__}, which only "
            "observes; convert a network that prepare_qat prepared and training finished."
        )
    return nn.Sequential(plain, marker_of(quantizer))


def _without_hooks(module: nn.Module) -> nn.Module:
    """A module whose observer hook is not traced: the marker behind it says the same."""
    marker = getattr(module, "activation_post_process", None)
    if marker is None or not module._forward_hooks:  # pyright: ignore[reportPrivateUsage]
        return module
    # FloatFunctional calls its quantizer itself and has no hook; anything else gets it from one.
    module._forward_hooks.clear()  # pyright: ignore[reportPrivateUsage]
    module._forward_pre_hooks.clear()  # pyright: ignore[reportPrivateUsage]
    del module.activation_post_process
    return nn.Sequential(module, marker)


def _bake_parametrizations(module: nn.Module) -> None:
    """Weights that a parametrization computes (a weight quantizer of the user's) become their values.

    ``remove_parametrizations`` would take the property off the class, which the source network shares.
    """
    if not parametrize.is_parametrized(module):
        return
    computed = module.parametrizations
    assert isinstance(computed, nn.ModuleDict)
    names = [str(name) for name in computed]
    with torch.no_grad():
        values = {name: getattr(module, name).detach().clone() for name in names}
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))
