"""A VGG and a narrow U-Net from the exporter to Lava: every integer equal, in both spike modes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import ann2snn
from torch import Tensor, nn

import lava_bridge
from lava_bridge.worker.find import Interpreter
from spikejelly_pack import SpikePackRecipe, build_integer, set_form
from spikejelly_pack.spec.execute import encode, run_packed


def conv(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, 1, 1), nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Two levels, skip connections by concatenation."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = (
            conv(3, width),
            conv(width, 2 * width),
            conv(2 * width, 4 * width),
        )
        self.pool, self.up = nn.MaxPool2d(2), nn.Upsample(scale_factor=2, mode="nearest")
        self.up2, self.up1 = conv(6 * width, 2 * width), conv(3 * width, width)
        self.out = nn.Conv2d(width, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        first = self.down1(x)
        second = self.down2(self.pool(first))
        x = self.up2(torch.cat([self.up(self.bottom(self.pool(second))), second], 1))
        return self.out(self.up1(torch.cat([self.up(x), first], 1)))


def vgg(width: int) -> nn.Module:
    """Three stages with maximum pooling, and two dense layers."""
    stages = [
        nn.Sequential(conv(i * width or 3, o * width), nn.MaxPool2d(2)) for i, o in ((0, 1), (1, 2), (2, 4))
    ]
    head = [nn.Flatten(), nn.Linear(4 * width * 4, 4 * width), nn.ReLU(), nn.Linear(4 * width, 10)]
    return nn.Sequential(*stages, *head)


@pytest.mark.parametrize("make", [UNet, vgg])
def test_equals_the_reference(make: Any, lava: Interpreter) -> None:
    torch.manual_seed(0)
    x = torch.rand(4, 3, 16, 16)
    ann = make(4)
    with torch.no_grad():
        ann(x)  # statistics of the batch normalisation
    snn = ann2snn.Converter(SpikePackRecipe([x], time_steps=4, progress=False)).convert(ann.eval())
    network = build_integer(set_form(snn, "serial"), x[:1])
    codes = encode(network.inputs[0], x[:2].numpy())
    expected = run_packed(network, codes)
    for spikes in ("graded", "serial"):
        result = lava_bridge.simulate(
            network, codes, codes=True, engine="inline", spikes=spikes, record="all", progress=False
        )
        values = {**result.membranes, **result.codes}
        assert set(values) == set(expected)
        for name, value in expected.items():
            assert np.array_equal(values[name], value), name
