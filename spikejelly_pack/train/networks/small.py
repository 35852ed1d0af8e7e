"""Small convolutional networks for the embedded data."""

from __future__ import annotations

from spikingjelly.activation_based import layer
from torch import Tensor, nn

from ..neurons import NeuronFactory

__all__ = ["digits_cnn", "events_cnn"]


class _Block(nn.Module):
    """Convolution, BatchNorm, neuron; with ``residual`` the block's input joins before the neuron."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        neuron: NeuronFactory,
        *,
        stride: int = 1,
        residual: bool = False,
        norm: bool = True,
    ) -> None:
        super().__init__()
        self.conv = layer.Conv2d(inputs, outputs, 3, stride, 1, bias=not norm, step_mode="m")
        self.norm = layer.BatchNorm2d(outputs, step_mode="m") if norm else nn.Identity()
        self.node = neuron()
        # A module of its own: where its codes have fewer time steps than the sum's, it becomes a synapse.
        self.skip = nn.Identity() if residual else None

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.conv(x))
        if self.skip is not None:
            y = y + self.skip(x)
        return self.node(y)


def digits_cnn(
    neuron: NeuronFactory,
    width: int = 24,
    num_classes: int = 10,
    in_channels: int = 1,
    encode: bool = False,
    norm: bool = True,
) -> nn.Module:
    """Four convolutions, one skip connection, pooling, a linear head, for ``[S, N, 1, 8, 8]``.

    Args:
        neuron: Makes the neurons.
        width: Channels of the first layers; the last has twice as many.
        num_classes: Classes.
        in_channels: Channels of the input.
        encode: The input passes a neuron first, so that every synapse reads spikes (what the exchange file
            needs). Otherwise the first convolution reads pixels.
        norm: BatchNorm after every convolution.
    """
    return nn.Sequential(
        *([neuron()] if encode else []),
        _Block(in_channels, width, neuron, norm=norm),
        _Block(width, width, neuron, norm=norm),
        _Block(width, width, neuron, residual=True, norm=norm),
        _Block(width, 2 * width, neuron, stride=2, norm=norm),
        layer.AvgPool2d(4, step_mode="m"),
        layer.Flatten(step_mode="m"),
        layer.Linear(2 * width, num_classes, step_mode="m"),
    )


def events_cnn(
    neuron: NeuronFactory, width: int = 24, num_classes: int = 20, in_channels: int = 2, encode: bool = False
) -> nn.Module:
    """Three convolutions with pooling between, a linear head, for event frames ``[S, N, 2, 16, 16]``.

    The head reads every place: where an edge is at a time tells the sense of its turn.

    Args:
        neuron: Makes the neurons.
        width: Channels of the first layer; the others have twice as many.
        num_classes: Classes.
        in_channels: Channels of a frame.
        encode: Frames, and what the pools average, pass neurons that code each window for itself, so that
            every synapse reads spikes (what the exchange file needs). Otherwise convolutions read averages.
    """

    def coded(*layers: nn.Module) -> list[nn.Module]:
        return [*layers, *([neuron.encoder()] if encode else [])]

    return nn.Sequential(
        *coded(),
        _Block(in_channels, width, neuron),
        *coded(layer.AvgPool2d(2, step_mode="m")),
        _Block(width, 2 * width, neuron),
        *coded(layer.AvgPool2d(2, step_mode="m")),
        _Block(2 * width, 2 * width, neuron),
        layer.Flatten(step_mode="m"),
        layer.Linear(32 * width, num_classes, step_mode="m"),
    )
