"""What the Bit Budget experiment trains on each data set: data, network, nodes, length. One for all splits.

What is chosen for events was chosen on a fifth of the training scans, at both ends (one window of 16 digits,
32 windows of one) and in the middle, never on test clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from spikingjelly.activation_based import layer
from torch import nn

from spikejelly_pack.data import Split, digits, event_digits
from spikejelly_pack.train import NeuronFactory

__all__ = ["RECIPES", "Recipe"]

NOISE = 0.08  # background events of a whole clip, per pixel and polarity: as event_digits has by default
#: What is left of a membrane after an eighth of a clip: the leak of the configuration events_cnn, which has
#: eight windows. In real time it is the same for every number of windows.
LEAK = 0.4
#: First threshold in standard deviations of a membrane that sums windows of variance one.
SPREADS = 3.6


@dataclass(frozen=True)
class Recipe:
    """How one data set is trained.

    Attributes:
        data: ``data(frames, drawings)``: the split, of clips with so many training clips of every scan.
        body: ``body(neuron, width, classes)``: the layers.
        node: ``node(windows)``: arguments of SpikePackNode.
        width: Channels of the first layer.
        epochs: Passes over the training data.
        batch: Samples per step.
    """

    data: Callable[[int, int], Split]
    body: Callable[[NeuronFactory, int, int], nn.Sequential]
    node: Callable[[int], dict[str, Any]]
    width: int
    epochs: int
    batch: int


def still_body(neuron: NeuronFactory, width: int, classes: int) -> nn.Sequential:
    """Two convolutions, a hidden layer, a readout, for 8 x 8 pixels."""
    return nn.Sequential(
        layer.Conv2d(1, width, 3, 1, 1, bias=False), layer.BatchNorm2d(width), neuron(),
        layer.Conv2d(width, 2 * width, 3, 2, 1, bias=False), layer.BatchNorm2d(2 * width), neuron(),
        layer.Flatten(), layer.Linear(32 * width, 64, bias=False), layer.BatchNorm1d(64), neuron(),
        layer.Linear(64, classes),
    )  # fmt: skip


def clip_body(neuron: NeuronFactory, width: int, classes: int) -> nn.Sequential:
    """Three convolutions and a readout that sees every place, for 16 x 16 pixels and two polarities."""
    return nn.Sequential(
        layer.Conv2d(2, width, 3, 2, 1, bias=False), layer.BatchNorm2d(width), neuron(),
        layer.Conv2d(width, 2 * width, 3, 1, 1, bias=False), layer.BatchNorm2d(2 * width), neuron(),
        layer.Conv2d(2 * width, 2 * width, 3, 2, 1, bias=False), layer.BatchNorm2d(2 * width), neuron(),
        layer.Flatten(), layer.Linear(32 * width, classes),
    )  # fmt: skip


def still_node(windows: int) -> dict[str, Any]:
    """The residual of the soft reset is carried, as in a LIF neuron, and dithers the windows."""
    return {"leak": 0.5, "carry": "residual"}


def clip_node(windows: int) -> dict[str, Any]:
    """The membrane is carried: it remembers what earlier windows showed.

    As long in real time whatever the number of windows; its range, and so the first threshold, grows with the
    windows that it sums.
    """
    leak = LEAK ** (8 / windows)
    return {"leak": leak, "carry": "membrane", "v_threshold": SPREADS / math.sqrt(1 - leak * leak)}


def clips(frames: int, drawings: int) -> Split:
    """:func:`event_digits` with several training clips of every scan, on other arcs; one of a test scan."""
    drawn = [event_digits(windows=frames, noise=NOISE / frames, seed=seed) for seed in range(drawings)]
    inputs = torch.cat([split.train_inputs for split in drawn])
    classes = torch.cat([split.train_classes for split in drawn])
    return replace(drawn[0], train_inputs=inputs, train_classes=classes)


RECIPES: dict[str, Recipe] = {
    "digits": Recipe(lambda *_: digits(), still_body, still_node, width=12, epochs=8, batch=64),
    "events": Recipe(clips, clip_body, clip_node, width=24, epochs=3, batch=32),
}
