"""``spikepack export``: a PyTorch model to an exchange file, converted on the way if need be."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from ..spec.errors import ParameterError, ShapeError, UnsupportedError
from .inputs import load_data
from .plan_option import add_plan_argument, apply_to_nodes, converted_by_plan, read_option

if TYPE_CHECKING:
    from torch import Tensor

    from ..bit_budget.plan import BudgetPlan
    from ..spec.graph import Network

__all__ = ["HELP", "add_arguments", "run"]

HELP = "write the integer form of a model to an exchange file (.spk)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "model",
        metavar="MODEL",
        help="FILE.py:FUNCTION, package.module:FUNCTION (returns the trained module), torchvision:NAME, or a "
        "file: of spikepack train (.ckpt, .safetensors) or of spikepack convert (FX route)",
    )
    parser.add_argument(
        "--data", required=True, metavar="FILE",
        help="inputs [N, *] as .npy (calibration and golden samples), or: digits (the embedded ones); with "
        "--windows: [W, N, *], or: events (the embedded clips, W = 8); for a file of spikepack convert also "
        "its folder of images",
    )  # fmt: skip
    parser.add_argument("--out", required=True, metavar="FILE", help="exchange file to write, e.g. net.spk")
    parser.add_argument(
        "--weights",
        metavar="FILE|NAME",
        help="state dict (.safetensors, .pth), or torchvision's weights by name, loaded into the model first",
    )
    parser.add_argument(
        "--time-steps",
        type=int,
        default=4,
        metavar="T",
        help="T for a model without SpikePack nodes, 1..16 (default: 4)",
    )
    parser.add_argument(
        "--windows", type=int, default=1, metavar="W",
        help="windows of one sample, e.g. real time steps of event data; nodes with a leak carry from one to "
        "the next (default: 1)",
    )  # fmt: skip
    parser.add_argument(
        "--calibrator", default="mse", help="mse, max, percentile, e.g. 99.9%%, or divergence (default: mse)"
    )
    _add_widths(parser)
    add_plan_argument(parser)
    parser.add_argument(
        "--adaptive-rounding", action="store_true",
        help="round weights so that sums err least on the data (first 512 samples)",
    )  # fmt: skip


def _add_widths(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weight-bits", type=int, metavar="B", help="width of a weight, 2..16 (default: the target's, or 8)"
    )
    parser.add_argument(
        "--state-bits", type=int, metavar="B",
        help="width of a membrane, 8..32 (default: the target's, or 24)",
    )  # fmt: skip
    parser.add_argument(
        "--target", metavar="DEVICE",
        help="prove, whatever the input, that the network keeps the limits of a device: loihi2, generic_fpga "
        "or a target file (.json)",
    )  # fmt: skip


def _clips() -> Tensor:
    """The embedded clips of events, windows first."""
    from ..data import event_digits

    return event_digits().test_inputs.transpose(0, 1)


def _frames(data: Tensor, args: argparse.Namespace) -> Tensor:
    """All windows of all samples as ``[N, *]``, which is what calibration sees.

    Raises:
        ParameterError: ``--windows`` is not positive.
        ShapeError: The data have another number of windows.
    """
    if args.windows < 1:
        raise ParameterError(f"--windows must be >= 1, got {args.windows}; leave it out for one window.")
    if args.windows == 1:
        return data
    if data.ndim < 3 or len(data) != args.windows:
        raise ShapeError(
            f"{args.data}: must hold [{args.windows}, N, *] with --windows {args.windows}, got shape "
            f"{tuple(data.shape)}; put the windows first."
        )
    return data.flatten(0, 1)


def _model(args: argparse.Namespace, plan: BudgetPlan | None) -> Any:
    """The network that the command names: a user's own, a saved conversion, or one that was trained."""
    from ..tasks.models import build_model
    from ..tasks.saved import is_conversion, load_conversion
    from ..tasks.weights import load_weights, read_weights
    from ..train import load_network

    stored = args.model.endswith((".ckpt", ".safetensors"))
    trained = stored and not is_conversion(args.model)
    model: Any
    if trained:
        model = load_network(args.model)
    else:
        model = load_conversion(args.model)[0] if stored else build_model(args.model)
    if args.weights:
        load_weights(model, read_weights(args.weights, args.model))
    if plan is not None:
        plan.check_source(model, f"--plan {args.plan}")
        if plan.route == "spiking":
            apply_to_nodes(model, plan, args.plan)
    if trained and model.windowed and args.windows == 1:
        raise UnsupportedError(
            f"{args.model}: its real time steps are windows of one sample, and --windows must say how many, "
            "got none; add --windows W, with data [W, N, *]."
        )
    return model.one_window() if trained else model


def _converted(model: Any, args: argparse.Namespace, data: Tensor, plan: Any) -> Any:
    """The SNN of a model without SpikePack nodes, by the plan where there is one."""
    from spikingjelly.activation_based import ann2snn

    from ..recipes import SpikePackRecipe

    if plan is not None:
        snn = converted_by_plan(model, data.split(256), plan, args.plan)
    else:
        recipe = SpikePackRecipe(data.split(256), time_steps=args.time_steps, calibrator=args.calibrator)
        snn = ann2snn.Converter(recipe).convert(model)
    print(snn.report)
    return snn


def run(args: argparse.Namespace) -> dict[str, Any]:
    """Convert if the model has no SpikePack node, export, and say what was written."""
    from ..integer import export
    from ..neuron import SpikePackNode
    from ..spec.atomic import check_writable

    check_writable(args.out)
    data = _clips() if args.data == "events" else load_data(args.data, args.model)
    frames = _frames(data, args)
    plan = read_option(args)
    model = _model(args, plan)
    converted = not any(isinstance(module, SpikePackNode) for module in model.modules())
    if converted:
        model = _converted(model, args, frames, plan)
    count = 512 if args.adaptive_rounding else 64
    used = data[:count] if args.windows == 1 else data[:, :count]
    network = export(
        model, args.out, used, weight_bits=args.weight_bits, state_bits=args.state_bits,
        adaptive_rounding=args.adaptive_rounding, target=args.target, windows=args.windows,
    )  # fmt: skip
    return {
        "file": args.out,
        **_described(network, args.out),
        "converted": converted,
        **_on_target(network, args.target, used),
        **({} if plan is None else {"plan": args.plan, "weight_bits": plan.weight_bits}),
    }


def _described(network: Network, path: str) -> dict[str, Any]:
    """Size, widths and latency of what was written."""
    from ..spec.bounds import accumulator_widths

    widths = accumulator_widths(network)
    several = f"{network.windows} windows a sample, " if network.windows > 1 else ""
    weights = sum(int(op.weights().size) for op in network.synapses)
    print(
        f"{path}: T = {network.time_steps}, {several}{len(network.neurons)} populations, {weights} weights, "
        f"widest membrane {max(widths.values())} of {network.readouts[0].state_bits} bits, "
        f"latency {network.depth} windows"
    )
    return {
        "time_steps": network.time_steps,
        "windows": network.windows,
        "populations": [op.name for op in network.neurons],
        "weights": weights,
        "membrane_bits": widths,
        "latency_windows": network.depth,
    }


def _on_target(network: Network, target: str | None, data: Tensor) -> dict[str, Any]:
    """How far the network is from the limits of its target, the worst case and what the data cause."""
    from ..spec.execute import encode
    from ..spec.targets import check_target

    if target is None:
        return {}
    codes = {op.name: encode(op, data.numpy()) for op in network.inputs}
    report = check_target(network, target, codes)
    print(report)
    return {"target": report.to_json()}
