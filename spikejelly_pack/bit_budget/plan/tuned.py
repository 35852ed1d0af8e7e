"""Plans for networks that are trained afterwards: candidates are trained for a while, then compared.

Sensitivities measured without training mislead there. Weights of one or two bits cost most of their accuracy
before training and little after it, so that a plan spends its budget where training would have mended. What
training leaves cannot be added up layer by layer, so whole candidates are trained and judged.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import nn
from tqdm import tqdm

from ..quantize import bake_weights
from .plan_file import BudgetPlan
from .planner import Checked, Planner
from .search import Found, Uniform
from .trial import Choice

__all__ = ["Tune", "candidates", "plan_tuned"]

#: Trains a network in place: distillation, for example.
Tune = Callable[[nn.Module], object]
#: Places that may differ from a uniform choice.
_CHANGES = (1, 2, 4)


def candidates(planner: Planner, budget: float) -> list[Found]:
    """Choices within a budget that may turn out best after training, each once.

    The best without training, every uniform choice that no other one exceeds in both T and width, and the
    best choices that differ from these in a few places.

    Raises:
        ParameterError: The budget is not reachable; the message says the smallest that is.
    """
    search = planner.search
    found = [planner.find(budget)]
    best = planner.uniform(budget)
    found += [] if best is None else [_found(planner, best)]
    for one in _largest([u for u in search.uniform() if u.cost <= budget]):
        found.append(_found(planner, one))
        found += [search.near(found[-1].choice, budget, changes) for changes in _CHANGES]
    return list({one.choice: one for one in found}.values())


def plan_tuned(planner: Planner, budget: float, tune: Tune, *, progress: bool = True) -> BudgetPlan:
    """The plan whose network is best after a while of training; never worse there than a uniform choice.

    Args:
        planner: Of the source network.
        budget: The limit.
        tune: Trains a network of quantized weights with learned scales, in place; alike for every candidate.
        progress: Show a bar.

    Returns:
        The plan. Its ``loss``, its ``agreement`` and the loss of its ``uniform`` are those after training.

    Raises:
        ParameterError: The budget is not reachable; the message says the smallest that is.
    """
    uniform = planner.uniform(budget)
    best: tuple[float, BudgetPlan, Checked] | None = None
    losses: dict[Choice, float] = {}
    tried = candidates(planner, budget)
    for found in tqdm(tried, desc="training candidates", unit="plan", disable=not progress, leave=False):
        plan = planner.as_plan(found, budget, uniform)
        net = planner.network(plan, training=True)
        tune(net)
        checked = planner.judged(bake_weights(net).eval())
        loss = checked.loss if checked.held_out is None else checked.held_out
        losses[found.choice] = checked.loss
        if best is None or loss < best[0]:
            best = loss, plan, checked
    assert best is not None
    _, plan, checked = best
    plan.loss = {
        "name": planner.loss_name, "planned": checked.loss, "held_out": checked.held_out,
        "trained": len(tried),
    }  # fmt: skip
    plan.agreement = checked.agreement
    if plan.uniform is not None and uniform is not None:
        plan.uniform["loss"] = losses[_found(planner, uniform).choice]
    return plan


def _found(planner: Planner, one: Uniform) -> Found:
    """A uniform choice as the search has it."""
    choice = planner.search.same(planner.steps.index(one.time_steps), planner.bits.index(one.weight_bits))
    return Found(choice, one.cost, one.loss)


def _largest(fitting: list[Uniform]) -> list[Uniform]:
    """Choices that no other one exceeds in one of T and width without falling short in the other."""

    def exceeded(one: Uniform) -> bool:
        size = one.time_steps, one.weight_bits
        others = ((other.time_steps, other.weight_bits) for other in fitting)
        return any(t >= size[0] and b >= size[1] and (t, b) != size for t, b in others)

    return [one for one in fitting if not exceeded(one)]
