"""Planned against uniform allocation on the embedded digits: accuracy at equal S-ACE and the reverse.

Both sides choose on training images by the divergence from the float network, and are measured on the test
images; fine-tuning, where it is on, is the same for both. Where networks are fine-tuned, a third plan is
chosen for that: its candidates are tuned on the calibration images alone and compared there.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spikejelly_pack.bit_budget.plan import BudgetPlan, Planner, plan_tuned
from spikejelly_pack.bit_budget.quantize import bake_weights
from spikejelly_pack.cli.demo.digits import train
from spikejelly_pack.data import digits
from spikejelly_pack.recipes import finetune
from spikejelly_pack.spec.errors import ParameterError

__all__ = ["FAST", "run", "table"]

FAST: dict[str, Any] = {
    "seeds": (0,), "epochs": 1, "budgets": (4.0,), "tuned": (4.0,), "tuning_epochs": 1, "steps": (1, 2),
    "bits": (2, 4), "calibration": 64,
}  # fmt: skip
BATCH = 64
#: Points below the float network at which the cheapest network of each kind is compared.
LOST = (20.0, 10.0, 5.0, 2.0, 1.0, 0.5)
_COLUMNS = (
    ("accuracy", "uniform"), ("accuracy", "plan"), ("tuned", "uniform"), ("tuned", "plan"),
    ("tuned", "for_tuning"),
)  # fmt: skip
Say = Callable[[str], None]


def run(
    seeds: Sequence[int] = (0,),
    epochs: int = 8,
    budgets: Sequence[float] = (2, 3, 4, 5, 6, 8, 10, 12, 16),
    tuned: Sequence[float] = (2, 4),
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
    data: Any,
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

    def briefly(net: nn.Module) -> None:
        images = _shuffled(torch.cat(planner.data))
        finetune(net, images, teacher=planner.model, epochs=epochs, progress=False)

    macs = sum(place.macs for place in planner.structure.layers)
    say(f"{name}: every uniform choice")
    everywhere = planner.search.uniform()
    uniform = [
        {"time_steps": u.time_steps, "weight_bits": u.weight_bits, "cost": u.cost / macs, "loss": u.loss,
         "accuracy": score(planner.uniform_plan(u, u.cost), False)}
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
            sides["for_tuning"] = plan_tuned(planner, budget * macs, briefly, progress=False)
        row: dict[str, Any] = {"budget": budget}
        for side, chosen in sides.items():
            row[side] = None if chosen is None else {
                "cost": chosen.cost / macs, "accuracy": score(chosen, False),
                "tuned": score(chosen, True) if budget in tuned else None,
                "time_steps": chosen.time_steps, "weight_bits": chosen.weight_bits,
            }  # fmt: skip
        rows.append(row)
    return {"macs": macs, "float": accuracy(planner.model), "uniform": uniform, "budgets": rows}


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
    """Means over the networks: points gained at each budget, and share of S-ACE saved at equal accuracy."""
    kinds = {
        "converted": ("plan", "accuracy"),
        "tuned": ("plan", "tuned"),
        "for_tuning": ("for_tuning", "tuned"),
    }
    gained: dict[str, dict[str, float]] = {name: {} for name in kinds}
    for index, row in enumerate(networks[0]["budgets"]):
        for name, (side, key) in kinds.items():
            pairs = [
                ((n["budgets"][index].get(side) or {}).get(key),
                 (n["budgets"][index]["uniform"] or {}).get(key))
                for n in networks
            ]  # fmt: skip
            if all(u is not None and p is not None for p, u in pairs):
                gained[name][f"{row['budget']:g}"] = sum(p - u for p, u in pairs) / len(pairs)
    saved: dict[str, list[float]] = {}
    for lost in LOST:
        for network in networks:
            wanted = network["float"] - lost
            flat = [u["cost"] for u in network["uniform"] if u["accuracy"] >= wanted]
            planned = [r["plan"]["cost"] for r in network["budgets"] if r["plan"]["accuracy"] >= wanted]
            if flat and planned:
                saved.setdefault(f"{lost:g}", []).append(1 - min(planned) / min(flat))
    return {"points_gained": gained, "saved_at_points_lost": saved}


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
        cells = [
            ", ".join("" if not r.get(side) or r[side][key] is None else f"{r[side][key]:.1f}" for r in rows)
            for key, side in _COLUMNS
        ]
        lines.append(f"| {row['budget']:g} | {', '.join(sorted(shapes))} | {' | '.join(cells)} |")
    goals = result["goals"]
    for name, gains in goals["points_gained"].items():
        if gains:
            listed = ", ".join(f"{gain:+.1f} at {budget}" for budget, gain in gains.items())
            lines.append(f"\n{name}: points gained by planning, mean: {listed}")
    saved = ", ".join(
        f"{100 * sum(shares) / len(shares):.0f} % at {lost} points lost"
        for lost, shares in goals["saved_at_points_lost"].items()
    )
    return "\n".join([*lines, f"\nS-ACE saved at equal accuracy, mean: {saved}"])


def _shape(side: dict[str, Any] | None) -> str:
    if side is None:
        return "-"
    return f"{max(side['time_steps'].values())} x {max(side['weight_bits'].values())}"
