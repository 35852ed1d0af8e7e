"""Apply a plan: convert with its time steps, quantize with its weight bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

from ...neuron import SpikePackNode
from ...recipes import convert
from ...spec.errors import ParameterError
from ..quantize import quantize_weights
from .bank import set_time_steps
from .plan_file import BudgetPlan

__all__ = ["apply_plan", "convert_with_plan"]


def convert_with_plan(
    model: nn.Module, data: Iterable[Any], plan: BudgetPlan, *, training: bool = False, **conversion: Any
) -> nn.Module:
    """The converted network a plan describes, its weights quantized.

    Args:
        model: The source network the plan was made for.
        data: Calibration batches.
        plan: The plan.
        training: Learn the scales of the weights too, for :func:`.finetune`.
        conversion: Arguments of :func:`.convert` that replace the plan's.

    Raises:
        ParameterError: It is another network.
    """
    plan.check_source(model)
    options = {**plan.conversion, **conversion}
    snn = convert(model, data, plan.steps_by_name, route=plan.route, **options)
    return apply_plan(snn, plan, training=training)


def apply_plan(net: nn.Module, plan: BudgetPlan, *, training: bool = False) -> nn.Module:
    """Give a network a plan's time steps and weight bits, in place; returns it.

    A converted network must have the plan's time steps already (``convert(time_steps=plan.steps_by_name)``):
    its thresholds were calibrated for them. A network of nodes that is trained gets them here.

    Args:
        net: A network with the plan's nodes and layers.
        plan: The plan.
        training: Learn the scales of the weights too (LSQ).

    Raises:
        ParameterError: The network has other nodes, layers or shapes, or calibrated thresholds for another T.
    """
    nodes = {path: module for path, module in net.named_modules() if isinstance(module, SpikePackNode)}
    shapes = _shapes(net, plan)
    missing = [path for path in plan.time_steps if path not in nodes]
    wrong = [path for path, shape in plan.shapes.items() if shapes.get(path) != shape]
    if missing or wrong:
        first = (missing or wrong)[0]
        raise ParameterError(
            f"plan: the network must have the nodes and layers the plan was made for ({plan.model!r}), got "
            f"none that fits {first!r} and {len(missing) + len(wrong) - 1} more; make a plan for it."
        )
    for path, steps in plan.time_steps.items():
        node = nodes[path]
        if node.time_steps == steps:
            continue
        if plan.route != "spiking":
            raise ParameterError(
                f"plan: node {path!r} must have T = {steps}, got {node.time_steps}, which its threshold is "
                "calibrated for; convert with time_steps=plan.steps_by_name."
            )
        set_time_steps(node, steps)
    quantize_weights(net, plan.weight_bits, training=training)
    return net


def _shapes(net: nn.Module, plan: BudgetPlan) -> dict[str, list[int]]:
    modules = dict(net.named_modules())
    found: dict[str, list[int]] = {}
    for path in plan.shapes:
        weight: Any = getattr(modules.get(path), "weight", None)
        if weight is not None:
            found[path] = list(weight.shape)
    return found
