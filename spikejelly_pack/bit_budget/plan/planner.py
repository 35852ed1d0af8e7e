"""Plan a network: bank, structure, search, and a check of the network the plan really makes."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from ...recipes import convert
from ...recipes.tree.constants import tensors_in
from ...recipes.tree.recipe import inputs_of
from ...spec.errors import DtypeError, ParameterError
from ...spec.parameters import check_choice, check_time_steps
from ..quantize import bake_weights, check_bits
from .apply import apply_plan
from .bank import Bank, build_bank, is_spiking, retimed
from .losses import DIVERGENCE, LOSSES, agreement
from .plan_file import BudgetPlan, fingerprint
from .resources import RESOURCES, SACE, Resource
from .search import Found, Search, Uniform
from .structure import structure_of
from .threads import few_threads
from .trial import Measured, Trial

__all__ = ["BITS", "STEPS", "Planner"]

#: Offered where nothing else is said.
STEPS = (1, 2, 3, 4, 5, 6, 8)
BITS = (1, 2, 3, 4, 5, 6, 8)
_COUNTED = 64  # samples the structure is read from


@dataclass(frozen=True)
class Checked:
    """Loss and agreement of a real network on the data."""

    loss: float
    held_out: float | None
    agreement: float | None


class Planner:
    """Measures a network once and plans it for any number of budgets.

    Args:
        model: A trained network, or one of SpikePack nodes; a copy is planned for.
        data: Batches to calibrate and measure with: a tensor, or a tuple, list or dict that holds one first.
        held_out: Batches that only the final check reads; None: no such check.
        steps: Values of T on offer, 1..16.
        bits: Weight widths on offer, 1..16.
        resource: ``"sace"``, ``"memory"`` or ``"energy"``.
        measure_by: What the resource costs, where it is not the default (another energy table).
        loss: ``"divergence"`` for classes on axis 1, ``"error"`` for other outputs.
        route: As in :func:`.convert`.
        name: Of the model, for the plan.
        progress: Show bars.
        conversion: Further arguments of :func:`.convert`.

    Raises:
        ParameterError: An argument is outside its range.
        DtypeError: The data is empty.
    """

    def __init__(
        self,
        model: nn.Module,
        data: Iterable[Any],
        *,
        held_out: Iterable[Any] | None = None,
        steps: Sequence[int] = STEPS,
        bits: Sequence[int] = BITS,
        resource: str = SACE,
        measure_by: Resource | None = None,
        loss: str = DIVERGENCE,
        route: str = "auto",
        name: str | None = None,
        progress: bool = True,
        **conversion: Any,
    ) -> None:
        check_choice("budget plan", "resource", resource, tuple(RESOURCES))
        check_choice("budget plan", "loss", loss, tuple(LOSSES))
        self.steps = _offered("time steps", steps, check_time_steps)
        self.bits = _offered("weight bits", bits, check_bits)
        self.model, self.name = copy.deepcopy(model).eval(), name or type(model).__name__
        self.data = _batches(data)
        self.resource, self.loss_name, self.progress = resource, loss, progress
        self.conversion = conversion
        self.bank: Bank = build_bank(
            model, self.data, self.steps, progress=progress, route=route, **conversion
        )
        report: Any = getattr(self.bank[self.steps[0]], "report", None)
        self.route = "spiking" if is_spiking(model) else report.route
        first = _few(self.data[0])
        self.structure = structure_of(self.bank, _run, first, _samples(first))
        self._measured = Measured(self.model, self.data, _run, LOSSES[loss])
        self._held = (
            None if held_out is None else Measured(self.model, _batches(held_out), _run, LOSSES[loss])
        )
        self.trial = Trial(self.bank, self.structure, self.steps, self.bits)
        self.search = Search(
            self.trial, self.structure, self._measured, measure_by or RESOURCES[resource], progress=progress
        )
        self._macs = sum(place.macs for place in self.structure.layers) * _samples(self.data[0])
        self._found: dict[float, Found] = {}

    # -- results ------------------------------------------------------------------------------------

    def uniform(self, budget: float) -> Uniform | None:
        """The best uniform choice within a budget, None where none fits."""
        with few_threads(self._macs):
            fitting = [one for one in self.search.uniform() if one.cost <= budget]
        return min(fitting, key=lambda one: one.loss, default=None)

    def find(self, budget: float) -> Found:
        """The best choice found within a budget, as the search measured it.

        Raises:
            ParameterError: There is none; the message says the smallest reachable.
        """
        if budget not in self._found:
            with few_threads(self._macs):
                self._found[budget] = self.search.plan(budget)
        return self._found[budget]

    def plan(self, budget: float) -> BudgetPlan:
        """The plan for a budget, checked by running the network it makes.

        Raises:
            ParameterError: The budget is not reachable; the message says the smallest that is.
        """
        found = self.find(budget)
        uniform = self.uniform(budget)
        plan = self.as_plan(found, budget, uniform)
        checked = self._checked(plan)
        if uniform is not None and plan.route != "spiking":
            plan, checked = self._not_worse(plan, checked, uniform, budget)
        plan.loss = {"name": self.loss_name, "planned": checked.loss, "held_out": checked.held_out}
        plan.agreement = checked.agreement
        return plan

    def pareto(self, budgets: Sequence[float]) -> list[dict[str, float]]:
        """Cost and loss of the best choice within each budget."""
        found = [self.find(budget) for budget in budgets]
        return [{"cost": one.cost, "loss": one.loss} for one in found]

    def network(self, plan: BudgetPlan, *, training: bool = False) -> nn.Module:
        """The network of a plan, its weights behind quantizers."""
        if plan.route == "spiking":
            net = retimed(self.model, max(self.steps))
        else:
            net = convert(
                self.model, self.data, plan.steps_by_name, route=plan.route, progress=False, **self.conversion
            )
        return apply_plan(net, plan, training=training)

    def uniform_plan(self, one: Uniform, budget: float) -> BudgetPlan:
        """A uniform choice as a plan."""
        choice = self.search.same(self.steps.index(one.time_steps), self.bits.index(one.weight_bits))
        return self.as_plan(Found(choice, one.cost, one.loss), budget, one)

    # -- steps --------------------------------------------------------------------------------------

    def as_plan(self, found: Found, budget: float, uniform: Uniform | None) -> BudgetPlan:
        """A choice as a plan that nothing has checked yet."""
        steps = {
            path: self.steps[t]
            for group, t in zip(self.structure.groups, found.choice[0], strict=True)
            for path in group.nodes
        }
        places = self.structure.layers
        return BudgetPlan(
            self.name, self.route, fingerprint(self.model), steps,
            {place.path: self.bits[b] for place, b in zip(places, found.choice[1], strict=True)},
            {place.path: list(place.shape) for place in places},
            self.resource, float(budget), found.cost,
            uniform=None if uniform is None else {
                "time_steps": uniform.time_steps, "weight_bits": uniform.weight_bits, "cost": uniform.cost,
                "loss": uniform.loss,
            },
            conversion=dict(self.conversion),
            made_with={name: version(name) for name in ("torch", "scipy", "spikejelly-pack")},
        )  # fmt: skip

    def _checked(self, plan: BudgetPlan) -> Checked:
        with few_threads(self._macs):
            return self.judged(bake_weights(self.network(plan)).eval())

    def judged(self, net: nn.Module) -> Checked:
        """Loss and agreement of a network on the data."""
        data = self._held or self._measured
        same, total = data.sum(net, agreement) if self.loss_name == DIVERGENCE else (0, 0)
        held = None if self._held is None else self._held(net)
        return Checked(self._measured(net), held, same / total if total else None)

    def _not_worse(
        self, plan: BudgetPlan, checked: Checked, uniform: Uniform, budget: float
    ) -> tuple[BudgetPlan, Checked]:
        """The uniform choice instead, should the real networks turn out the other way round."""
        other = self.uniform_plan(uniform, budget)
        if other.time_steps == plan.time_steps and other.weight_bits == plan.weight_bits:
            return plan, checked
        seen = self._checked(other)
        return (other, seen) if seen.loss < checked.loss else (plan, checked)


def _offered(name: str, values: Sequence[int], check: Any) -> tuple[int, ...]:
    found = tuple(sorted({check(value, "budget plan") for value in values}))
    if not found:
        raise ParameterError(f"budget plan: {name} must offer at least one value, got none; name some.")
    return found


def _batches(data: Iterable[Any]) -> list[Any]:
    batches = [batch for batch in data if next(tensors_in(batch), None) is not None]
    if not batches:
        raise DtypeError("budget plan: the data must hold at least one batch, got none; pass some.")
    return batches


def _run(net: nn.Module, batch: Any) -> Any:
    args, kwargs = inputs_of(batch)
    return net(*args, **kwargs)


def _few(batch: Any) -> Any:
    """The first samples of a batch that is a tensor, or holds one first; other batches as they are."""
    x = batch[0] if isinstance(batch, (tuple, list)) and batch else batch
    return x[:_COUNTED] if isinstance(x, torch.Tensor) else batch


def _samples(batch: Any) -> int:
    args, _ = inputs_of(batch)
    first = args[0] if args else batch
    return len(first)
