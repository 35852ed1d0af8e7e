"""Where a network's bits are best spent: T per node and weight bits per layer within one budget.

``Planner(model, batches).plan(budget)`` measures, allocates by integer programming and checks;
``convert_with_plan`` and ``apply_plan`` use the result, ``read_plan`` and ``write_plan`` keep it.
"""

from __future__ import annotations

from .apply import apply_plan, convert_with_plan
from .plan_file import BudgetPlan, fingerprint, read_plan, write_plan
from .planner import Planner
from .resources import RESOURCES
from .tuned import plan_tuned

__all__ = [
    "RESOURCES",
    "BudgetPlan",
    "Planner",
    "apply_plan",
    "convert_with_plan",
    "fingerprint",
    "plan_tuned",
    "read_plan",
    "write_plan",
]
