"""ResNet-18 on a CPU: the ANN, its int8 form by torch.ao, the packed network and its integer form.

The network is torchvision's, converted by ``convert`` as a user would; weights are untrained, since time does
not depend on them. ``run()`` first checks that the packed network and its serial form are one function, and
that every code of the accelerated integer form equals the numpy reference, then times all contenders
interleaved in one process, so that ratios are of neighbours in time. The ANN runs as it comes (BatchNorm of
its own, eager) and in channels-last layout.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
import torchvision
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from benchmarks.measure import machine, ratio, spread
from benchmarks.measure import seconds as seconds_of
from spikejelly_pack import convert, decode_output, set_form
from spikejelly_pack.integer import build_integer
from spikejelly_pack.integer.accelerate import AcceleratedModel
from spikejelly_pack.ops.integer_products import measured_choices
from spikejelly_pack.spec.errors import ParameterError, RunError
from spikejelly_pack.spec.execute import encode, run_packed

__all__ = ["FAST", "GOALS", "run", "table"]

# A smoke test, no measurement.
FAST: dict[str, Any] = {"batches": (1,), "rounds": 1, "size": 32}
# Against the eager ANN in the same round: packed at most so much slower, integer at least so much faster.
GOALS = {"packed": 1.1, "integer": 1.3}
NAMES = {
    "ann": "ANN, eager",
    "ann_channels_last": "ANN, channels last",
    "ann_int8": "ANN int8 (torch.ao)",
    "packed": "SpikePack packed",
    "packed_channels_last": "packed, channels last",
    "integer": "integer form, `accelerate`",
}


def run(
    time_steps: int = 8,
    batches: Sequence[int] = (1, 16),
    rounds: int = 9,
    size: int = 224,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Check, then time the contenders.

    Args:
        time_steps: T.
        batches: Images per step, one measurement each.
        rounds: Timed rounds; each runs every contender once.
        size: Height and width of the images.
        seed: Seed of weights and images.
        progress: Called with one line per stage.

    Returns:
        Seconds per batch and contender, ratios to the eager ANN (median, min, max over rounds), goals, the
        routes of the integer form, and the machine. JSON-ready.

    Raises:
        ParameterError: A size is not positive.
        RunError: A form computes something else; nothing is timed.
    """
    for name, value in (("rounds", rounds), ("size", size), *(("batches", batch) for batch in batches)):
        if value < 1:
            raise ParameterError(f"bench cpu: {name} must be positive, got {value}; raise it.")
    say = progress or (lambda _: None)
    say("converting")
    torch.manual_seed(seed)
    ann = torchvision.models.resnet18().eval()
    images = torch.randn(max(*batches, 4), 3, size, size)
    snn = set_form(convert(ann, [images[:4]], time_steps=time_steps), "packed").eval()
    say("checking packed against serial")
    _check_forms(snn, images[:1], time_steps)
    network = build_integer(snn, images[:1], state_bits=32)
    integer = AcceleratedModel(network).eval()
    say("checking every code against the numpy reference")
    _check_integer(network, integer, images[:1])
    models = _models(ann, snn, integer, images[:4])
    seconds = {str(batch): _time(models, images[:batch], rounds, say) for batch in batches}
    return _report(seconds, time_steps, size)


def _models(
    ann: nn.Module, snn: nn.Module, integer: nn.Module, calibration: Tensor
) -> dict[str, tuple[nn.Module, bool]]:
    """Every contender, and whether its images are in channels-last layout."""

    def channels_last(net: nn.Module) -> nn.Module:
        return copy.deepcopy(net).to(memory_format=torch.channels_last)

    return {
        "ann": (ann, False),
        "ann_channels_last": (channels_last(ann), True),
        "ann_int8": (_quantized(ann, calibration), False),
        "packed": (snn, False),
        "packed_channels_last": (channels_last(snn), True),
        "integer": (integer, False),
    }


def _quantized(ann: nn.Module, calibration: Tensor) -> nn.Module:
    """Post-training quantization by torch.ao's FX mode on the x86 backend."""
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    torch.backends.quantized.engine = "x86"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.ao announces its successor at every step
        prepared = prepare_fx(copy.deepcopy(ann), get_default_qconfig_mapping("x86"), calibration)
        with torch.no_grad():
            prepared(calibration)
        return convert_fx(prepared)


def _check_forms(snn: nn.Module, image: Tensor, steps: int) -> None:
    """Packed and serial form, in float64 so that codes do not flip."""
    net = copy.deepcopy(snn).double()
    with torch.no_grad():
        packed = net(image.double())
        functional.set_step_mode(set_form(net, "serial"), "m")
        functional.reset_net(net)
        serial = decode_output(net(image.double().repeat(steps, 1, 1, 1, 1)), steps)
    difference = float((packed - serial).abs().max())
    if not difference <= 1e-9 * float(packed.abs().max()):
        raise RunError(
            f"bench cpu: packed and serial form must agree to 1e-9, got a difference of {difference:.2e}; "
            "nothing was timed."
        )


def _check_integer(network: Any, integer: AcceleratedModel, image: Tensor) -> None:
    codes = encode(network.inputs[0], image.numpy())
    got = integer.accelerated.every_code(codes)
    for name, values in run_packed(network, codes).items():
        if not np.array_equal(values.astype(np.int64), got[name].numpy()):
            raise RunError(f"bench cpu: {name!r} must equal the numpy reference, got other codes; not timed.")


def _time(
    models: dict[str, tuple[nn.Module, bool]], images: Tensor, rounds: int, say: Callable[[str], None]
) -> dict[str, list[float]]:
    last = images.contiguous(memory_format=torch.channels_last)
    calls = {name: partial(model, last if reorder else images) for name, (model, reorder) in models.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    with torch.no_grad():
        say(f"batch {len(images)}: first calls, which measure the routes")
        for call in calls.values():
            call()
            call()
        for index in range(rounds):
            say(f"batch {len(images)}: round {index + 1} of {rounds}")
            for name, call in calls.items():
                seconds[name].append(seconds_of(call))
    return seconds


def _report(seconds: dict[str, dict[str, list[float]]], time_steps: int, size: int) -> dict[str, Any]:
    results: dict[str, Any] = {}
    goals: dict[str, bool] = {}
    for batch, values in seconds.items():
        over = {name: ratio(taken, values["ann"]) for name, taken in values.items() if name != "ann"}
        faster = ratio(values["ann"], values["integer"])
        results[batch] = {
            "seconds": {name: spread(taken) for name, taken in values.items()},
            "over_ann": over,
            "ann_over_integer": faster,
            "int8_over_integer": ratio(values["ann_int8"], values["integer"]),
        }
        goals[f"batch {batch}: packed within {GOALS['packed']} times the ANN"] = (
            over["packed"]["median"] <= GOALS["packed"]
        )
        goals[f"batch {batch}: integer form {GOALS['integer']} times faster than the ANN"] = (
            faster["median"] >= GOALS["integer"]
        )
    return {
        "network": "torchvision resnet18",
        "time_steps": time_steps,
        "size": size,
        "results": results,
        "goals": goals,
        "routes": [vars(choice) for choice in measured_choices()],
        "machine": machine(),
    }


def table(result: dict[str, Any]) -> str:
    """Milliseconds, and the time in multiples of the eager ANN's, as a Markdown table."""
    batches = list(result["results"])
    head = " | ".join(f"batch {batch}, ms | in multiples of the ANN" for batch in batches)
    lines = [f"| ResNet-18, {result['size']} x {result['size']} | {head} |"]
    lines.append("|---|" + "---:|---:|" * len(batches))
    for name, shown in NAMES.items():
        cells = []
        for batch in batches:
            entry = result["results"][batch]
            cells.append(f"{1e3 * entry['seconds'][name]['median']:.1f}")
            over = entry["over_ann"].get(name)
            cells.append("{median:.2f} ({min:.2f} to {max:.2f})".format(**over) if over else "1")
        lines.append(f"| {shown} | {' | '.join(cells)} |")
    return "\n".join(lines)
