"""Direct training: one network, one recipe, many neurons: accuracy, time and memory of a step, spikes.

Every neuron gets the same data, epochs, optimizer and seeds. On images SpikingJelly's neurons see T copies,
SpikePack one packed window of T digits; on event clips they step through the W real time steps, SpikePack
through W windows. Steps of the optimizer are timed in pairs, neighbours in time, on the image network.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from benchmarks.measure import machine, peak_bytes, ratio, seconds, spread
from benchmarks.training_neurons import NEURONS, TASKS, chosen, network, split
from spikejelly_pack.spec.errors import ParameterError, RunError
from spikejelly_pack.train.loop import evaluate, materialize, train_epochs

__all__ = ["FAST", "TARGETS", "run", "table"]

FAST = {
    "epochs": 1,
    "seeds": 1,
    "width": 4,
    "rounds": 1,
    "timed_batch": 8,
    "samples": 64,
    "neurons": ("SpikePack", "LIF", "PLIF", "PSN"),
}
#: Passes over the training data where none are asked for: the clips are learnt more slowly.
EPOCHS = {"digits": 15, "events": 20}
#: Peak learning rates, those of the tasks' configurations, for every neuron.
RATES = {"digits": 8e-3, "events": 4e-3}
#: Steps of LIF against SpikePack that the project wants: time steps -> ratio.
TARGETS = {4: 3.5, 8: 7.0}


def run(
    time_steps: int = 4,
    epochs: int | None = None,
    seeds: int = 2,
    width: int = 16,
    rounds: int = 15,
    timed_batch: int = 256,
    samples: int | None = None,
    neurons: tuple[str, ...] | None = None,
    tasks: tuple[str, ...] | None = None,
    progress: Callable[[str], None] | None = None,
) -> dict[str, Any]:
    """Train and time.

    Args:
        time_steps: T.
        epochs: Passes over the training data; None: :data:`EPOCHS` of the task.
        seeds: Runs per neuron and task.
        width: Channels of the first layers.
        rounds: Timed optimizer steps per neuron.
        timed_batch: Samples per timed step.
        samples: Use only so many samples; None: all.
        neurons: Keys of :data:`NEURONS`; None: all.
        tasks: Keys of :data:`TASKS`; None: all.
        progress: Called with one line per stage.

    Returns:
        ``accuracy``, ``epoch_seconds``, ``spikes`` per task and neuron (median, min, max over seeds),
        ``steps`` (time and memory ratios to SpikePack per T), ``targets``, sizes and machine. JSON-ready.

    Raises:
        ParameterError: A size or name is not accepted.
        RunError: The packed network does not compute what its serial form does.
    """
    for name, value in (("epochs", epochs), ("seeds", seeds), ("rounds", rounds)):
        if value is not None and value < 1:
            raise ParameterError(f"bench training: {name} must be positive, got {value}; raise it.")
    say = progress or (lambda _: None)
    names, jobs = chosen(neurons, NEURONS, "neurons"), chosen(tasks, TASKS, "tasks")
    result: dict[str, Any] = {"accuracy": {}, "epoch_seconds": {}, "spikes": {}}
    for task in jobs:
        passes = epochs or EPOCHS[task]
        found = {name: _train(task, name, time_steps, passes, seeds, width, samples, say) for name in names}
        for key in ("accuracy", "epoch_seconds", "spikes"):
            result[key][task] = {
                name: {**spread(values[key]), "mean": statistics.fmean(values[key])}
                for name, values in found.items()
            }
    result["steps"] = {
        str(steps): _time_steps(names, steps, rounds, timed_batch, width, say) for steps in TARGETS
    }
    result["targets"] = _targets(result)
    sizes: dict[str, Any] = {"time_steps": time_steps, "seeds": seeds, "width": width}
    sizes["epochs"] = {task: epochs or EPOCHS[task] for task in jobs}
    sizes["learning_rate"] = {task: RATES[task] for task in jobs}
    return {**result, **sizes, "timed_batch": timed_batch, "machine": machine()}


def _train(
    task: str,
    neuron: str,
    time_steps: int,
    epochs: int,
    seeds: int,
    width: int,
    samples: int | None,
    say: Callable[[str], None],
) -> dict[str, list[float]]:
    data = split(task)
    inputs, classes = data.train_inputs[:samples], data.train_classes[:samples]
    found: dict[str, list[float]] = {"accuracy": [], "epoch_seconds": [], "spikes": []}
    for seed in range(seeds):
        say(f"{task}: training with {neuron}, seed {seed + 1} of {seeds}")
        torch.manual_seed(seed)
        net = network(task, neuron, time_steps, width)
        history = train_epochs(
            net,
            inputs,
            classes,
            epochs=epochs,
            seed=seed,
            batch=64,
            learning_rate=RATES[task],
            progress=False,
        )
        score = evaluate(net, data.test_inputs[:samples], data.test_classes[:samples])
        found["accuracy"].append(score.accuracy)
        found["epoch_seconds"].append(statistics.median(history.seconds))
        found["spikes"].append(score.spikes_per_inference)
    return found


def _time_steps(
    names: list[str], time_steps: int, rounds: int, batch: int, width: int, say: Callable[[str], None]
) -> dict[str, Any]:
    """Time and memory of one optimizer step on digits, as ratios to SpikePack's in the same round."""
    data = split("digits")
    x, y = data.train_inputs[:batch], data.train_classes[:batch]
    _check_forms(time_steps, width, x[:8])
    steps = {}
    for name in names:
        torch.manual_seed(0)
        net = network("digits", name, time_steps, width)
        materialize(net, x[:2])
        steps[name] = _step(net, torch.optim.AdamW(net.parameters(), lr=1e-3), x, y)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds + 1):
        say(f"timing at T = {time_steps}: round {index} of {rounds}")
        for name, step in steps.items():
            taken[name].append(seconds(step))
    peak = {name: peak_bytes(step) for name, step in steps.items()}
    first = {name: values[1:] for name, values in taken.items()}  # the first round warms up
    found: dict[str, Any] = {
        "seconds": {name: spread(values) for name, values in first.items()},
        "peak_bytes": peak,
    }
    if "SpikePack" in names:
        others = [name for name in names if name != "SpikePack"]
        found["ratios"] = {name: ratio(first[name], first["SpikePack"]) for name in others}
        found["memory_ratios"] = {name: peak[name] / peak["SpikePack"] for name in others}
    return found


def _check_forms(time_steps: int, width: int, x: torch.Tensor) -> None:
    """What is timed must be the network it claims to be: packed and serial form give the same scores."""
    torch.manual_seed(0)
    net = network("digits", "SpikePack", time_steps, width).double().eval()
    with torch.no_grad():
        packed = net(x.double())
        serial = net.set_form("serial")(x.double())
    if not torch.allclose(packed, serial, rtol=0, atol=1e-9):
        raise RunError("bench training: packed and serial form must agree, got others; nothing was timed.")


def _step(
    net: nn.Module, optimizer: torch.optim.Optimizer, x: torch.Tensor, y: torch.Tensor
) -> Callable[[], None]:
    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y, label_smoothing=0.1).backward()
        optimizer.step()

    return step


def _targets(result: dict[str, Any]) -> dict[str, Any]:
    """What the project wants of SpikePack and whether it was seen."""
    found: dict[str, Any] = {}
    for task, scores in result["accuracy"].items():
        others = {name: score["mean"] for name, score in scores.items() if name != "SpikePack"}
        if "SpikePack" in scores and others:
            best = max(others, key=lambda name: others[name])
            mine = scores["SpikePack"]["mean"]
            met = mine >= others[best] if task == "events" else mine > others[best]
            found[f"accuracy on {task}"] = {"best other": best, "by": mine - others[best], "met": met}
    for steps, wanted in TARGETS.items():
        ratios = result["steps"][str(steps)].get("ratios", {})
        if "LIF" in ratios:
            median = ratios["LIF"]["median"]
            found[f"step at T = {steps}"] = {"wanted": wanted, "median": median, "met": median >= wanted}
    return found


def table(result: dict[str, Any]) -> str:
    """Accuracy (mean, smallest to largest), spikes per inference and cost of a step, as Markdown."""
    tasks = list(result["accuracy"])
    steps = list(result["steps"])
    head = [f"{task}, accuracy" for task in tasks] + [f"{task}, spikes" for task in tasks]
    head += [f"step, T = {count}" for count in steps] + [f"memory, T = {count}" for count in steps]
    lines = [f"| neuron, T = {result['time_steps']} | {' | '.join(head)} |"]
    lines.append("|---" + "|---:" * len(head) + "|")
    for name in next(iter(result["accuracy"].values())):
        cells = []
        for task in tasks:
            score = result["accuracy"][task][name]
            cells.append(
                f"{100 * score['mean']:.2f} % ({100 * score['min']:.2f} to {100 * score['max']:.2f})"
            )
        cells += [f"{result['spikes'][task][name]['mean']:.0f}" for task in tasks]
        for key, form in (("ratios", "{median:.2f} ({min:.2f} to {max:.2f})"), ("memory_ratios", "{:.2f}")):
            for count in steps:
                value = result["steps"][count].get(key, {}).get(name)
                text = "1" if name == "SpikePack" else ""
                if value is not None:
                    text = form.format(**value) if isinstance(value, dict) else form.format(value)
                cells.append(text)
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)
