"""Plain layers with the weights that quantization-aware training (``torch.ao``) makes of them."""

from __future__ import annotations

from typing import Any

import torch
import torch.ao.nn.intrinsic.qat as nniqat
import torch.ao.nn.qat as nnqat
from torch import Tensor, nn

from ...layer.channel_bias import ChannelBias
from ...layer.scale_chain import MembraneScale
from .fake_quantize import is_frozen

__all__ = ["PLACED", "is_trained_layer", "plain_layer"]

#: Attribute of a stand-in (an ``nn.Identity``, which tracers keep whole) that holds what belongs there.
PLACED = "spikepack_module_of_this_place"

_LAYERS: dict[type[nn.Module], tuple[type[nn.Module], bool]] = {  # type -> plain type, whether ReLU follows
    nnqat.Linear: (nn.Linear, False),
    nnqat.Conv1d: (nn.Conv1d, False),
    nnqat.Conv2d: (nn.Conv2d, False),
    nnqat.Conv3d: (nn.Conv3d, False),
    nniqat.LinearReLU: (nn.Linear, True),
    nniqat.ConvReLU2d: (nn.Conv2d, True),
    nniqat.ConvReLU3d: (nn.Conv3d, True),
}
_WITH_NORM: dict[type[nn.Module], tuple[type[nn.Module], bool]] = {
    nniqat.ConvBn1d: (nn.Conv1d, False),
    nniqat.ConvBn2d: (nn.Conv2d, False),
    nniqat.ConvBn3d: (nn.Conv3d, False),
    nniqat.ConvBnReLU1d: (nn.Conv1d, True),
    nniqat.ConvBnReLU2d: (nn.Conv2d, True),
    nniqat.ConvBnReLU3d: (nn.Conv3d, True),
    nniqat.LinearBn1d: (nn.Linear, False),
}


def is_trained_layer(module: nn.Module) -> bool:
    """Whether :func:`plain_layer` takes it."""
    return type(module) in _LAYERS or type(module) in _WITH_NORM


@torch.no_grad()
def plain_layer(path: str, module: Any, fold: bool) -> nn.Module:
    """The float layer with the weight that fake quantization makes of it, and what follows it.

    A layer fused with its BatchNorm quantizes the weight ``W gamma / std``, undoes the factor behind the sum
    and runs the BatchNorm; so does the result, operation by operation, or one layer with a bias does it all.

    Args:
        path: Name for messages.
        module: A layer of ``torch.ao.nn.qat`` or ``torch.ao.nn.intrinsic.qat``.
        fold: One layer instead of the BatchNorm's own operations.
    """
    is_frozen(f"{path}.weight_fake_quant", module.weight_fake_quant)
    if type(module) in _LAYERS:
        kind, rectified = _LAYERS[type(module)]
        parts = [_copied(module, kind, module.weight_fake_quant(module.weight), module.bias)]
    else:
        kind, rectified = _WITH_NORM[type(module)]
        parts = _with_norm(module, kind, fold)
    if rectified:
        parts.append(nn.ReLU())
    return nn.Sequential(*parts) if len(parts) > 1 else parts[0]


def _with_norm(module: Any, kind: type[nn.Module], fold: bool) -> list[nn.Module]:
    norm = module.bn
    deviation = torch.sqrt(norm.running_var + norm.eps)
    factor = norm.weight / deviation
    weight = module.weight_fake_quant(module.weight * factor.view(-1, *[1] * (module.weight.dim() - 1)))
    own = 0.0 if module.bias is None else module.bias
    # A sibling in torch.ao ("slow path") adds this bias itself; its evaluation is this one layer.
    slow = getattr(module, "_enable_slow_path_for_better_numerical_stability", False)
    if fold or slow:
        bias = norm.bias - norm.weight * (norm.running_mean - own) / deviation
        return [_copied(module, kind, weight, nn.Parameter(bias))]
    # The source adds a zero bias inside the operation; so its floats are the same whatever the kernel does.
    parts: list[nn.Module] = [
        _copied(module, kind, weight, nn.Parameter(torch.zeros_like(factor))),
        _stand_in(MembraneScale((("div", factor),))),
    ]
    if module.bias is not None:
        parts.append(_stand_in(ChannelBias(module.bias)))
    return [*parts, norm]


def _stand_in(module: nn.Module) -> nn.Module:
    holder = nn.Identity()
    vars(holder)[PLACED] = module  # past __setattr__: not a submodule, so that tracers copy it along
    return holder


def _copied(module: Any, kind: type[nn.Module], weight: Tensor, bias: Tensor | None) -> nn.Module:
    """A layer of type ``kind`` with the settings of ``module``."""
    plain = kind.__new__(kind)
    nn.Module.__init__(plain)
    dropped = ("training", "qconfig", "freeze_bn", "_enable_slow_path_for_better_numerical_stability")
    vars(plain).update({k: v for k, v in vars(module).items() if not k.startswith("_") and k not in dropped})
    for name in ("_reversed_padding_repeated_twice",):
        if name in vars(module):
            vars(plain)[name] = vars(module)[name]
    plain.weight = nn.Parameter(weight.detach().clone(), module.weight.requires_grad)
    plain.register_parameter("bias", None if bias is None else nn.Parameter(bias.detach().clone()))
    return plain.train(module.training)
