"""Networks from SpikingJelly's own builders, sized for the data sets of the configurations."""

from __future__ import annotations

from typing import Any

from spikingjelly.activation_based import layer
from torch import nn

from ...spec.errors import ParameterError
from ..neurons import NeuronFactory

__all__ = [
    "cifar_sew_resnet18",
    "cifar_vgg",
    "digits_spikformer",
    "dvs_gesture_net",
    "dvs_vgg",
    "imagenet_sew_resnet34",
]


def digits_spikformer(
    neuron: NeuronFactory,
    num_classes: int = 10,
    embed_dims: int = 64,
    num_heads: int = 4,
    depths: int = 1,
    mlp_ratio: float = 2.0,
) -> nn.Module:
    """SpikingJelly's Spikformer for 8 x 8 images: four patches, one block."""
    from spikingjelly.activation_based.model.spikformer import Spikformer

    return Spikformer(
        T=neuron.time_steps,
        in_channels=1,
        img_size_h=8,
        img_size_w=8,
        patch_size=4,
        num_classes=num_classes,
        embed_dims=embed_dims,
        num_heads=num_heads,
        depths=depths,
        mlp_ratio=mlp_ratio,
        spiking_neuron=neuron,
    )


def cifar_sew_resnet18(neuron: NeuronFactory, num_classes: int = 10, connect: str = "ADD") -> nn.Module:
    """SEW-ResNet-18 (Fang et al., NeurIPS 2021) with a 3 x 3 stem without pooling for 32 x 32 images."""
    from spikingjelly.activation_based.model.sew_resnet import sew_resnet18

    net: Any = sew_resnet18(cnf=connect, spiking_neuron=neuron, num_classes=num_classes)
    net.conv1 = layer.Conv2d(3, 64, 3, 1, 1, bias=False)
    net.maxpool = nn.Identity()
    return net


def imagenet_sew_resnet34(neuron: NeuronFactory, num_classes: int = 1000, connect: str = "ADD") -> nn.Module:
    """SEW-ResNet-34 (Fang et al., NeurIPS 2021) as SpikingJelly builds it."""
    from spikingjelly.activation_based.model.sew_resnet import sew_resnet34

    return sew_resnet34(cnf=connect, spiking_neuron=neuron, num_classes=num_classes)


def cifar_vgg(
    neuron: NeuronFactory, num_classes: int = 100, depth: str = "D", width: float = 1.0, dropout: float = 0.25
) -> nn.Module:
    """SpikingJelly's VGG features (``depth`` A, B, D or E: 11, 13, 16, 19 layers) and one linear layer."""
    return _vgg(neuron, depth, 3, num_classes, width, dropout)


def dvs_vgg(
    neuron: NeuronFactory, num_classes: int = 10, depth: str = "A", width: float = 1.0, dropout: float = 0.25
) -> nn.Module:
    """The same for event frames ``[S, N, 2, H, W']``."""
    return _vgg(neuron, depth, 2, num_classes, width, dropout)


def dvs_gesture_net(neuron: NeuronFactory, channels: int = 128, num_classes: int = 11) -> nn.Module:
    """SpikingJelly's DVSGestureNet (Fang et al., ICCV 2021) for ``[S, N, 2, 128, 128]``, eleven gestures."""
    from spikingjelly.activation_based.model.parametric_lif_net import DVSGestureNet

    net = DVSGestureNet(channels, spiking_neuron=neuron)
    # The class is built for ten voters of each of eleven gestures.
    head: Any = net.conv_fc[-3]
    net.conv_fc[-3] = layer.Linear(head.in_features, 10 * num_classes)
    return net


def _vgg(
    neuron: NeuronFactory, depth: str, in_channels: int, num_classes: int, width: float, dropout: float
) -> nn.Module:
    from spikingjelly.activation_based.model.spiking_vgg import SpikingVGG, cfgs

    if depth not in cfgs:
        raise ParameterError(f"network vgg: depth must be A, B, D or E, got {depth!r}; choose one of these.")
    plan = [max(1, round(entry * width)) if isinstance(entry, int) else entry for entry in cfgs[depth]]
    first, last = (int(plan[index]) for index in (0, -2))
    features = SpikingVGG.make_layers(plan, batch_norm=True, neuron=neuron)
    features[0] = layer.Conv2d(in_channels, first, 3, padding=1)
    for module in features.modules():
        if isinstance(module, layer.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            nn.init.constant_(module.get_parameter("bias"), 0.0)
    return nn.Sequential(
        *features,
        layer.AdaptiveAvgPool2d((1, 1)),
        layer.Flatten(),
        layer.Dropout(dropout),
        layer.Linear(last, num_classes),
    )
