"""The central experiment of Bit Budget (arXiv 2311.10802): one budget, split in every way, on two data sets.

``BB = b_w x b_s x T``: weight bits, digits per window (spike bits), windows (real time steps). Inside one
window T steps of one bit and one step of T bits are the same network, so T here is the number of windows. A
static image is shown in every window; the frames of an event clip are summed until there are T of them, so
that fewer windows fold real time. The same network is trained from scratch for every split with at most 16
bits a weight and 16 digits a window. The first layer reads the input unquantized.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from spikingjelly.activation_based import layer
from torch import Tensor, nn

from benchmarks.budget_figure import figure
from spikejelly_pack.bit_budget.quantize import quantize_weights
from spikejelly_pack.data import Split, digits, event_digits
from spikejelly_pack.spec.atomic import write_text
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.train import Classifier, NeuronFactory, evaluate, train_epochs

__all__ = ["FAST", "figure", "run", "splits", "table"]

FAST: dict[str, Any] = {
    "budgets": (4,), "epochs": {"digits": 1, "events": 1}, "frames": 4, "samples": 128, "seeds": (0,),
    "store": False,
}  # fmt: skip
MOST_BITS = 16  # of a weight, and of a window's code
NOISE = 0.08  # background events of a whole clip, per pixel and polarity: as event_digits has by default
STRIDE = {"digits": 1, "events": 2}  # of the first convolution: maps of 8 x 8 behind it
# Static data: the residual of the soft reset is carried, as in a LIF neuron, and dithers the windows. Event
# data: the membrane is, which remembers what earlier windows showed, with the leak and the first threshold of
# the configuration events_cnn (docs/training.md).
NODES = {
    "digits": {"leak": 0.5, "carry": "residual"},
    "events": {"leak": 0.4, "carry": "membrane", "v_threshold": 6.0},
}
# Published direction (arXiv 2311.10802), accuracy by (b_w, b_s, T): CIFAR-10 and CIFAR10-DVS.
PUBLISHED = {
    "CIFAR-10": {"1/4/1": 95.00, "1/2/2": 94.43, "1/1/4": 93.91},
    "CIFAR10-DVS": {"1/16/1": 35.8, "1/4/4": 63.1, "1/1/16": 79.8},
}
Say = Callable[[str], None]


def splits(budget: int, most: int = MOST_BITS) -> list[tuple[int, int, int]]:
    """Every ``(b_w, b_s, T)`` with that product and at most ``most`` bits for weights and for codes."""
    return [
        (w, s, budget // (w * s))
        for w in range(1, most + 1)
        for s in range(1, most + 1)
        if budget % (w * s) == 0
    ]


def run(
    budgets: Sequence[int] = (4, 8, 16, 32),
    datasets: Sequence[str] = ("digits", "events"),
    epochs: dict[str, int] | None = None,
    frames: int = 32,
    width: int = 12,
    samples: int | None = None,
    seeds: Sequence[int] = (0, 1),
    store: bool = True,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Train every split.

    An interrupted run continues where it was: finished trainings are kept in the folder for temporary files.

    Args:
        budgets: Values of BB.
        datasets: ``"digits"``, ``"events"``.
        epochs: By data set.
        frames: Real time steps of an event clip before folding; every T divides it.
        width: Channels of the first layer.
        samples: Training samples, None for all.
        seeds: Of weights and order; accuracies are means.
        store: Keep finished trainings, and use those of an earlier run with the same settings.
        progress: Called with one line per training.

    Returns:
        Accuracy in per cent of every split, the direction found, and the machine. JSON-ready.

    Raises:
        ParameterError: A number of windows does not divide the frames.
    """
    say = progress or (lambda _: None)
    epochs = epochs or {"digits": 8, "events": 20}
    uneven = [budget for budget in budgets if any(frames % t for _, _, t in splits(budget))]
    if uneven or not budgets or not seeds:
        raise ParameterError(
            f"bench budget: the windows of every budget must divide {frames} frames, got {uneven or 'none'}; "
            "choose powers of two, and one seed at least."
        )
    settings = {
        "epochs": epochs, "width": width, "samples": samples, "frames": frames, "noise": NOISE,
        "nodes": NODES,
    }  # fmt: skip
    kept = _Kept(settings, store)
    jobs = [(name, budget, split) for name in datasets for budget in budgets for split in splits(budget)]
    _train_all(jobs, kept, settings, seeds, say)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, budget, (w, s, t) in jobs:
        entries = [kept.entries[_key(name, (w, s, t), seed)] for seed in seeds]
        scores = [entry["accuracy"] for entry in entries]
        found.setdefault(name, []).append({
            "budget": budget, "weight_bits": w, "spike_bits": s, "windows": t,
            "accuracy": sum(scores) / len(scores), "scores": scores,
            "seconds": sum(entry["seconds"] for entry in entries),
        })  # fmt: skip
    return {
        "results": found,
        "direction": {name: _direction(rows) for name, rows in found.items()},
        "published": PUBLISHED,
        "settings": {**settings, "budgets": list(budgets), "seeds": list(seeds)},
        "machine": {"processor": platform.processor() or platform.machine(), "torch": torch.__version__},
    }


class _Kept:
    """Finished trainings in a file."""

    def __init__(self, settings: dict[str, Any], store: bool) -> None:
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:12]
        self.path = Path(tempfile.gettempdir()) / f"spikepack-bench-budget-{digest}.json"
        self.store = store
        self.entries: dict[str, Any] = {}
        if store and self.path.is_file():
            self.entries = json.loads(self.path.read_text())

    def add(self, key: str, entry: dict[str, Any]) -> None:
        self.entries[key] = entry
        if self.store:
            write_text(self.path, json.dumps(self.entries))


def _train_all(
    jobs: list[tuple[str, int, tuple[int, int, int]]],
    kept: _Kept,
    settings: dict[str, Any],
    seeds: Sequence[int],
    say: Say,
) -> None:
    """Train what is not kept yet, seed by seed."""
    data: dict[str, Split] = {}
    for seed in seeds:
        for number, (name, budget, split) in enumerate(jobs):
            key = _key(name, split, seed)
            if key in kept.entries:
                continue
            place = f"seed {seed}, {number + 1} of {len(jobs)}"
            say(f"{place}: {name}, BB = {budget}, b_w/b_s/T = {_label(split)}")
            if name not in data:
                data[name] = _data(name, settings["frames"])
            kept.add(key, _train(data[name], name, split, settings, seed))


def _key(name: str, split: tuple[int, int, int], seed: int) -> str:
    return f"{name} {_label(split)} {seed}"


def _data(name: str, frames: int) -> Split:
    return digits() if name == "digits" else event_digits(windows=frames, noise=NOISE / frames)


def _windows(x: Tensor, windows: int, windowed: bool) -> Tensor:
    """``[N, T, *]``: a still image T times, or neighbouring frames of a clip summed to T frames."""
    if not windowed:
        return x.unsqueeze(1).expand(-1, windows, *x.shape[1:])
    return x.unflatten(1, (windows, x.shape[1] // windows)).sum(2)


def network(data: Split, neuron: NeuronFactory, width: int, stride: int) -> Classifier:
    """Two convolutions, a hidden layer, a readout; logits are the mean over windows."""
    channels = data.train_inputs.shape[-3]
    body = nn.Sequential(
        layer.Conv2d(channels, width, 3, stride, 1, bias=False), layer.BatchNorm2d(width), neuron(),
        layer.Conv2d(width, 2 * width, 3, 2, 1, bias=False), layer.BatchNorm2d(2 * width), neuron(),
        layer.Flatten(), layer.Linear(32 * width, 64, bias=False), layer.BatchNorm1d(64), neuron(),
        layer.Linear(64, data.num_classes),
    )  # fmt: skip
    return Classifier(body, neuron, windowed=True)


def _train(
    data: Split, name: str, split: tuple[int, int, int], settings: dict[str, Any], seed: int
) -> dict[str, Any]:
    weight_bits, spike_bits, windows = split
    samples, epochs = settings["samples"], settings["epochs"][name]
    neuron = {"class_path": "spikejelly_pack.neuron.SpikePackNode", "init_args": NODES[name]}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = network(data, NeuronFactory(**neuron, time_steps=spike_bits), settings["width"], STRIDE[name])
        train = _windows(data.train_inputs[:samples], windows, data.windowed)
        test = _windows(data.test_inputs, windows, data.windowed)
        quantize_weights(net, weight_bits, training=True)
        start = time.perf_counter()
        train_epochs(net, train, data.train_classes[:samples], epochs=epochs, seed=seed, progress=False)
        seconds = time.perf_counter() - start
        accuracy = evaluate(net, test, data.test_classes).accuracy
    return {"accuracy": 100 * accuracy, "seconds": seconds}


def _label(split: Sequence[int]) -> str:
    return "/".join(map(str, split))


def _direction(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """At each budget and b_w: all spike bits in one window against one bit in all windows."""
    found = []
    for budget, weight_bits in sorted({(row["budget"], row["weight_bits"]) for row in rows}):
        chosen = [r for r in rows if (r["budget"], r["weight_bits"]) == (budget, weight_bits)]
        first, last = (pick(chosen, key=lambda r: r["windows"]) for pick in (min, max))
        if first is not last:
            found.append({
                "budget": budget, "weight_bits": weight_bits,
                "fewest_windows": [first["spike_bits"], first["windows"], first["accuracy"]],
                "most_windows": [last["spike_bits"], last["windows"], last["accuracy"]],
                "bits_minus_windows": first["accuracy"] - last["accuracy"],
                "by_seed": [a - b for a, b in zip(first["scores"], last["scores"], strict=True)],
            })  # fmt: skip
    return found


def table(result: dict[str, Any]) -> str:
    """Format :func:`run`'s result as Markdown, best split first."""
    lines = ["| data | BB | accuracy, % by b_w/b_s/T, best first |", "|---|---|---|"]
    for name, rows in result["results"].items():
        for budget in sorted({row["budget"] for row in rows}):
            chosen = sorted((r for r in rows if r["budget"] == budget), key=lambda r: -r["accuracy"])
            cells = [
                f"{r['weight_bits']}/{r['spike_bits']}/{r['windows']} {r['accuracy']:.1f}" for r in chosen
            ]
            lines.append(f"| {name} | {budget} | {', '.join(cells)} |")
    lines += ["", "Spike bits in one window against windows of few bits, at equal BB and b_w:", ""]
    for name, pairs in result["direction"].items():
        gains = [pair["bits_minus_windows"] for pair in pairs]
        if gains:
            better = sum(gain > 0 for gain in gains)
            lines.append(
                f"- {name}: bits better in {better} of {len(gains)} pairs, {sum(gains) / len(gains):+.1f} "
                "points on average"
            )
    return "\n".join(lines)
