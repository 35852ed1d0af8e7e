"""The integer program against brute force over every choice."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejelly_pack.bit_budget.plan.allocate import Layer, Near, Problem, allocate, smallest_cost
from spikejelly_pack.spec.errors import ParameterError


def problem_of(seed: int, groups: int, layers: int, steps: int, widths: int) -> Problem:
    """Random tables; losses may be negative, costs grow with both choices or not at all."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(layers):
        group = None if rng.random() < 0.2 else int(rng.integers(groups))
        shape = (1 if group is None else steps, widths)
        found.append(
            Layer(group, rng.normal(0.3, 1.0, widths), rng.integers(0, 50, shape).astype(np.float64))
        )
    alone = rng.integers(0, 9, (groups, steps)).astype(np.float64)
    return Problem(rng.normal(0.3, 1.0, (groups, steps)), tuple(found), alone, float(rng.integers(0, 5)))


def all_choices(problem: Problem) -> Any:
    groups, steps = problem.group_loss.shape
    sizes = [range(len(layer.loss)) for layer in problem.layers]
    for chosen in itertools.product(range(steps), repeat=groups):
        for widths in itertools.product(*sizes):
            yield chosen, widths


def cost_by_hand(problem: Problem, chosen: Any, widths: Any) -> float:
    total = problem.fixed
    for group, t in enumerate(chosen):
        total += problem.group_cost[group, t]
    for layer, b in zip(problem.layers, widths, strict=True):
        total += layer.cost[0, b] if layer.group is None else layer.cost[chosen[layer.group], b]
    return float(total)


def loss_by_hand(problem: Problem, chosen: Any, widths: Any) -> float:
    total = sum(problem.group_loss[group, t] for group, t in enumerate(chosen))
    return float(total + sum(layer.loss[b] for layer, b in zip(problem.layers, widths, strict=True)))


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10_000), groups=st.integers(1, 3), layers=st.integers(1, 3), steps=st.integers(1, 3),
    widths=st.integers(1, 3), share=st.floats(0.0, 1.0),
)  # fmt: skip
def test_no_choice_is_better(
    seed: int, groups: int, layers: int, steps: int, widths: int, share: float
) -> None:
    problem = problem_of(seed, groups, layers, steps, widths)
    costs = {choice: cost_by_hand(problem, *choice) for choice in all_choices(problem)}
    least, most = min(costs.values()), max(costs.values())
    assert abs(smallest_cost(problem) - least) < 1e-9
    budget = least + share * (most - least)
    best = min(loss_by_hand(problem, *choice) for choice, cost in costs.items() if cost <= budget)
    found = allocate(problem, budget)
    assert found.cost == costs[found.steps, found.widths] <= budget
    assert abs(found.loss - loss_by_hand(problem, found.steps, found.widths)) < 1e-9
    assert abs(found.loss - best) < 1e-6


@settings(max_examples=40)
@given(seed=st.integers(0, 10_000), changes=st.integers(0, 4), share=st.floats(0.0, 1.0))
def test_no_neighbour_is_better(seed: int, changes: int, share: float) -> None:
    """With few changes allowed from a choice that fits the budget."""
    problem = problem_of(seed, 2, 2, 3, 2)
    costs = {choice: cost_by_hand(problem, *choice) for choice in all_choices(problem)}
    least, most = min(costs.values()), max(costs.values())
    budget = least + share * (most - least)
    start = next(choice for choice, cost in costs.items() if cost <= budget)
    found = allocate(problem, budget, near=Near(*start, changes))

    def moved(choice: Any) -> int:
        flat = [*zip(choice[0], start[0], strict=True), *zip(choice[1], start[1], strict=True)]
        return sum(a != b for a, b in flat)

    allowed = [c for c, cost in costs.items() if cost <= budget and moved(c) <= changes]
    assert moved((found.steps, found.widths)) <= changes
    assert abs(found.loss - min(loss_by_hand(problem, *choice) for choice in allowed)) < 1e-6


def test_costs_of_any_size() -> None:
    """S-ACE runs to 1e12: scaling must not let an allocation past its budget."""
    problem = problem_of(3, 3, 3, 3, 3)
    layers = tuple(Layer(layer.group, layer.loss, layer.cost * 1e11 + 1) for layer in problem.layers)
    large = Problem(problem.group_loss, layers, problem.alone * 1e11, problem.fixed)
    budget = smallest_cost(large) * 1.5
    found = allocate(large, budget)
    choices = [c for c in all_choices(large) if cost_by_hand(large, *c) <= budget]
    assert abs(found.loss - min(loss_by_hand(large, *c) for c in choices)) < 1e-6
    assert found.cost <= budget


def test_solver_tolerance_does_not_pass_the_budget() -> None:
    """One unit above a billion is within the solver's tolerance; the budget is not."""
    tempting = Layer(None, np.array([1.0, 0.5, 0.0]), np.array([[1e9, 1e9 + 1, 1e9 + 2]]))
    assert allocate(Problem(np.zeros((0, 1)), (tempting,)), 1e9).widths == (0,)
    assert allocate(Problem(np.zeros((0, 1)), (tempting,)), 1e9 + 1).widths == (1,)


def test_unreachable_budget_says_the_smallest() -> None:
    problem = problem_of(1, 2, 2, 2, 2)
    least = smallest_cost(problem)
    with pytest.raises(ParameterError, match=f"budget must be at least {least:.6g}, .* got {least - 1:.6g}"):
        allocate(problem, least - 1)
    assert allocate(problem, least).cost == least
