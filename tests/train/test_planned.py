"""A plan for a network that is trained: applied, trained on, stored and rebuilt."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from spikejelly_pack.bit_budget.plan import BudgetPlan, Planner, write_plan
from spikejelly_pack.bit_budget.quantize import quantized_layers
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.train import Classifier, build_network, load_network, save_network, train_epochs
from spikejelly_pack.train.loop import materialize
from spikejelly_pack.train.module import DirectTraining

OPTIONS = {"width": 4, "encode": True}


def network() -> Classifier:
    torch.manual_seed(0)
    net = build_network("digits_cnn", time_steps=4, options=OPTIONS)
    materialize(net, images(2))
    return net.eval()


def images(samples: int) -> torch.Tensor:
    return torch.rand(samples, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def plan() -> BudgetPlan:
    planner = Planner(network(), [images(16)], steps=(1, 2, 4), bits=(2, 6), progress=False)
    return planner.plan(0.5 * planner.search.cost(planner.search.same(2, 1)))


def test_training_applies_the_plan(plan: BudgetPlan, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "plan.json")
    net = DirectTraining(network_args=OPTIONS, plan=str(tmp_path / "plan.json")).network
    steps = {p: m.time_steps for p, m in net.named_modules() if isinstance(m, SpikePackNode)}
    assert steps.items() >= plan.time_steps.items()
    assert {path: q.bits for path, q in quantized_layers(net).items()} == plan.weight_bits

    classes = torch.arange(64) % 4
    history = train_epochs(net, images(64), classes, epochs=3, batch=16, progress=False)
    assert history.loss[-1] < history.loss[0]
    save_network(net, tmp_path / "net.safetensors")
    again = load_network(tmp_path / "net.safetensors")
    with torch.no_grad():
        assert torch.equal(again(images(9)), net.eval()(images(9)))
    assert {path: q.bits for path, q in quantized_layers(again).items()} == plan.weight_bits


def test_plan_of_another_network(plan: BudgetPlan, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "plan.json")
    with pytest.raises(ParameterError, match="must have the nodes and layers the plan was made for"):
        DirectTraining(network_args={"width": 6, "encode": True}, plan=str(tmp_path / "plan.json"))
