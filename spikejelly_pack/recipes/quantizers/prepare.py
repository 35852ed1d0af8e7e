"""Before tracing: plain layers with their quantized weights, and a marker in the place of every quantizer."""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.nn.intrinsic.qat as nniqat
import torch.ao.nn.qat as nnqat
from torch import nn
from torch.ao.quantization import DeQuantStub, QuantStub
from torch.nn.utils import parametrize

from ...spec.errors import UnsupportedError
from .base import Reader, is_quantizer
from .fake_quantize import is_frozen

__all__ = ["MARK", "plain_network"]

#: Attribute of a marker (an ``nn.Identity``, which tracers keep whole) that holds the quantizer.
MARK = "spikepack_quantizer_of_this_place"

_LAYERS: dict[type[nn.Module], tuple[type[nn.Module], bool]] = {  # type -> plain type, whether ReLU follows
    nnqat.Linear: (nn.Linear, False),
    nnqat.Conv1d: (nn.Conv1d, False),
    nnqat.Conv2d: (nn.Conv2d, False),
    nnqat.Conv3d: (nn.Conv3d, False),
    nniqat.LinearReLU: (nn.Linear, True),
    nniqat.ConvReLU2d: (nn.Conv2d, True),
    nniqat.ConvReLU3d: (nn.Conv3d, True),
}
_WITH_NORM = (
    nniqat.ConvBn1d, nniqat.ConvBn2d, nniqat.ConvBn3d, nniqat.ConvBnReLU1d, nniqat.ConvBnReLU2d,
    nniqat.ConvBnReLU3d, nniqat.LinearBn1d,
)  # fmt: skip

# What each module became; the module itself is kept so that no other one gets its id.
_Done = dict[int, tuple[nn.Module, nn.Module]]


def plain_network(net: nn.Module, readers: dict[type, Reader]) -> nn.Module:
    """Rewrite a network in place for tracing; returns it, or what stands for it as a whole.

    Raises:
        UnsupportedError: A layer's weight quantizer is not fixed, or is tied to a BatchNorm.
    """
    return _plain("", net, readers, {})


def _plain(path: str, module: nn.Module, readers: dict[type, Reader], done: _Done) -> nn.Module:
    if id(module) in done:
        return done[id(module)][1]
    if is_quantizer(module, readers):
        result = _marker(module)
    elif isinstance(module, (QuantStub, DeQuantStub)):
        result = _with_output_quantizer(path, nn.Identity(), module, readers)
    elif isinstance(module, _WITH_NORM):
        raise UnsupportedError(
            f"layer {path!r}: {type(module).__name__} quantizes a weight that its BatchNorm rescales, which "
            "no single layer repeats to the last bit; fuse convolution and BatchNorm in evaluation mode "
            "(torch.ao.quantization.fuse_modules) before prepare_qat."
        )
    elif type(module) in _LAYERS:
        result = _with_output_quantizer(path, _plain_layer(path, module), module, readers)
    else:
        _bake_parametrizations(module)
        for name, child in list(module.named_children()):
            below = f"{path}.{name}" if path else name
            setattr(module, name, _plain(below, child, readers, done))
        result = _without_hooks(module)
    done[id(module)] = module, result
    done[id(result)] = result, result
    return result


def _marker(quantizer: nn.Module) -> nn.Module:
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
    return nn.Sequential(plain, _marker(quantizer))


def _without_hooks(module: nn.Module) -> nn.Module:
    """A module whose observer hook is not traced: the marker behind it says the same."""
    marker = module._modules.get("activation_post_process")
    if marker is None or not module._forward_hooks:
        return module
    # FloatFunctional calls its quantizer itself and has no hook; anything else gets it from one.
    module._forward_hooks.clear()
    module._forward_pre_hooks.clear()
    del module._modules["activation_post_process"]
    return nn.Sequential(module, marker)


def _plain_layer(path: str, module: Any) -> nn.Module:
    """The float layer with the weight that fake quantization makes of it."""
    kind, rectified = _LAYERS[type(module)]
    is_frozen(f"{path}.weight_fake_quant", module.weight_fake_quant)
    with torch.no_grad():
        weight = module.weight_fake_quant(module.weight).detach().clone()
    plain = kind.__new__(kind)
    nn.Module.__init__(plain)
    kept = {
        k: v for k, v in vars(module).items() if not k.startswith("_") and k not in ("training", "qconfig")
    }
    vars(plain).update(kept)
    for name in ("_reversed_padding_repeated_twice",):
        if name in vars(module):
            vars(plain)[name] = vars(module)[name]
    plain.weight = nn.Parameter(weight, module.weight.requires_grad)
    plain.register_parameter("bias", module.bias)
    plain.train(module.training)
    return nn.Sequential(plain, nn.ReLU()) if rectified else plain


def _bake_parametrizations(module: nn.Module) -> None:
    """Weights that a parametrization computes (a weight quantizer of the user's) become their values.

    ``remove_parametrizations`` would take the property off the class, which the source network shares.
    """
    if not parametrize.is_parametrized(module):
        return
    computed = module._modules["parametrizations"]
    assert isinstance(computed, nn.ModuleDict)
    names = [str(name) for name in computed]
    with torch.no_grad():
        values = {name: getattr(module, name).detach().clone() for name in names}
    del module._modules["parametrizations"]
    module.__class__ = type(module).__bases__[0]
    for name, value in values.items():
        module.register_parameter(name, nn.Parameter(value))
