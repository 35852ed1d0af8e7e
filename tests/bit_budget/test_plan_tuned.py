"""Plans for training: which candidates there are, and that the best after training is taken."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from spikejelly_pack.bit_budget.plan import Planner, plan_tuned
from spikejelly_pack.bit_budget.plan.tuned import candidates
from spikejelly_pack.bit_budget.quantize import quantized_layers
from spikejelly_pack.recipes import finetune
from spikejelly_pack.spec.errors import ParameterError


@pytest.fixture(scope="module")
def planner() -> Planner:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 5)
    )
    return Planner(net, [torch.rand(48, 1, 8, 8)], steps=(1, 2, 4), bits=(1, 2, 4), progress=False)


def budget(planner: Planner) -> float:
    """What T = 2 with 2 bits costs everywhere."""
    return planner.search.cost(planner.search.same(1, 1))


def test_candidates(planner: Planner) -> None:
    found = candidates(planner, budget(planner))
    search = planner.search
    assert all(one.cost <= budget(planner) for one in found)
    choices = [one.choice for one in found]
    assert len(choices) == len(set(choices)) > 3
    assert choices[0] == planner.find(budget(planner)).choice
    # T x b = 4 in all three ways; 1 x 1, 1 x 2 and 2 x 1 are exceeded
    assert {search.same(0, 2), search.same(1, 1), search.same(2, 0)} <= set(choices)
    assert search.same(0, 0) not in choices
    assert search.same(0, 1) not in choices


def test_the_best_after_training_is_taken(planner: Planner) -> None:
    """A trainer that breaks every network but the uniform one of T = 1: that one must be chosen."""
    wanted = dict.fromkeys(("0", "2", "5"), 4)

    def tune(net: nn.Module) -> None:
        bits = {q.bits for q in quantized_layers(net).values()}
        steps = {node.time_steps for node in net.modules() if hasattr(node, "time_steps")}
        if (bits, steps) != ({4}, {1}):
            for parameter in net.parameters():
                parameter.data.zero_()

    plan = plan_tuned(planner, budget(planner), tune, progress=False)
    assert sorted(plan.weight_bits.values()) == sorted(wanted.values())
    assert set(plan.time_steps.values()) == {1}
    assert plan.loss["trained"] == len(candidates(planner, budget(planner)))


def test_never_worse_than_uniform_after_training(planner: Planner) -> None:
    def tune(net: Any) -> None:
        finetune(net, planner.data, teacher=planner.model, epochs=3, progress=False)

    def loss(plan: Any) -> float:
        net = planner.network(plan, training=True)
        tune(net)
        return planner.judged(net.eval()).loss

    plan = plan_tuned(planner, budget(planner), tune, progress=False)
    assert plan.cost <= budget(planner)
    assert plan.loss["planned"] == pytest.approx(loss(plan), rel=1e-3)
    uniform = planner.uniform(budget(planner))
    assert uniform is not None
    other = loss(planner.uniform_plan(uniform, budget(planner)))
    assert plan.uniform is not None
    assert plan.uniform["loss"] == pytest.approx(other, rel=1e-3)
    assert loss(plan) <= 1.001 * other
    assert loss(plan) <= 1.001 * loss(planner.plan(budget(planner)))


def test_unreachable(planner: Planner) -> None:
    with pytest.raises(ParameterError, match="the budget must be at least"):
        plan_tuned(planner, 1.0, lambda _: None, progress=False)
