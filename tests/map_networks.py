"""Networks on maps with batch normalisation: a residual network, a VGG, U-shaped networks.

Tests get :func:`make` as the fixture ``map_networks``.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["MAP_NETWORKS", "make"]


def _convolved(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    conv = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


class Block(nn.Module):
    """A basic residual block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first = _convolved(inputs, outputs, stride)
        self.second = _convolved(outputs, outputs)[:2]
        same = stride == 1 and inputs == outputs
        shortcut = [nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)]
        self.skip = nn.Identity() if same else nn.Sequential(*shortcut)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.second(self.first(x)) + self.skip(x))


def resnet18(width: int) -> nn.Module:
    """ResNet-18 for 32 x 32 inputs: a 3 x 3 stem, no pooling in front."""
    blocks: list[nn.Module] = []
    inputs = width
    for stage in range(4):
        outputs = width << stage
        blocks += [Block(inputs, outputs, 1 if stage == 0 else 2), Block(outputs, outputs, 1)]
        inputs = outputs
    head = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, 10)]
    return nn.Sequential(_convolved(3, width), *blocks, *head)


def vgg(width: int) -> nn.Module:
    """VGG-11 with batch normalisation and max-pooling, for 32 x 32 inputs."""
    layers: list[nn.Module] = []
    inputs = 3
    for stage, count in enumerate((1, 1, 2, 2, 2)):
        outputs = width << min(stage, 3)
        for _ in range(count):
            layers.append(_convolved(inputs, outputs))
            inputs = outputs
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(inputs, 10))


class UNet(nn.Module):
    """Encoder, decoder, concatenated skips; upsampling by repetition or by transposed convolutions."""

    def __init__(self, width: int, depth: int, transposed: bool) -> None:
        super().__init__()
        sizes = [width << level for level in range(depth + 1)]
        self.down = nn.ModuleList(_convolved(a, b) for a, b in zip([3, *sizes[:-2]], sizes[:-1], strict=True))
        self.middle, self.pool = _convolved(sizes[-2], sizes[-1]), nn.MaxPool2d(2)
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(size, size, 2, 2) if transposed else nn.Upsample(scale_factor=2)
            for size in sizes[1:]
        )
        self.join = nn.ModuleList(_convolved(a + b, b) for a, b in zip(sizes[1:], sizes[:-1], strict=True))
        self.head = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for layer in self.down:
            skips.append(layer(x))
            x = self.pool(skips[-1])
        x = self.middle(x)
        for up, join, skip in reversed(list(zip(self.up, self.join, skips, strict=True))):
            x = join(torch.cat([up(x), skip], dim=1))
        return self.head(x)


MAP_NETWORKS: dict[str, tuple[Callable[[int], nn.Module], int]] = {
    "resnet18": (resnet18, 32),
    "vgg": (vgg, 32),
    "unet": (lambda width: UNet(width, 2, transposed=False), 16),
    "unet_transposed": (lambda width: UNet(width, 2, transposed=True), 16),
    "unet_deep": (lambda width: UNet(width, 3, transposed=False), 32),
}


def make(name: str, width: int, samples: int = 8) -> tuple[nn.Module, Tensor]:
    """An ANN whose batch statistics are those of its data, and the data."""
    torch.manual_seed(0)
    build, size = MAP_NETWORKS[name]
    net, x = build(width), torch.randn(samples, 3, size, size)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    with torch.no_grad():
        net.train()(x)
    return net.eval(), x
