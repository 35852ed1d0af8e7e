"""The option ``--plan`` of the commands that apply a budget plan."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..spec.errors import ParameterError

if TYPE_CHECKING:
    from ..bit_budget.plan import BudgetPlan

__all__ = [
    "add_plan_argument",
    "apply_to_nodes",
    "chosen_plan",
    "converted_by_plan",
    "quantized_by",
    "read_option",
]


def add_plan_argument(parser: argparse.ArgumentParser) -> None:
    """Declare ``--plan``."""
    parser.add_argument(
        "--plan", metavar="FILE",
        help="time steps, weight bits and route of a plan by spikepack budget plan; replaces --time-steps",
    )  # fmt: skip


def read_option(args: argparse.Namespace) -> BudgetPlan | None:
    """The plan that ``--plan`` names, if it is given.

    Raises:
        ExchangeFileError: The file is no plan.
    """
    if args.plan is None:
        return None
    from ..bit_budget.plan import read_plan

    return read_plan(args.plan)


def apply_to_nodes(network: Any, plan: BudgetPlan, path: str) -> None:
    """Give a network of nodes its plan's time steps and weight bits, in place.

    Raises:
        ParameterError: It was trained with a plan already.
    """
    from ..bit_budget.plan import apply_plan

    if getattr(network, "config", {}).get("plan"):
        raise ParameterError(
            f"--plan {path}: must be for a network trained without a plan, got one whose file holds its own; "
            "leave the option out."
        )
    apply_plan(network, plan)


def converted_by_plan(source: Any, batches: Any, plan: BudgetPlan, path: str) -> Any:
    """The converted, quantized network of a plan, for the integer form.

    Raises:
        ParameterError: The plan converts by the module tree, which has no integer form.
    """
    from ..bit_budget.plan import convert_with_plan

    if plan.route != "fx":
        raise ParameterError(
            f"--plan {path}: must convert by the route fx, got {plan.route!r}, whose networks have no "
            "integer form; plan again with --route fx."
        )
    return convert_with_plan(source, batches, plan)


def chosen_plan(args: argparse.Namespace, source: Any, steps: Any) -> tuple[BudgetPlan | None, Any]:
    """The plan, if one is asked for, and its time steps, else ``steps``.

    The options of the conversion become those the plan was made with.

    Raises:
        ExchangeFileError: The file is no plan.
        ParameterError: It was made for another network, or an option contradicts it.
    """
    plan = read_option(args)
    if plan is None:
        return None, steps
    plan.check_source(source, f"--plan {args.plan}")
    if args.sweep or args.error_bound is not None or args.time_steps == "auto":
        raise ParameterError(
            "--plan must come without --sweep, --error-bound and --time-steps auto, got one of them: the "
            "plan has chosen; leave it out."
        )
    if plan.route == "spiking":
        raise ParameterError(
            f"--plan {args.plan}: must be made for a network to convert, got one for a network of spiking "
            "nodes; apply it by apply_plan."
        )
    args.route = plan.route
    for name in ("calibrator", "channel_wise"):
        setattr(args, name, plan.conversion.get(name, getattr(args, name)))
    return plan, plan.steps_by_name


def quantized_by(plan: BudgetPlan | None, network: Any) -> Any:
    """The network with the weights of a plan, if there is one, as plain values."""
    if plan is None:
        return network
    from ..bit_budget.plan import apply_plan
    from ..bit_budget.quantize import bake_weights

    return bake_weights(apply_plan(network, plan))
