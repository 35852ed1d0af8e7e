"""Networks whose time steps per node and weight bits per layer come from a budget plan."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ..bit_budget.plan import BudgetPlan, apply_plan
from ..bit_budget.plan.plan_file import FAULTS, checked_plan
from ..spec.errors import ParameterError
from ..spec.reason import reason
from .classifier import Classifier

__all__ = ["plan_of", "planned"]


def planned(net: Classifier, plan: BudgetPlan) -> Classifier:
    """Apply a plan in place, for training: quantized weights with learned scales (LSQ); returns the network.

    The plan goes into the network's description, so that its files rebuild it.

    Raises:
        ParameterError: The plan was made for another network.
    """
    apply_plan(net, plan, training=True)
    net.config = {**net.config, "plan": asdict(plan)}
    return net


def plan_of(config: Any, path: str) -> BudgetPlan:
    """The plan in a network's description.

    Raises:
        ParameterError: It is none.
    """
    try:
        return checked_plan(config)
    except FAULTS as error:
        raise ParameterError(
            f"{path}: the network's plan must be whole, got {reason(error)}; train again."
        ) from None
