"""The plan: T per node and weight bits per layer, with what it was made for and what was measured."""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from torch import nn
from torch.nn.utils import parametrize

from ...spec.atomic import write_text
from ...spec.errors import ExchangeFileError, ParameterError
from ...spec.parameters import check_time_steps
from ...spec.reason import reason
from ..quantize.quantizers import check_bits

__all__ = ["FAULTS", "VERSION", "BudgetPlan", "checked_plan", "fingerprint", "read_plan", "write_plan"]

FORMAT, VERSION = "spikepack-plan", 1
_ROUTES = ("fx", "module", "spiking")
#: Options of a conversion that a file may set; others name code, files and devices of this machine.
_OPTIONS = {
    "calibrator", "channel_wise", "compare", "error_bound", "improve", "rounding", "share_calls", "strict",
}  # fmt: skip
#: What entries that no plan has make us and Python raise.
FAULTS = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)


@dataclass
class BudgetPlan:
    """Where the bits go.

    Attributes:
        model: Name or reference of the source network.
        route: ``"fx"`` or ``"module"`` (by :func:`.convert`), or ``"spiking"``: made for a network of nodes.
        fingerprint: Of the source network's parameters, see :func:`fingerprint`.
        time_steps: T by node path.
        weight_bits: b_w by layer path.
        shapes: Weight shape by layer path.
        resource: What was limited: ``"sace"``, ``"memory"`` or ``"energy"``.
        budget: The limit.
        cost: What the plan costs of it.
        loss: Measured distance from the source (name, value on the data planned with, value on data not used
            for it or None).
        agreement: Share of the source's predictions kept on that data, or None.
        uniform: The best uniform choice within the budget: T, b_w, cost, loss; None where none fits.
        pareto: Points ``{"cost", "loss"}`` of plans for other budgets.
        conversion: Arguments of :func:`.convert` besides T.
        made_with: Versions.
    """

    model: str
    route: str
    fingerprint: str
    time_steps: dict[str, int]
    weight_bits: dict[str, int]
    shapes: dict[str, list[int]]
    resource: str
    budget: float
    cost: float
    loss: dict[str, Any] = field(default_factory=dict)
    agreement: float | None = None
    uniform: dict[str, Any] | None = None
    pareto: list[dict[str, float]] = field(default_factory=list)
    conversion: dict[str, Any] = field(default_factory=dict)
    made_with: dict[str, str] = field(default_factory=dict)

    @property
    def steps_by_name(self) -> dict[str, int]:
        """``time_steps`` as :func:`.convert` takes it; nodes that no synapse reads get the longest."""
        return {**self.time_steps, "*": max(self.time_steps.values())}

    def check_source(self, model: nn.Module, owner: str = "plan") -> None:
        """Refuse a source network other than the one planned for.

        Raises:
            ParameterError: Names or shapes of its parameters differ.
        """
        if fingerprint(model) != self.fingerprint:
            raise ParameterError(
                f"{owner}: the plan must be applied to the network it was made for, {self.model!r}, got a "
                f"{type(model).__name__} with other parameters; make a plan for it by spikepack budget plan."
            )


def fingerprint(model: nn.Module) -> str:
    """Of the names and shapes of a network's parameters, quantized ones by their layer's name."""
    layers: list[tuple[str, list[int]]] = []
    for path, module in model.named_modules():
        own: dict[str, Any] = dict(module.named_parameters(recurse=False, remove_duplicate=False))
        if parametrize.is_parametrized(module):
            own |= {str(name): getattr(module, str(name)) for name in module.parametrizations}  # type: ignore[union-attr]
        if "parametrizations" not in path.split("."):
            layers += [(f"{path}.{name}", list(x.shape)) for name, x in own.items()]
    return hashlib.sha256(json.dumps(sorted(layers)).encode()).hexdigest()


def write_plan(plan: BudgetPlan, path: str | os.PathLike[str]) -> None:
    """Write the file, whole or not at all; raises :class:`OutputError` when it cannot."""
    content = {"format": FORMAT, "version": VERSION, **asdict(plan)}
    write_text(path, json.dumps(content, indent=2) + "\n")


def read_plan(path: str | os.PathLike[str]) -> BudgetPlan:
    """Read a plan file.

    Raises:
        ExchangeFileError: It is missing, no plan, of another version, or an entry is out of range.
    """
    if not Path(path).is_file():
        raise ExchangeFileError(f"{path}: must be a plan file that exists, got none; check the path.")
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        if found.pop("format") != FORMAT:
            raise ValueError("another format")
        version = found.pop("version")
        if version != VERSION:
            raise ExchangeFileError(
                f"{path}: must be of version {VERSION}, got {version}; plan again with this release."
            )
        return checked_plan(found)
    except FAULTS as error:
        if isinstance(error, ExchangeFileError):
            raise
        raise ExchangeFileError(
            f"{path}: must be written by spikepack budget plan, got {type(error).__name__}: "
            f"{reason(error)}; plan again."
        ) from None


def checked_plan(entries: dict[str, Any]) -> BudgetPlan:
    """The plan with these entries, which may come from a file.

    Raises:
        ValueError, TypeError, ...: What :data:`FAULTS` holds: an entry is missing, unknown or out of range.
    """
    plan = BudgetPlan(**entries)
    _check(plan)
    return plan


def _check(plan: BudgetPlan) -> None:
    if plan.route not in _ROUTES or not isinstance(plan.fingerprint, str) or not plan.time_steps:
        raise ValueError(f"route {plan.route!r} with {len(plan.time_steps)} nodes")
    for path, steps in plan.time_steps.items():
        check_time_steps(steps, f"node {path!r}")
    for path, bits in plan.weight_bits.items():
        check_bits(bits, f"layer {path!r}")
    if plan.weight_bits.keys() != plan.shapes.keys():
        raise ValueError("weight_bits and shapes name different layers")
    if unknown := sorted(set(plan.conversion) - _OPTIONS):
        raise ValueError(f"options of the conversion {unknown}")
    if not all(math.isfinite(float(value)) for value in (plan.budget, plan.cost)):
        raise ValueError("budget and cost must be numbers")
