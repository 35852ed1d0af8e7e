"""Handlers of SpikingJelly's blocks and builders: products, containers, readouts.

Class changes apply to the very types named here: a subclass may override what the exact one replaces,
so it is named instead.
"""

from __future__ import annotations

from spikingjelly.activation_based.layer.attention import (
    ChannelQKAttention,
    QKAttention,
    SpikeDrivenSelfAttention,
    SpikingSelfAttention,
    TokenQKAttention,
)
from spikingjelly.activation_based.model import (
    masnn,
    maxformer,
    ms_resnet,
    qkformer,
    sew_resnet,
    spike_driven_transformer,
)
from torch import nn

from . import exact
from .handlers import Outcome, Site, handles, keep, name, replace
from .product import SpikePackProduct
from .readout import DecodeOutput
from .window import WindowModule

__all__: list[str] = []

_PRODUCT = (
    "step by step, a product of spike trains is not the product of what they code: the windows are "
    "decoded first"
)
_READOUT = ".mean(0) weighs all digits alike: the weighted mean instead"


def _become(site: Site, exact_type: type[nn.Module], parts: dict[str, WindowModule], reason: str) -> Outcome:
    """Turn the site's module into ``exact_type`` in place and give it the parts it needs."""
    site.module.__class__ = exact_type
    for part, module in parts.items():
        site.module.add_module(part, module)
    return replace(site.module, reason)


def _subclass(site: Site, known: type[nn.Module]) -> Outcome:
    return name(
        f"{type(site.module).__name__} derives from {known.__name__} and may override what would be replaced",
        f"register a handler for {type(site.module).__name__}",
    )


_READOUTS: dict[type[nn.Module], type[nn.Module]] = {
    ms_resnet.MSResNet: exact.ExactMSResNet,
    ms_resnet.MaxResNet: exact.ExactMaxResNet,
    masnn.AttMSResNet: exact.ExactAttMSResNet,
    masnn.MASNN: exact.ExactMASNN,
    qkformer.QKFormer: exact.ExactQKFormer,
    spike_driven_transformer.SpikeDrivenTransformer: exact.ExactSpikeDrivenTransformer,
    maxformer.MaxFormer: exact.ExactMaxFormer,
}


@handles(*_READOUTS)
def readout(site: Site) -> Outcome:
    """Builders that average the time steps."""
    if isinstance(site.module, exact.WeightedReadout):
        return keep()
    exact_type = _READOUTS.get(type(site.module))
    if exact_type is None:
        return _subclass(site, next(known for known in _READOUTS if isinstance(site.module, known)))
    return _become(site, exact_type, {"exact_readout": DecodeOutput(**site.window_arguments)}, _READOUT)


@handles(SpikingSelfAttention)
def self_attention(site: Site) -> Outcome:
    """Spikformer's ``v k^T q``."""
    if isinstance(site.module, exact.ExactSelfAttention):
        return keep()
    if type(site.module) is not SpikingSelfAttention:
        return _subclass(site, SpikingSelfAttention)
    part = exact.SelfAttentionProduct(**site.window_arguments)
    return _become(site, exact.ExactSelfAttention, {"exact_product": part}, _PRODUCT)


@handles(QKAttention)
def qk_attention(site: Site) -> Outcome:
    """QKFormer's ``attention(q) * k``."""
    if isinstance(site.module, exact.ExactQKAttention):
        return keep()
    if type(site.module) not in (QKAttention, TokenQKAttention, ChannelQKAttention):
        return _subclass(site, QKAttention)
    part = SpikePackProduct(**site.window_arguments)
    return _become(site, exact.ExactQKAttention, {"exact_product": part}, _PRODUCT)


@handles(SpikeDrivenSelfAttention)
def spike_driven_attention(site: Site) -> Outcome:
    """Spike-driven Transformer's ``q * attention(k * v)``."""
    if isinstance(site.module, exact.ExactSpikeDrivenAttention):
        return keep()
    if type(site.module) is not SpikeDrivenSelfAttention:
        return _subclass(site, SpikeDrivenSelfAttention)
    parts: dict[str, WindowModule] = {
        part: SpikePackProduct(**site.window_arguments) for part in ("exact_kv", "exact_qkv")
    }
    return _become(site, exact.ExactSpikeDrivenAttention, parts, _PRODUCT)


@handles("spikingjelly.activation_based.model.maxformer._MaxCifarSSA")
def cifar_attention(site: Site) -> Outcome:
    """Max-Former's CIFAR attention ``q k^T v``."""
    stand_in = exact.ExactCifarAttention(site.module)
    stand_in.exact_product = exact.CifarAttentionProduct(**site.window_arguments)
    return replace(stand_in, _PRODUCT)


@handles(sew_resnet.BasicBlock, sew_resnet.Bottleneck)
def sew_block(site: Site) -> Outcome:
    """SEW's ADD is affine, AND and IAND are products."""
    block = site.module
    if isinstance(block, exact.ExactBasicBlock | exact.ExactBottleneck) or block.cnf == "ADD":
        return keep()
    types: dict[type[nn.Module], type[nn.Module]] = {
        sew_resnet.BasicBlock: exact.ExactBasicBlock,
        sew_resnet.Bottleneck: exact.ExactBottleneck,
    }
    if type(block) not in types:
        return _subclass(site, sew_resnet.BasicBlock)
    part = SpikePackProduct(**site.window_arguments)
    return _become(site, types[type(block)], {"exact_product": part}, f"SEW {block.cnf}: {_PRODUCT}")
