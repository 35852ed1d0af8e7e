"""What the pages presuppose: a trained network, data and files by the names their code uses."""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import ann2snn
from torch import Tensor, nn

import spikejelly_pack
from spikejelly_pack import QCFSActivation, SpikePackRecipe, export
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.execute import encode
from spikejelly_pack.spec.graph import Dense, Input, Network, Readout


class Inner(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.relu = nn.Conv2d(2, 2, 1), nn.ReLU()
        nn.init.uniform_(self.conv.weight, 0.1, 1.0)  # no channel is silent

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(self.conv(x))


class Layer(Inner):
    def __init__(self) -> None:
        super().__init__()
        self.add_module("0", Inner())

    def forward(self, x: Tensor) -> Tensor:
        return self.get_submodule("0")(super().forward(x))


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 2, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class Classifier(nn.Module):
    """Layers under the names that the pages use."""

    def __init__(self, relu: nn.Module | None = None) -> None:
        super().__init__()
        self.stem, self.relu, self.layer1 = Stem(), relu or nn.ReLU(), Layer()
        self.pool, self.flatten, self.fc = nn.AvgPool2d(2), nn.Flatten(), nn.Linear(18, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.flatten(self.pool(self.layer1(self.relu(self.stem(x))))))


class MyQuantizer(nn.Module):
    scale = 0.25


class MyLayer(nn.Module):
    pass


def common() -> dict[str, Any]:
    """Names of every page; ``net.spk`` lies in the working folder."""
    torch.manual_seed(0)
    x = torch.rand(4, 1, 6, 6)
    ann = Classifier().eval()
    snn = ann2snn.Converter(SpikePackRecipe([x], time_steps=4)).convert(ann)
    network = export(snn, "net.spk", x)
    batches = {
        name: [x] for name in ("loader", "calibration_loader", "calibration_batches", "batches", "others")
    }
    tensors = dict.fromkeys(("example", "example_input", "example_batch", "images", "calibration_images"), x)
    public = {name: getattr(spikejelly_pack, name) for name in ("convert", "set_form", "SpikePackRecipe")}
    return {
        "torch": torch, "nn": nn, "np": np, "ann2snn": ann2snn, **public,
        **batches, **tensors, "ann": ann, "model": ann, "snn": snn, "net": Classifier().eval(),
        "codes": encode(network.inputs[0], x.numpy()),
    }  # fmt: skip


def quantized() -> dict[str, Any]:
    """Networks with trained quantizers; thresholds are powers of two."""
    names = common()
    for name in ("quantized_network", "net"):
        net = Classifier(QCFSActivation(15, 1.0))
        for block in (net.layer1, net.layer1.get_submodule("0")):
            block.relu = QCFSActivation(15, 1.0)
        for parameter in net.parameters():
            parameter.data = (parameter.data * 8).round() / 8 if parameter.dim() else parameter.data
        names[name] = nn.Sequential(QCFSActivation(15, 1.0), net).double().eval()
    x = torch.rand(4, 1, 6, 6, dtype=torch.float64)
    return {**names, "MyQuantizer": MyQuantizer, "batches": [x], "example": x}


def small() -> dict[str, Any]:
    """Fewer layers, where code searches over them."""
    net = nn.Sequential(OrderedDict(stem=Stem(), relu=nn.ReLU(), flatten=nn.Flatten(), fc=nn.Linear(72, 4)))
    return {**common(), "ann": net.eval(), "net": copy.deepcopy(net)}


def custom_operator() -> dict[str, Any]:
    """A library with an operator of its own."""
    torch.library.define("mylib::mix", "(Tensor x) -> Tensor")
    torch.library.impl("mylib::mix", "CompositeImplicitAutograd", lambda x: x)
    return {**common(), "MyLayer": MyLayer}


def stored_network() -> dict[str, Any]:
    """An exchange file whose input is called ``x``."""
    network = Network(
        [
            Input("x", (), np.ones(1, np.float32), (4,)),
            Dense("w", ("x",), 8, np.ones((2, 4), np.int32)),
            Readout("y", ("w",), np.ones(2), np.zeros(2, np.int32)),
        ],
        time_steps=4,
    )
    exchange.save(network, "net.spk", {"x": np.ones((2, 4), np.uint8)})
    return {}


SETTINGS: dict[str, Callable[[], dict[str, Any]]] = {
    "quantized.md": quantized,
    "budget-planning.md": small,
    "convert-any-model.md": custom_operator,
    "targets.md": stored_network,
}


@pytest.fixture(scope="session")
def setting() -> Callable[[str], dict[str, Any]]:
    """Names that the code of a page presupposes."""
    return lambda page: SETTINGS.get(page, common)()
