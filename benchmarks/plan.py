"""Planned against uniform allocation on the embedded digits: accuracy at equal S-ACE and the reverse.

Both sides choose on training images by the divergence from the float network, and are measured on the test
images; fine-tuning, where it is on, is the same for both. Where networks are fine-tuned, a third plan is
chosen for that: its candidates rehearse the fine-tuning on four fifths of the training images and are
compared on the rest.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikejelly_pack.bit_budget.plan import BudgetPlan, Planner, plan_tuned
from spikejelly_pack.bit_budget.plan.search import Uniform
from spikejelly_pack.bit_budget.quantize import bake_weights
from spikejelly_pack.cli.demo.digits import train
from spikejelly_pack.data import Split, digits
from spikejelly_pack.recipes import finetune
from spikejelly_pack.spec.errors import ParameterError

__all__ = ["FAST", "run", "table"]

FAST: dict[str, Any] = {
    "seeds": (0,), "epochs": 1, "budgets": (4.0,), "tuned": (4.0,), "tuning_epochs": 1, "steps": (1, 2),
    "bits": (2, 4), "calibration": 64,
}  # fmt: skip
BATCH = 64
#: Uniform choices of up to so many times the largest tuned budget are tuned too.
TUNED_UP_TO = 2
#: Points below the float network at which the cheapest network of each kind is compared.
LOST = (20.0, 10.0, 5.0, 2.0, 1.0, 0.5)
_COLUMNS = (
    ("accuracy", "uniform"), ("accuracy", "plan"), ("tuned", "uniform"), ("tuned", "plan"),
    ("tuned", "for_tuning"),
)  # fmt: skip
#: What a goal is about -> the plan, and its accuracy.
_KINDS = {
    "converted": ("plan", "accuracy"),
    "tuned": ("plan", "tuned"),
    "planned for tuning": ("for_tuning", "tuned"),
}
Say = Callable[[str], None]


def run(
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 8,
    budgets: Sequence[float] = (1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 5.5, 6, 6.5, 7, 8, 9, 12, 16),
    tuned: Sequence[float] = (1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6),
    tuning_epochs: int = 3,
    steps: Sequence[int] = (1, 2, 3, 4, 6),
    bits: Sequence[int] = (1, 2, 3, 4, 6, 8),
    calibration: int = 512,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Train, plan and compare.

    Args:
        seeds: Of the trained networks.
        epochs: Of their training.
        budgets: S-ACE per multiply-accumulate: 8 is what T = 2 with 4-bit weights cost everywhere.
        tuned: Those of them that are fine-tuned too.
        tuning_epochs: Of fine-tuning, by distillation from the float network.
        steps: Values of T on offer.
        bits: Weight widths on offer.
        calibration: Training images that calibrate, measure and choose.
        progress: Called with one line per stage.

    Returns:
        Per seed and budget: accuracy in per cent and S-ACE of both, plans, and what the goals say.

    Raises:
        ParameterError: There is no seed or no budget.
    """
    if not seeds or not budgets:
        raise ParameterError(
            "bench plan: seeds and budgets must hold at least one value, got none; name some."
        )
    say = progress or (lambda _: None)
    data = digits()
    networks = []
    for seed in seeds:
        say(f"seed {seed}: training")
        source = train(data, seed, epochs)
        planner = Planner(
            source,
            [data.train_inputs[:calibration]],
            held_out=[data.train_inputs[_rehearsed(data) :]],
            steps=steps,
            bits=bits,
            progress=False,
            channel_wise=True,
        )
        networks.append(_compare(planner, data, budgets, tuned, tuning_epochs, f"seed {seed}", say))
    return {
        "networks": networks,
        "goals": _goals(networks),
        "settings": {
            "seeds": list(seeds), "epochs": epochs, "budgets": list(budgets), "tuned": list(tuned),
            "tuning_epochs": tuning_epochs, "steps": list(steps), "bits": list(bits),
            "calibration": calibration,
        },
        "machine": {"processor": platform.processor() or platform.machine(), "torch": torch.__version__},
    }  # fmt: skip


def _compare(
    planner: Planner,
    data: Split,
    budgets: Sequence[float],
    tuned: Sequence[float],
    epochs: int,
    name: str,
    say: Say,
) -> dict[str, Any]:
    def accuracy(net: nn.Module) -> float:
        with torch.no_grad():
            return 100 * float((net(data.test_inputs).argmax(1) == data.test_classes).float().mean())

    def score(plan: BudgetPlan, training: bool) -> float:
        net = planner.network(plan, training=training)
        if training:
            finetune(net, _shuffled(data.train_inputs), teacher=planner.model, epochs=epochs, progress=False)
        return accuracy(bake_weights(net))

    def after(one: Uniform) -> float | None:
        cheap = one.cost <= TUNED_UP_TO * max(tuned, default=0) * macs
        return score(planner.uniform_plan(one, one.cost), True) if cheap else None

    def rehearse(net: nn.Module) -> None:
        images = _shuffled(data.train_inputs[: _rehearsed(data)])
        finetune(net, images, teacher=planner.model, epochs=epochs, progress=False)

    macs = sum(place.macs for place in planner.structure.layers)
    say(f"{name}: every uniform choice")
    everywhere = planner.search.uniform()
    uniform = [
        {"time_steps": u.time_steps, "weight_bits": u.weight_bits, "cost": u.cost / macs, "loss": u.loss,
         "accuracy": score(planner.uniform_plan(u, u.cost), False), "tuned": after(u)}
        for u in everywhere
    ]  # fmt: skip
    rows = []
    for budget in budgets:
        say(f"{name}: budget {budget:g}")
        plan, best = planner.plan(budget * macs), planner.uniform(budget * macs)
        sides: dict[str, BudgetPlan | None] = {
            "plan": plan, "uniform": None if best is None else planner.uniform_plan(best, budget * macs),
        }  # fmt: skip
        if budget in tuned:
            sides["for_tuning"] = plan_tuned(planner, budget * macs, rehearse, progress=False)
        row: dict[str, Any] = {"budget": budget}
        for side, chosen in sides.items():
            row[side] = None if chosen is None else {
                "cost": chosen.cost / macs, "accuracy": score(chosen, False),
                "tuned": score(chosen, True) if budget in tuned else None,
                "time_steps": chosen.time_steps, "weight_bits": chosen.weight_bits,
            }  # fmt: skip
        rows.append(row)
    return {"macs": macs, "float": accuracy(planner.model), "uniform": uniform, "budgets": rows}


def _rehearsed(data: Split) -> int:
    """Training images that candidates are tuned on; the rest judges them."""
    return len(data.train_inputs) * 4 // 5


class _Shuffled:
    """Batches in another order in every pass, drawn from torch's generator (which finetune seeds)."""

    def __init__(self, inputs: Tensor) -> None:
        self.inputs = inputs

    def __iter__(self) -> Any:
        order = torch.randperm(len(self.inputs))
        return iter(self.inputs[order[: len(order) // BATCH * BATCH]].split(BATCH))


def _shuffled(inputs: Tensor) -> _Shuffled:
    return _Shuffled(inputs)


def _goals(networks: list[dict[str, Any]]) -> dict[str, Any]:
    """Points gained at equal S-ACE, and the share of S-ACE saved at equal accuracy; lists hold the networks.

    Equal: budgets that the best uniform choice of every network spends whole.
    """
    gained: dict[str, dict[str, list[float]]] = {name: {} for name in _KINDS}
    for index, row in enumerate(networks[0]["budgets"]):
        for name, (side, key) in _KINDS.items():
            rows = [n["budgets"][index] for n in networks]
            spent = all(r["uniform"] and r["uniform"]["cost"] > 0.999 * r["budget"] for r in rows)
            if spent and all(r.get(side) and r[side][key] is not None for r in rows):
                gained[name][f"{row['budget']:g}"] = [r[side][key] - r["uniform"][key] for r in rows]
    saved = {
        name: {f"{lost:g}": found for lost in LOST if (found := [_saved(n, lost, *kind) for n in networks])}
        for name, kind in _KINDS.items()
    }
    return {"points_gained": gained, "saved_at_points_lost": saved}


def _saved(network: dict[str, Any], lost: float, side: str, key: str) -> float | None:
    """Of the cheapest uniform choice within so many points of the float network; None where there is none."""
    wanted = network["float"] - lost
    flat = [u["cost"] for u in network["uniform"] if (u[key] or 0) >= wanted]
    found = [r[side]["cost"] for r in network["budgets"] if r.get(side) and (r[side][key] or 0) >= wanted]
    return 1 - min(found) / min(flat) if flat and found else None


def table(result: dict[str, Any]) -> str:
    """Format :func:`run`'s result as Markdown."""
    networks = result["networks"]
    lines = [
        "| S-ACE / MAC | uniform T x b_w | uniform | planned | tuned: uniform | planned | planned for it |",
        "|---|---|---|---|---|---|---|",
    ]
    for index, row in enumerate(networks[0]["budgets"]):
        rows = [n["budgets"][index] for n in networks]
        shapes = {_shape(r["uniform"]) for r in rows}
        found = [[r[side][key] if r.get(side) else None for r in rows] for key, side in _COLUMNS]
        cells = [", ".join(f"{value:.1f}" for value in values if value is not None) for values in found]
        lines.append(f"| {row['budget']:g} | {', '.join(sorted(shapes))} | {' | '.join(cells)} |")
    goals = result["goals"]
    for name, gains in goals["points_gained"].items():
        if gains:
            listed = ", ".join(f"{_mean(found):+.1f} at {budget}" for budget, found in gains.items())
            lines.append(f"\n{name}: points gained at equal S-ACE, mean: {listed}")
    for name, levels in goals["saved_at_points_lost"].items():
        shares = {lost: [s for s in found if s is not None] for lost, found in levels.items()}
        listed = ", ".join(f"{100 * _mean(s):.0f} % at {lost} points lost" for lost, s in shares.items() if s)
        if listed:
            lines.append(f"\n{name}: S-ACE saved at equal accuracy, mean: {listed}")
    return "\n".join(lines)


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _shape(side: dict[str, Any] | None) -> str:
    if side is None:
        return "-"
    return f"{max(side['time_steps'].values())} x {max(side['weight_bits'].values())}"
