"""The allocation as an integer program: which time steps and weight bits cost least accuracy within a budget.

Two kinds of choices: every *group* of nodes takes one of the T offered, every *layer* one of the widths. A
layer reads the codes of one group, so what it costs depends on both choices, and an indicator for every pair
makes that linear::

    minimise    sum_g loss_g[t] x_gt + sum_l loss_l[b] y_ltb
    subject to  sum_t x_gt = 1,   sum_b y_ltb = x_{g(l) t}
                sum_g cost_g[t] x_gt + sum_l cost_l[t, b] y_ltb <= budget

Solved by scipy's HiGHS; no torch here. An integer program over losses per layer is the idea of Hubara et al.,
arXiv 2006.10518 (there for bits alone).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ...spec.errors import ParameterError, RunError

__all__ = ["Allocation", "Layer", "Near", "Problem", "allocate", "check_budget", "smallest_cost"]

FloatArray = npt.NDArray[np.float64]
_ATTEMPTS = 64  # choices within the solver's feasibility tolerance above the budget, each forbidden in turn


@dataclass(frozen=True)
class Layer:
    """One choice of weight bits.

    Attributes:
        group: Index of the group of nodes it reads, None for a layer whose cost no node decides.
        loss: ``[B]``, what each width costs in accuracy.
        cost: ``[T, B]`` (``[1, B]`` without a group), what it costs in the budget; not negative.
    """

    group: int | None
    loss: FloatArray
    cost: FloatArray


@dataclass(frozen=True)
class Problem:
    """An allocation problem.

    Attributes:
        group_loss: ``[G, T]``, what each choice of T costs in accuracy.
        layers: Layers, each with as many widths as its ``loss`` has.
        group_cost: ``[G, T]``, what it costs in the budget on its own (state memory), zeros else.
        fixed: Cost that no choice changes.
    """

    group_loss: FloatArray
    layers: tuple[Layer, ...]
    group_cost: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    fixed: float = 0.0

    @property
    def alone(self) -> FloatArray:
        """``group_cost``, zeros where none was given."""
        return self.group_cost if self.group_cost.size else np.zeros_like(self.group_loss)

    def cost(self, steps: tuple[int, ...], widths: tuple[int, ...]) -> float:
        """Cost of a choice, given as indices."""
        total = self.fixed + math.fsum(self.alone[g, t] for g, t in enumerate(steps))
        return total + math.fsum(
            layer.cost[0 if layer.group is None else steps[layer.group], b]
            for layer, b in zip(self.layers, widths, strict=True)
        )

    def loss(self, steps: tuple[int, ...], widths: tuple[int, ...]) -> float:
        """Predicted loss of a choice, given as indices."""
        total = math.fsum(self.group_loss[g, t] for g, t in enumerate(steps))
        return total + math.fsum(layer.loss[b] for layer, b in zip(self.layers, widths, strict=True))


@dataclass(frozen=True)
class Allocation:
    """A choice: index of T per group and of the width per layer, its predicted loss and its cost."""

    steps: tuple[int, ...]
    widths: tuple[int, ...]
    loss: float
    cost: float


@dataclass(frozen=True)
class Near:
    """Choices that differ in at most ``changes`` places; layers beyond ``widths`` are free."""

    steps: tuple[int, ...]
    widths: tuple[int, ...]
    changes: int


def smallest_cost(problem: Problem) -> float:
    """The least that any choice costs: groups are independent there, so each is minimised alone."""
    total = problem.fixed
    for group, alone in enumerate(problem.alone):
        read = [layer.cost.min(1) for layer in problem.layers if layer.group == group]
        total += float((alone + np.sum(read, axis=0)).min())
    return total + math.fsum(float(layer.cost.min()) for layer in problem.layers if layer.group is None)


def check_budget(problem: Problem, budget: float, owner: str = "budget plan") -> None:
    """Raise :class:`ParameterError` where no choice is as cheap as ``budget``; it says the smallest."""
    least = smallest_cost(problem)
    if not math.isfinite(budget) or budget < least:
        raise ParameterError(
            f"{owner}: the budget must be at least {least:.6g}, what the cheapest choice on offer costs, got "
            f"{budget:.6g}; raise it, or offer fewer time steps and weight bits."
        )


def allocate(
    problem: Problem, budget: float, *, near: Near | None = None, owner: str = "budget plan"
) -> Allocation:
    """The choice of least predicted loss whose cost is at most ``budget``.

    Args:
        problem: Tables of losses and costs.
        budget: Largest cost.
        near: Look only at choices that differ from ``near.steps`` and ``near.widths`` in at most
            ``near.changes`` places; one of them must fit the budget.
        owner: Name for messages.

    Raises:
        ParameterError: No choice is that cheap; the message says the smallest reachable.
        RunError: The solver gave up.
    """
    check_budget(problem, budget, owner)
    index, cost = _Index(problem), math.inf
    for _ in range(_ATTEMPTS):
        steps, widths = index.solve(budget, near, owner)
        cost = problem.cost(steps, widths)
        if cost <= budget:
            return Allocation(steps, widths, problem.loss(steps, widths), cost)
        index.forbid(steps, widths)  # the solver's tolerance let it past
    raise RunError(f"{owner}: the solver must respect the budget {budget:.6g}, got {cost:.6g}; report it.")


class _Index:
    """Variables by number, and the constraints they stand in."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        groups, options = problem.group_loss.shape
        self.x = np.arange(groups * options).reshape(groups, options)
        start = self.x.size
        self.y: list[npt.NDArray[np.int64]] = []
        for layer in problem.layers:
            self.y.append(np.arange(start, start + layer.cost.size).reshape(layer.cost.shape))
            start += layer.cost.size
        self.size = start
        self._forbidden: list[FloatArray] = []

    def forbid(self, steps: tuple[int, ...], widths: tuple[int, ...]) -> None:
        """Leave one choice out from now on."""
        self._forbidden.append(self._kept(Near(steps, widths, 0))[0])

    def solve(self, budget: float, near: Near | None, owner: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Chosen indices."""
        from scipy.optimize import Bounds, LinearConstraint, milp

        rows, right = self._equalities()
        cost, loss = self._tables()
        scale = max(budget, 1e-300)
        room = (budget - self.problem.fixed) / scale
        constraints: list[Any] = [LinearConstraint(cost[None] / scale, -np.inf, room)]
        if len(right):
            constraints.append(LinearConstraint(rows, lb=right, ub=right))  # pyright: ignore[reportArgumentType]
        if near is not None:
            kept, count = self._kept(near)
            constraints.append(LinearConstraint(kept[None], count - near.changes, np.inf))
        for row in self._forbidden:
            constraints.append(LinearConstraint(row[None], -np.inf, len(self.x) + len(self.y) - 1))
        size = float(np.abs(loss).max(initial=0.0)) or 1.0
        found = milp(
            loss / size, integrality=np.ones(self.size), bounds=Bounds(0, 1), constraints=constraints,
            options={"mip_rel_gap": 0.0},
        )  # fmt: skip
        if found.x is None:
            raise RunError(f"{owner}: HiGHS must find an allocation, got: {found.message}; report it.")
        steps = tuple(int(found.x[row].argmax()) for row in self.x)
        widths = tuple(int(found.x[table].sum(0).argmax()) for table in self.y)
        return steps, widths

    def _kept(self, near: Near) -> tuple[FloatArray, int]:
        """A row that counts the places that stay as they are."""
        row = np.zeros(self.size)
        for group, t in enumerate(near.steps):
            row[self.x[group, t]] = 1.0
        for table, b in zip(self.y, near.widths, strict=False):
            row[table[:, b]] = 1.0
        return row, len(near.steps) + len(near.widths)

    def _tables(self) -> tuple[FloatArray, FloatArray]:
        cost, loss = np.zeros(self.size), np.zeros(self.size)
        cost[self.x], loss[self.x] = self.problem.alone, self.problem.group_loss
        for table, layer in zip(self.y, self.problem.layers, strict=True):
            cost[table] = layer.cost
            loss[table] = np.broadcast_to(layer.loss, table.shape)
        return cost, loss

    def _equalities(self) -> tuple[FloatArray, FloatArray]:
        rows, right = [], []
        for group in self.x:
            rows.append(self._row({int(v): 1.0 for v in group}))
            right.append(1.0)
        for table, layer in zip(self.y, self.problem.layers, strict=True):
            for t, line in enumerate(table):
                row = {int(v): 1.0 for v in line}
                if layer.group is not None:
                    row[int(self.x[layer.group, t])] = -1.0
                rows.append(self._row(row))
                right.append(0.0 if layer.group is not None else 1.0)
        return np.array(rows).reshape(len(rows), self.size), np.array(right)

    def _row(self, entries: dict[int, float]) -> FloatArray:
        row = np.zeros(self.size)
        row[list(entries)] = list(entries.values())
        return row
