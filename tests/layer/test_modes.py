"""Whatever looks at a network leaves every module in its own mode, frozen parts among them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode
from spikejelly_pack.analysis import network_information
from spikejelly_pack.bit_budget import measure
from spikejelly_pack.bit_budget.plan import Planner
from spikejelly_pack.layer.modes import evaluating
from spikejelly_pack.layer.trace import trace
from spikejelly_pack.recipes import convert, finetune
from spikejelly_pack.tasks.probes import probe
from spikejelly_pack.train.loop import evaluate, materialize


def images() -> Tensor:
    return torch.rand(8, 2, generator=torch.Generator().manual_seed(1))


def tuned(net: nn.Module) -> None:
    snn = convert(net, [images()], time_steps=2, progress=False)
    finetune(snn, [images()], teacher=net, epochs=1, progress=False)


def probed(net: nn.Module) -> None:
    snn = convert(net, [images()], time_steps=2, progress=False)
    before = {name: module.training for name, module in snn.train().named_modules()}
    probe(snn, [images()])
    assert {name: module.training for name, module in snn.named_modules()} == before


@pytest.mark.parametrize(
    "look",
    [
        lambda net: trace(net, images()),
        lambda net: materialize(net, images()),
        lambda net: evaluate(net, images(), torch.zeros(8, dtype=torch.int64)),
        lambda net: measure(net, images()),
        lambda net: Planner(net, [images()], steps=[1], bits=[8], progress=False),
        lambda net: network_information(net.append(SpikePackNode(2, form="packed")), [images()]),
        tuned,
        probed,
    ],
    ids=[
        "trace",
        "materialize",
        "evaluate",
        "measure",
        "Planner",
        "network_information",
        "finetune",
        "probe",
    ],
)
def test_frozen_parts_stay_frozen(look: Callable[[nn.Module], object]) -> None:
    torch.manual_seed(0)
    first, second = ([nn.Linear(width, 4), nn.BatchNorm1d(4), nn.ReLU()] for width in (2, 4))
    net = nn.Sequential(*first, *second, nn.Linear(4, 2)).train()
    net[1].eval()
    before = {name: module.training for name, module in net.named_modules()}
    statistics = {name: buffer.clone() for name, buffer in net.named_buffers()}
    assert set(before.values()) == {True, False}
    look(net)
    assert {name: module.training for name, module in net.named_modules() if name in before} == before
    for name, buffer in statistics.items():
        assert torch.equal(net.get_buffer(name), buffer), name


def test_a_failure_puts_the_modes_back() -> None:
    net = nn.Sequential(nn.ReLU(), nn.ReLU().eval())

    def fail() -> None:
        with evaluating(net):
            assert not any(module.training for module in net.modules())
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert [module.training for module in net.modules()] == [True, True, False]
