"""The central experiment of Bit Budget (arXiv 2311.10802): one budget, split in every way, on two data sets.

``BB = b_w x b_s x T``: weight bits, digits per window (spike bits), windows (real time steps). Inside one
window T steps of one bit and one step of T bits are the same network, so T here is the number of windows. A
static image is shown in every window; the frames of an event clip are summed until there are T of them, so
that fewer windows fold real time. The same network is trained from scratch for every split with at most 16
bits a weight and 16 digits a window, by one recipe per data set (``budget_recipes.py``). The first layer
reads the input unquantized.
"""

from __future__ import annotations

import hashlib
import json
import platform
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.budget_figure import figure
from benchmarks.budget_recipes import RECIPES, Recipe
from spikejelly_pack.bit_budget.quantize import quantize_weights
from spikejelly_pack.data import Split
from spikejelly_pack.spec.atomic import write_text
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.train import Classifier, NeuronFactory, evaluate, train_epochs
from spikejelly_pack.train.neurons import SPIKEPACK

__all__ = ["FAST", "figure", "run", "splits", "table"]

FAST: dict[str, Any] = {
    "budgets": (4,), "epochs": {"digits": 1, "events": 1}, "frames": 4, "drawings": 1, "samples": 128,
    "seeds": {"digits": (0,), "events": (0,)}, "store": False,
}  # fmt: skip
MOST_BITS = 16  # of a weight, and of a window's code
# Published direction (arXiv 2311.10802), accuracy by (b_w, b_s, T): CIFAR-10 and CIFAR10-DVS.
PUBLISHED = {
    "CIFAR-10": {"1/4/1": 95.00, "1/2/2": 94.43, "1/1/4": 93.91},
    "CIFAR10-DVS": {"1/16/1": 35.8, "1/4/4": 63.1, "1/1/16": 79.8},
}
#: Trainings on clips take ten times as long.
SEEDS: dict[str, Sequence[int]] = {"digits": (0, 1), "events": (0,)}
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
    drawings: int = 8,
    samples: int | None = None,
    seeds: Mapping[str, Sequence[int]] = SEEDS,
    store: bool = True,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Train every split.

    An interrupted run continues where it was: finished trainings are kept in the folder for temporary files.

    Args:
        budgets: Values of BB.
        datasets: ``"digits"``, ``"events"``.
        epochs: By data set, where not the recipe's.
        frames: Real time steps of an event clip before folding; every T divides it.
        drawings: Training clips of every scan, each on an arc of its own.
        samples: Training samples, None for all.
        seeds: Of weights and order, by data set; accuracies are means.
        store: Keep finished trainings, and use those of an earlier run with the same settings.
        progress: Called with one line per training.

    Returns:
        Accuracy in per cent of every split, the direction found, and the machine. JSON-ready.

    Raises:
        ParameterError: A number of windows does not divide the frames.
    """
    say = progress or (lambda _: None)
    uneven = [budget for budget in budgets if any(frames % t for _, _, t in splits(budget))]
    if uneven or not budgets or not all(seeds.get(name) for name in datasets):
        raise ParameterError(
            f"bench budget: the windows of every budget must divide {frames} frames, got {uneven or 'none'}; "
            "choose powers of two, and one seed at least."
        )
    settings = {"frames": frames, "drawings": drawings, "samples": samples}
    recipes = {name: _recipe(name, epochs) for name in datasets}
    kept = _Kept({name: {**settings, **_described(recipe)} for name, recipe in recipes.items()}, store)
    jobs = [(name, budget, split) for name in datasets for budget in budgets for split in splits(budget)]
    _train_all([(*job, seed) for job in jobs for seed in seeds[job[0]]], recipes, kept, settings, say)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, budget, (w, s, t) in jobs:
        entries = [kept.get(name, (w, s, t), seed) for seed in seeds[name]]
        scores = [entry["accuracy"] for entry in entries]
        found.setdefault(name, []).append({
            "budget": budget, "weight_bits": w, "spike_bits": s, "windows": t,
            "accuracy": sum(scores) / len(scores), "scores": scores,
            "trained": sum(entry["trained"] for entry in entries) / len(entries),
            "seconds": sum(entry["seconds"] for entry in entries),
        })  # fmt: skip
    return {
        "results": found,
        "direction": {name: _direction(rows) for name, rows in found.items()},
        "published": PUBLISHED,
        "settings": {
            **settings,
            "budgets": list(budgets),
            "seeds": {name: list(seeds[name]) for name in datasets},
            "recipes": {name: _described(recipe) for name, recipe in recipes.items()},
        },
        "machine": {"processor": platform.processor() or platform.machine(), "torch": torch.__version__},
    }


class _Kept:
    """Finished trainings in one file per data set and seed, so that processes may share the work."""

    def __init__(self, settings: dict[str, Any], store: bool) -> None:
        self.store = store
        self.digests = {
            name: hashlib.sha256(json.dumps(found, sort_keys=True).encode()).hexdigest()[:12]
            for name, found in settings.items()
        }
        self.entries: dict[Path, dict[str, Any]] = {}

    def has(self, name: str, split: Sequence[int], seed: int) -> bool:
        """Whether a training is finished."""
        return _label(split) in self._of(name, seed)[1]

    def get(self, name: str, split: Sequence[int], seed: int) -> dict[str, Any]:
        """What a finished training found."""
        found: dict[str, Any] = self._of(name, seed)[1][_label(split)]
        return found

    def add(self, name: str, split: Sequence[int], seed: int, entry: dict[str, Any]) -> None:
        path, entries = self._of(name, seed)
        entries[_label(split)] = entry
        if self.store:
            write_text(path, json.dumps(entries))

    def _of(self, name: str, seed: int) -> tuple[Path, dict[str, Any]]:
        file = f"spikepack-bench-budget-{name}-{seed}-{self.digests[name]}.json"
        path = Path(tempfile.gettempdir()) / file
        if path not in self.entries:
            stored = self.store and path.is_file()
            self.entries[path] = json.loads(path.read_text("utf-8")) if stored else {}
        return path, self.entries[path]


def _recipe(name: str, epochs: dict[str, int] | None) -> Recipe:
    return replace(RECIPES[name], **({"epochs": epochs[name]} if epochs and name in epochs else {}))


def _described(recipe: Recipe) -> dict[str, Any]:
    """What a training hangs on, as JSON values."""
    return {
        "epochs": recipe.epochs, "batch": recipe.batch, "width": recipe.width,
        "body": recipe.body.__name__, "nodes": {str(t): recipe.node(t) for t in (1, 8, 32)},
    }  # fmt: skip


def _train_all(
    jobs: list[tuple[str, int, tuple[int, int, int], int]],
    recipes: dict[str, Recipe],
    kept: _Kept,
    settings: dict[str, Any],
    say: Say,
) -> None:
    """Train what is not kept yet, the first seed of all splits before the second."""
    data: dict[str, Split] = {}
    for number, (name, budget, split, seed) in enumerate(sorted(jobs, key=lambda job: job[3])):
        if kept.has(name, split, seed):
            continue
        place = f"{number + 1} of {len(jobs)}"
        say(f"{place}: {name}, BB = {budget}, b_w/b_s/T = {_label(split)}, seed {seed}")
        if name not in data:
            data[name] = recipes[name].data(settings["frames"], settings["drawings"])
        found = _train(data[name], recipes[name], split, settings["samples"], seed)
        kept.add(name, split, seed, found)


def _windows(x: Tensor, windows: int, windowed: bool) -> Tensor:
    """``[N, T, *]``: a still image T times, or neighbouring frames of a clip summed to T frames."""
    if not windowed:
        return x.unsqueeze(1).expand(-1, windows, *x.shape[1:])
    return x.unflatten(1, (windows, x.shape[1] // windows)).sum(2)


def network(recipe: Recipe, split: tuple[int, int, int], classes: int) -> Classifier:
    """The recipe's network for a split; logits are the mean over windows."""
    weight_bits, spike_bits, windows = split
    neuron = NeuronFactory(SPIKEPACK, recipe.node(windows), time_steps=spike_bits)
    net = Classifier(recipe.body(neuron, recipe.width, classes), neuron, windowed=True)
    quantize_weights(net, weight_bits, training=True)
    return net


def _train(
    data: Split, recipe: Recipe, split: tuple[int, int, int], samples: int | None, seed: int
) -> dict[str, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = network(recipe, split, data.num_classes)
        train = _windows(data.train_inputs[:samples], split[2], data.windowed)
        test = _windows(data.test_inputs, split[2], data.windowed)
        start = time.perf_counter()
        history = train_epochs(
            net, train, data.train_classes[:samples], epochs=recipe.epochs, batch=recipe.batch, seed=seed,
            progress=False,
        )  # fmt: skip
        seconds = time.perf_counter() - start
        accuracy = evaluate(net, test, data.test_classes).accuracy
    return {"accuracy": 100 * accuracy, "trained": 100 * history.accuracy[-1], "seconds": seconds}


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
