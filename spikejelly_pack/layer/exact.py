"""SpikingJelly's blocks with exact products, containers and readouts.

``adapt`` turns an instance into one of these in place (its class changes, its children keep their names),
so parameters, ``state_dict`` keys and references from optimisers stay what they were.
"""

from __future__ import annotations

import torch
from spikingjelly.activation_based.layer.attention import (
    QKAttention,
    SpikeDrivenSelfAttention,
    SpikingSelfAttention,
)
from spikingjelly.activation_based.model import (
    masnn,
    maxformer,
    ms_resnet,
    qkformer,
    sew_resnet,
    spike_driven_transformer,
)
from torch import Tensor, nn

from .readout import WeightedReadout
from .window import WindowModule

__all__ = [
    "ExactAttMSResNet",
    "ExactBasicBlock",
    "ExactBottleneck",
    "ExactMASNN",
    "ExactMSResNet",
    "ExactMaxFormer",
    "ExactMaxResNet",
    "ExactQKAttention",
    "ExactQKFormer",
    "ExactSelfAttention",
    "ExactSpikeDrivenAttention",
    "ExactSpikeDrivenTransformer",
    "SelfAttentionProduct",
]


class SelfAttentionProduct(WindowModule):
    """Spikformer's ``(v @ k^T) @ q * scale`` of decoded values.

    Its one operand is ``[.., N, 3, heads, C / heads, L]``: q, k and v side by side.
    """

    scale = 0.125

    def compute(self, *values: Tensor) -> Tensor:
        result: Tensor = SpikingSelfAttention._ssa_kernel_torch(values[0], self.scale)  # pyright: ignore[reportPrivateUsage]
        return result


class ExactSelfAttention(SpikingSelfAttention):
    """``SpikingSelfAttention`` whose triple product multiplies decoded values."""

    exact_product: SelfAttentionProduct

    def _ssa_kernel_torch(self, qkv: Tensor, scale: float) -> Tensor:  # type: ignore[override]
        self.exact_product.scale = scale
        result: Tensor = self.exact_product(qkv)
        return result


class ExactQKAttention(QKAttention):
    """``QKAttention`` (token and channel) whose product multiplies decoded values."""

    exact_product: nn.Module

    def _qka_forward_torch(self, qk: Tensor) -> Tensor:
        q, k = qk.flatten(2, 3).chunk(2, dim=2)
        attention = self.attn_lif(torch.sum(q, dim=self.sum_dim, keepdim=True))
        result: Tensor = self.exact_product(attention, k)
        return result


class ExactSpikeDrivenAttention(SpikeDrivenSelfAttention):
    """``SpikeDrivenSelfAttention`` whose two products multiply decoded values."""

    exact_kv: nn.Module
    exact_qkv: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        steps, batch, channels, height, width = x.shape
        identity = x
        x = self.shortcut_lif(x)

        def heads(value: Tensor) -> Tensor:
            value = value.flatten(3).transpose(-1, -2)
            shape = (steps, batch, height * width, self.num_heads, self.head_dim)
            return value.reshape(*shape).permute(0, 1, 3, 2, 4)

        q = heads(self.q_lif(self.q_bn(self.q_conv(x))))
        k = heads(self.k_lif(self.k_bn(self.k_conv(x))))
        v = heads(self.v_lif(self.v_bn(self.v_conv(x))))
        attention = self.attn_lif(self.exact_kv(k, v).sum(dim=-2, keepdim=True))
        x = self.exact_qkv(q, attention).transpose(3, 4).reshape(steps, batch, channels, height, width)
        result: Tensor = self.proj_bn(self.proj_conv(x)) + identity
        return result


class CifarAttentionProduct(WindowModule):
    """Max-Former's ``q @ (k^T @ v) / 8`` of decoded values."""

    operands = 3

    def compute(self, *values: Tensor) -> Tensor:
        q, k, v = values
        return (q @ (k.transpose(-2, -1) @ v)) * 0.125


class ExactCifarAttention(nn.Module):
    """Max-Former's CIFAR self-attention with an exact product; takes over the children of the original."""

    exact_product: nn.Module
    input_lif: nn.Module
    qkv: nn.Module
    qkv_lif: nn.Module
    attn_lif: nn.Module
    proj: nn.Module

    def __init__(self, original: nn.Module) -> None:
        super().__init__()
        self.num_heads = int(original.num_heads)  # type: ignore[arg-type]
        for name, child in original.named_children():
            self.add_module(name, child)
        self.training = original.training

    def forward(self, x: Tensor) -> Tensor:
        steps, batch, channels, tokens = x.shape

        def heads(value: Tensor) -> Tensor:
            shape = (steps, batch, tokens, self.num_heads, channels // self.num_heads)
            return value.transpose(-1, -2).reshape(*shape).permute(0, 1, 3, 2, 4)

        q, k, v = self.qkv_lif(self.qkv(self.input_lif(x))).chunk(3, dim=2)
        q, k, v = heads(q), heads(k), heads(v)
        x = self.exact_product(q, k, v).transpose(3, 4).reshape(steps, batch, channels, tokens)
        result: Tensor = self.proj(self.attn_lif(x))
        return result


class _ExactSEW(nn.Module):
    """AND and IAND of SEW residual blocks as products of decoded values."""

    cnf: str
    exact_product: nn.Module
    downsample: nn.Module | None
    downsample_sn: nn.Module

    def _branch(self, x: Tensor) -> Tensor:
        for stage in ("1", "2", "3"):
            if hasattr(self, f"conv{stage}"):
                conv, norm, node = (getattr(self, f"{part}{stage}") for part in ("conv", "bn", "sn"))
                x = node(norm(conv(x)))
        return x

    def _join(self, first: Tensor, second: Tensor) -> Tensor:
        result: Tensor = self.exact_product(first, second if self.cnf == "AND" else 1.0 - second)
        return result

    def _identity(self, x: Tensor) -> Tensor:
        return x if self.downsample is None else self.downsample_sn(self.downsample(x))


class ExactBasicBlock(_ExactSEW, sew_resnet.BasicBlock):
    """SEW basic block with an exact AND / IAND."""

    def forward(self, x: Tensor) -> Tensor:
        return self._join(self._identity(x), self._branch(x))


class ExactBottleneck(_ExactSEW, sew_resnet.Bottleneck):
    """SEW bottleneck with an exact AND / IAND."""

    def forward(self, x: Tensor) -> Tensor:
        return self._join(self._branch(x), self._identity(x))


class ExactMSResNet(WeightedReadout, ms_resnet.MSResNet):
    """MS-ResNet with the weighted readout."""


class ExactMaxResNet(WeightedReadout, ms_resnet.MaxResNet):
    """Max-ResNet with the weighted readout."""


class ExactAttMSResNet(WeightedReadout, masnn.AttMSResNet):
    """Att-MS-ResNet with the weighted readout."""


class ExactMASNN(WeightedReadout, masnn.MASNN):
    """MA-SNN with the weighted readout."""


class ExactQKFormer(WeightedReadout, qkformer.QKFormer):
    """QKFormer with the weighted readout."""


class ExactSpikeDrivenTransformer(WeightedReadout, spike_driven_transformer.SpikeDrivenTransformer):
    """Spike-driven Transformer with the weighted readout."""


class ExactMaxFormer(WeightedReadout, maxformer.MaxFormer):
    """Max-Former with the weighted readout."""
