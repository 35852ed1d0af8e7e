"""``spikepack budget plan``: time steps per node and weight bits per layer within a budget."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..spec.errors import ParameterError
from .convert import add_data_arguments, chosen_device, chosen_task, opened, preprocessing_options

if TYPE_CHECKING:
    from ..bit_budget.plan import BudgetPlan, Planner

__all__ = ["HELP", "add_arguments", "run"]

HELP = "choose time steps and weight bits per layer within a budget; convert and train apply the plan"
#: Share of the batches that only the final check reads: one in four.
_HELD_OUT = 4
_BUDGETS = {"max_sace": "sace", "max_memory": "memory", "max_energy": "energy"}
_TRAINED = (".ckpt", ".safetensors")
#: Budgets of the front, as factors of the one asked for.
_FRONT = (0.5, 0.7, 1.0, 1.4, 2.0, 3.0)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="FILE.py:FUNCTION, package.module:FUNCTION (returns the trained module), torchvision:NAME, or a "
        "network that spikepack train wrote",
    )
    parser.add_argument("--weights", metavar="FILE|NAME", help="state dict, or torchvision's weights by name")
    parser.add_argument("--classes", type=int, metavar="N", help="outputs of the torchvision model")
    add_data_arguments(parser)
    limit = parser.add_mutually_exclusive_group(required=True)
    limit.add_argument("--max-sace", type=float, metavar="X", help="S-ACE per inference")
    limit.add_argument(
        "--max-memory", type=float, metavar="BITS", help="of weights and of one code per value"
    )
    limit.add_argument("--max-energy", type=float, metavar="X", help="arithmetic energy, in the table's unit")
    parser.add_argument(
        "--energy-table", "--energy", metavar="FILE", help="for --max-energy (default: horowitz_45nm)"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="plan file to write, e.g. plan.json")
    parser.add_argument("--figure", metavar="FILE", help="draw the Pareto front here (SVG)")
    _add_choices(parser)


def _add_choices(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--steps",
        default="1,2,3,4,5,6,8",
        metavar="T,T,..",
        help="time steps on offer (default: %(default)s)",
    )
    parser.add_argument(
        "--bits",
        default="1,2,3,4,5,6,8",
        metavar="B,B,..",
        help="weight bits on offer (default: %(default)s)",
    )
    parser.add_argument(
        "--route", default="auto", choices=("auto", "fx", "module"), help="how to convert (default: auto)"
    )
    parser.add_argument("--calibrator", default="mse", help="as in spikepack convert (default: mse)")
    parser.add_argument("--channel-wise", action="store_true", help="one threshold per channel")
    parser.add_argument(
        "--tune", type=int, default=0, metavar="EPOCHS",
        help="choose for training afterwards: distil candidates for so many passes first (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--samples", type=int, default=256, metavar="N",
        help="images to plan with, a quarter of them for the check only (default: 256)",
    )  # fmt: skip


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Plan, write the file and print what was chosen."""
    from ..bit_budget.plan import Planner, write_plan
    from ..bit_budget.plan.resources import RESOURCES, energy_resource
    from ..spec.atomic import check_writable
    from ..spec.energy import load_energy_table

    for path in filter(None, (args.out, args.figure)):
        check_writable(path)
    resource, budget = next(
        (name, getattr(args, key)) for key, name in _BUDGETS.items() if getattr(args, key) is not None
    )
    given = RESOURCES[resource]
    if args.energy_table:
        given = energy_resource(load_energy_table(args.energy_table))
    model, batches = _model_and_data(args)
    held = batches[len(batches) - len(batches) // _HELD_OUT :]
    planner = Planner(
        model, batches[: len(batches) - len(held)], held_out=held or None, resource=resource,
        measure_by=given, steps=_numbers("--steps", args.steps), bits=_numbers("--bits", args.bits),
        route=args.route, name=args.model, calibrator=args.calibrator, channel_wise=args.channel_wise,
    )  # fmt: skip
    plan = _planned(planner, budget, args.tune)
    front = [budget * factor for factor in _FRONT if budget * factor >= planner.search.smallest]
    plan.pareto = planner.pareto(front)
    write_plan(plan, args.out)
    print(_table(plan, planner))
    print(_summary(plan, given.unit, args.out))
    if args.figure:
        from ..bit_budget.plan.figure import draw_front

        draw_front(planner, front, args.figure)
        print(args.figure)
    return {
        "file": args.out, "resource": resource, "budget": budget, "cost": plan.cost, "loss": plan.loss,
        "agreement": plan.agreement, "uniform": plan.uniform, "time_steps": plan.time_steps,
        "weight_bits": plan.weight_bits, "pareto": plan.pareto, "route": plan.route,
    }  # fmt: skip


def _planned(planner: Planner, budget: float, epochs: int) -> BudgetPlan:
    """The plan for the network as it is, or for one that is trained afterwards."""
    if not epochs:
        return planner.plan(budget)
    from ..bit_budget.plan import plan_tuned
    from ..recipes import finetune

    def tune(net: Any) -> None:
        finetune(net, planner.data, teacher=planner.model, epochs=epochs, progress=False)

    return plan_tuned(planner, budget, tune)


def _model_and_data(args: argparse.Namespace) -> tuple[Any, list[Any]]:
    """The trained network on its device, and batches of inputs."""
    from ..tasks.models import build_model, task_of
    from ..tasks.weights import load_weights, read_weights

    device = chosen_device(args.device)
    options = {} if args.classes is None else {"classes": args.classes}
    weights = read_weights(args.weights, args.model) if args.weights else None
    if args.model.endswith(_TRAINED):
        from ..train import load_network

        model = load_network(args.model)
    else:
        model = build_model(args.model, {**(weights.options if weights else {}), **options})
    if weights is not None:
        load_weights(model, weights)
    model = model.to(device).eval()
    if (inputs := _inputs(args.data)) is not None:
        return model, [x.to(device) for x in inputs[: args.samples].split(max(1, args.batch))]
    task = chosen_task(args, task_of(args.model))
    if task == "detection":
        raise ParameterError(
            "budget plan: --task must be classification or segmentation, got detection, whose boxes cannot "
            "be compared one by one; plan its backbone as a network of its own."
        )
    how = preprocessing_options(args, weights)
    voc = task == "segmentation" and weights is not None and "_VOC_" in weights.source
    data = opened(args, task, how, voc, args.samples)
    return model, [images.to(device) for images, _ in data]


def _inputs(name: str) -> Any:
    """Training inputs of embedded data, or those of an ``.npy`` file; None for a folder."""
    if name in ("digits", "events"):
        from ..data import digits, event_digits

        return (digits() if name == "digits" else event_digits()).train_inputs
    if name.endswith(".npy"):
        from .inputs import load_data

        return load_data(name)
    return None


def _numbers(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise ParameterError(f"{option} must be whole numbers such as 1,2,4, got {text!r}.") from None


def _table(plan: BudgetPlan, planner: Planner) -> str:
    """One line per layer: what it reads, its T and b_w."""
    groups = planner.structure.groups
    lines = [f"{'layer':32} {'MACs':>12} {'reads':32} {'T':>2} {'b_w':>3}"]
    for place in planner.structure.layers:
        nodes = () if place.group is None else groups[place.group].nodes
        steps = plan.time_steps[nodes[0]] if nodes else ""
        read = " + ".join(nodes)[:32] or "analog"
        lines.append(
            f"{place.path[:32]:32} {place.macs:12,d} {read:32} {steps:>2} {plan.weight_bits[place.path]:3d}"
        )
    return "\n".join(lines)


def _summary(plan: BudgetPlan, unit: str, out: str | Path) -> str:
    same = "" if plan.agreement is None else f", {plan.agreement:.1%} of the predictions kept"
    text = f"{out}: {plan.cost:,.0f} of {plan.budget:,.0f} {unit}; "
    text += f"{plan.loss['name']} {plan.loss['planned']:.4g}{same}"
    if plan.uniform is not None:
        best = plan.uniform
        text += (
            f"; the best uniform choice, T = {best['time_steps']} and {best['weight_bits']} bits, has "
            f"{best['loss']:.4g} at {best['cost']:,.0f}"
        )
    return text
