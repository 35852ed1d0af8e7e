"""From a converted network of mixed time steps through its file and the worker to Lava, every code equal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import ann2snn
from torch import Tensor, nn

import lava_bridge
from lava_bridge.worker.find import Interpreter
from spikejelly_pack import SpikePackNode, SpikePackRecipe, export, set_form
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.execute import encode, outputs, run_packed, run_serial_multi_step


class Net(nn.Module):
    """A skip connection, a concatenation, average pooling; every node gets another T."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.c, self.fc = nn.Conv2d(8, 4, 1), nn.Linear(16, 3)
        self.relu, self.pool = nn.ReLU(), nn.AvgPool2d(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        one = self.relu(self.a(x))
        two = self.relu(self.b(one) + one)
        three = self.relu(self.c(torch.cat([one, two], dim=1)))
        return self.fc(self.pool(three).flatten(1))


@pytest.fixture(scope="module")
def converted() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(1)
    x = torch.rand(12, 2, 6, 6) * 2 - 1
    given = {"*": 3, "encoder_x": 5, "relu": 2, "relu_again": 6}
    recipe = SpikePackRecipe([x], time_steps=given, progress=False)
    return ann2snn.Converter(recipe).convert(Net()), x


@pytest.mark.parametrize("engine", ["loihi", "inline"])
def test_every_code_in_lava(
    engine: str, converted: tuple[nn.Module, Tensor], lava: Interpreter, assert_same: Any, tmp_path: Path
) -> None:
    snn, x = converted
    steps = [node.time_steps for node in snn.modules() if isinstance(node, SpikePackNode)]
    assert len(set(steps)) == 4
    path = tmp_path / "net.spk"
    export(set_form(snn, "serial"), path, x[:4], weight_bits=16, state_bits=32)
    network = exchange.load(path)
    assert network.time_steps == max(steps) == 6
    assert sorted(op.time_steps for op in (*network.inputs, *network.neurons)) == sorted(steps)
    result = lava_bridge.simulate(path, x.numpy(), engine=engine, batch=1, record="all", progress=False)
    codes = encode(network.inputs[0], x.numpy())
    got = {**result.membranes, **result.codes}
    for expected in (run_packed(network, codes), run_serial_multi_step(network, codes)):
        assert set(got) == set(expected)
        assert_same(got, expected, expected)
    assert result.steps == (max(network.latency.values()) + len(x)) * 6 + 1
    with torch.no_grad():
        wanted = set_form(snn, "packed")(x).numpy()
    real = outputs(network, result.membranes)["output"]
    assert np.linalg.norm(real - wanted) < 0.01 * np.linalg.norm(wanted)
