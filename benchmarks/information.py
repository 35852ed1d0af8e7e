"""How many bits a neuron transmits per trial: alone under a Gaussian current, and in a network's layers.

Alone, every neuron stands at the mean and spread of the current that suit it best. ``constant``: one value
held for T steps, as images and converted networks present it. ``stream``: fresh values at every step. In a
network: trained on digits, the mean over the neurons of each layer, on the test images.
"""

from __future__ import annotations

import dataclasses
import io
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.measure import machine
from benchmarks.training_neurons import NEURONS, chosen, network, split
from spikejelly_pack.analysis import DRIVES, best_operating_point, network_information
from spikejelly_pack.train.loop import evaluate, train_epochs
from spikejelly_pack.train.neurons import NeuronFactory

__all__ = ["FAST", "figure", "run", "table"]

FAST = {
    "time_steps": (1, 2),
    "samples": 2**6,
    "final_samples": 2**8,
    "epochs": 1,
    "width": 4,
    "images": 64,
    "neurons": ("SpikePack", "LIF"),
}


def run(
    time_steps: tuple[int, ...] = (1, 2, 4, 8),
    samples: int = 2**12,
    final_samples: int = 2**17,
    network_time_steps: int = 4,
    epochs: int = 12,
    width: int = 16,
    images: int | None = None,
    neurons: tuple[str, ...] | None = None,
    seed: int = 0,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Measure.

    Args:
        time_steps: T of the neurons alone.
        samples: Trials per point of the search for the best operating point.
        final_samples: Trials of the figure that is reported.
        network_time_steps: T of the trained networks.
        epochs: Passes over the training digits.
        width: Channels of the networks' first layers.
        images: Use only so many images; None: all.
        neurons: Keys of :data:`.NEURONS`; None: all.
        seed: Of draws, weights and order.
        progress: Called with one line per stage.

    Returns:
        ``alone``: per drive, neuron and T the fields of :class:`.Information`; ``network``: per neuron the
        accuracy and the fields of :class:`.LayerInformation` of every layer; sizes and machine. JSON-ready.
    """
    say = progress or (lambda _: None)
    names = chosen(neurons, NEURONS, "neurons")
    alone: dict[str, Any] = {drive: {name: {} for name in names} for drive in DRIVES}
    for drive in DRIVES:
        for name in names:
            for steps in time_steps:
                say(f"{name} alone, {drive} current, T = {steps}")
                torch.manual_seed(seed)
                found = best_operating_point(
                    _node(name, steps),
                    steps,
                    drive=drive,
                    samples=samples,
                    final_samples=final_samples,
                    seed=seed,
                )
                alone[drive][name][str(steps)] = dataclasses.asdict(found)
    trained = {name: _trained(name, network_time_steps, epochs, width, images, seed, say) for name in names}
    return {
        "alone": alone,
        "network": trained,
        "time_steps": list(time_steps),
        "network_time_steps": network_time_steps,
        "epochs": epochs,
        "width": width,
        "machine": machine(),
    }


def _node(name: str, time_steps: int) -> nn.Module:
    given = NEURONS[name]
    return NeuronFactory(
        given["class_path"],
        # A threshold per tensor that need not be learned here.
        {**given.get("init_args", {}), **({"learnable_threshold": False} if name == "SpikePack" else {})},
        time_steps=time_steps,
    )()


def _trained(
    name: str,
    time_steps: int,
    epochs: int,
    width: int,
    images: int | None,
    seed: int,
    say: Callable[[str], None],
) -> dict[str, Any]:
    say(f"{name} in a network, training")
    data = split("digits")
    torch.manual_seed(seed)
    net = network("digits", name, time_steps, width)
    inputs, classes = data.train_inputs[:images], data.train_classes[:images]
    train_epochs(net, inputs, classes, epochs=epochs, seed=seed, progress=False)
    net.eval()
    tests = data.test_inputs[:images]
    layers = network_information(net, tests.split(150), seed=seed)
    return {
        "accuracy": evaluate(net, tests, data.test_classes[:images]).accuracy,
        "layers": [dataclasses.asdict(layer) for layer in layers],
    }


def table(result: dict[str, Any]) -> str:
    """Two Markdown tables: bits of a neuron alone, and of the layers of a trained network."""
    steps = [str(count) for count in result["time_steps"]]
    heads = [f"{drive}, T = {count}" for drive in result["alone"] for count in steps]
    lines = [f"| bits per trial, one neuron | {' | '.join(heads)} |", "|---" + "|---:" * len(heads) + "|"]
    for name in result["network"]:
        cells = [f"{result['alone'][drive][name][count]['bits']:.2f}" for drive in DRIVES for count in steps]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    most = max(len(entry["layers"]) for entry in result["network"].values())
    heads = [f"layer {index + 1}" for index in range(most)]
    steps_here = result["network_time_steps"]
    lines += ["", f"| bits per neuron and image, digits, T = {steps_here} | {' | '.join(heads)} | accuracy |"]
    lines.append("|---" + "|---:" * (most + 1) + "|")
    for name, entry in result["network"].items():
        cells = [f"{layer['bits']:.2f}" for layer in entry["layers"]] + [""] * (most - len(entry["layers"]))
        lines.append(f"| {name} | {' | '.join(cells)} | {100 * entry['accuracy']:.2f} % |")
    return "\n".join(lines)


def figure(result: dict[str, Any]) -> str:
    """SVG: bits of one neuron against T under a constant current, with the ceilings T and log2(T + 1)."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    steps = result["time_steps"]
    with rc_context({"svg.hashsalt": "spikepack", "svg.fonttype": "none"}):
        drawing = Figure(figsize=(7, 4), layout="constrained")
        axes = drawing.subplots()
        for name, found in result["alone"]["constant"].items():
            axes.plot(steps, [found[str(t)]["bits"] for t in steps], marker="o", markersize=4, label=name)
        for label, ceiling in (("T", steps), ("log2(T + 1)", [math.log2(t + 1) for t in steps])):
            axes.plot(steps, ceiling, "--", color="0.7", label=label, zorder=0)
        axes.set(xlabel="time steps T", ylabel="bits per trial, value held for T steps", xticks=steps)
        axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        text = io.StringIO()
        drawing.savefig(text, format="svg", metadata={"Date": None})
    return text.getvalue()
