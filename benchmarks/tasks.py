"""Task accuracy: classification, detection and segmentation networks before and after conversion.

Small networks are trained here, on data that comes with the package: scikit-learn's digits and the generated
scenes. Each is converted at every T and measured on held-out data; calibration data is of a third split.
SpikingJelly's rate coding runs beside it where it takes the network, for as many time steps.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.datasets import load_digits
from spikingjelly.activation_based import ann2snn, functional
from torch import Tensor, nn

from benchmarks.task_networks import Classifier, Segmenter, detector, train
from spikejelly_pack import convert
from spikejelly_pack.data.scenes import SceneGenerator
from spikejelly_pack.data.torch_scenes import SceneDataset
from spikejelly_pack.data.writers import coco_content
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.tasks.evaluation import (
    evaluate_classification,
    evaluate_detection,
    evaluate_segmentation,
)

__all__ = ["FAST", "GOALS", "run", "table"]

# A smoke test, no measurement.
FAST: dict[str, Any] = {
    "time_steps": (4,),
    "scenes": 16,
    "epochs": (1, 1, 1),
    "tests": 8,
    "calibration": 8,
    "size": 32,
}
# Points a conversion may lose.
GOALS = {
    "classification": {8: 0.1, 4: 1.0},
    "detection": {8: 0.5, 4: 1.0},
    "segmentation": {8: 0.5, 4: 1.0},
}
METRIC = {"classification": "top1", "detection": "map", "segmentation": "miou"}
BATCH = 32
Measure = Callable[[nn.Module], float]
Say = Callable[[str], None]


@dataclass
class Task:
    """A trained network, calibration batches for :func:`convert`, and how it is measured."""

    network: nn.Module
    calibration: list[Any]
    measure: Measure
    seconds: float


def run(
    time_steps: Sequence[int] = (4, 8),
    scenes: int = 1600,
    epochs: tuple[int, int, int] = (20, 6, 4),
    tests: int = 400,
    calibration: int = 128,
    size: int = 64,
    seed: int = 0,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Train, convert and measure.

    Args:
        time_steps: Values of T.
        scenes: Training scenes of the detector and the segmentation network.
        epochs: Of the classifier, the detector, the segmentation network.
        tests: Test scenes of detection and segmentation.
        calibration: Calibration images.
        size: Height and width of a scene, a multiple of 8.
        seed: Of scenes, weights and order.
        progress: Called with one line per stage.

    Returns:
        Per task: the metric of the source (in per cent), per conversion the metric, the loss in points,
        coverage; goals, and the machine. JSON-ready.

    Raises:
        ParameterError: A size is not positive.
    """
    for name, value in (("scenes", scenes), ("tests", tests), ("calibration", calibration)):
        if value < 1:
            raise ParameterError(f"bench tasks: {name} must be positive, got {value}; raise it.")
    if size % 8 or size < 24:
        raise ParameterError(
            f"bench tasks: size must be a multiple of 8 and at least 24, got {size}; round it."
        )
    say = progress or (lambda _: None)
    generator = SceneGenerator(size, seed=seed)
    counts = (scenes, calibration, tests)
    makers = {
        "classification": lambda: _digits(epochs[0], calibration, seed, say),
        "detection": lambda: _detection(generator, counts, epochs[1], seed, say),
        "segmentation": lambda: _segmentation(generator, counts, epochs[2], seed, say),
    }
    found: dict[str, Any] = {}
    for name, make in makers.items():
        torch.manual_seed(seed)
        task = make()
        say(f"{name}: source")
        entry: dict[str, Any] = {"metric": METRIC[name], "source": task.measure(task.network)}
        entry["training_seconds"] = task.seconds
        entry["conversions"] = [
            row for steps in time_steps for row in _conversions(task, entry["source"], steps, name, say)
        ]
        found[name] = entry
    return {
        "tasks": found,
        "goals": _goals(found),
        "sizes": {
            "scenes": scenes,
            "epochs": list(epochs),
            "tests": tests,
            "calibration": calibration,
            "size": size,
        },
        "machine": {"processor": platform.processor() or platform.machine(), "torch": torch.__version__},
    }


def _conversions(task: Task, source: float, steps: int, name: str, say: Say) -> list[dict[str, Any]]:
    rows = []
    for channel_wise in (False, True):
        say(f"{name}: T = {steps}{', per channel' if channel_wise else ''}")
        snn = convert(
            task.network, task.calibration, time_steps=steps, channel_wise=channel_wise, progress=False
        )
        report: Any = snn.report
        score = task.measure(snn)
        rows.append({
            "recipe": "SpikePack, per channel" if channel_wise else "SpikePack", "time_steps": steps,
            "score": score, "lost": source - score, "coverage": report.coverage, "route": report.route,
        })  # fmt: skip
    say(f"{name}: rate coding, T = {steps}")
    return [*rows, _rate_coding(task, source, steps)]


class _RateCoded(nn.Module):
    """T steps of SpikingJelly's rate-coded network, its outputs averaged."""

    def __init__(self, network: nn.Module, steps: int) -> None:
        super().__init__()
        self.network, self.steps = network, steps

    def forward(self, x: Tensor) -> Tensor:
        functional.reset_net(self.network)
        return torch.stack([self.network(x) for _ in range(self.steps)]).mean(0)


def _rate_coding(task: Task, source: float, steps: int) -> dict[str, Any]:
    row: dict[str, Any] = {"recipe": "SpikingJelly rate coding", "time_steps": steps}
    try:
        recipe = ann2snn.RateCodingRecipe(task.calibration, mode="99.9%")
        network = ann2snn.Converter(recipe).convert(task.network)
        score = task.measure(_RateCoded(network, steps))
    except Exception as error:  # noqa: BLE001 (its refusal is the result)
        return {**row, "refused": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    return {**row, "score": score, "lost": source - score}


def _goals(found: dict[str, Any]) -> dict[str, bool]:
    """Whether the better of the two thresholds, per tensor or per channel, meets each goal."""
    goals: dict[str, bool] = {}
    for name, entry in found.items():
        for steps, points in GOALS[name].items():
            lost = [
                row["lost"]
                for row in entry["conversions"]
                if row["time_steps"] == steps and row["recipe"].startswith("SpikePack")
            ]
            if lost:
                goals[f"{name}, T = {steps}: at most {points} points of {entry['metric']} lost"] = (
                    min(lost) <= points
                )
    return goals


def _batches(data: list[Any]) -> list[Any]:
    chunks = [data[i : i + BATCH] for i in range(0, len(data), BATCH)]
    return [tuple(zip(*chunk, strict=True)) for chunk in chunks]


def _stacked(data: list[Any]) -> list[Any]:
    return [(torch.stack(images), torch.stack(targets)) for images, targets in _batches(data)]


def _digits(epochs: int, calibration: int, seed: int, say: Say) -> Task:
    bunch: Any = load_digits()
    images = torch.from_numpy(bunch.images).float()[:, None] / 16
    data = list(zip(images, torch.from_numpy(bunch.target).long(), strict=True))
    order = torch.randperm(len(data), generator=torch.Generator().manual_seed(seed)).tolist()
    data = [data[i] for i in order]
    learn, held, tests = data[:1200], data[1200:1300], data[1300:]
    start = time.perf_counter()
    network = train(
        Classifier(), learn, _cross_entropy, epochs=epochs, batch=BATCH, rate=3e-3, seed=seed,
        say=lambda line: say(f"classification: {line}"),
    )  # fmt: skip
    seconds = time.perf_counter() - start
    batches = _stacked(tests)
    return Task(
        network,
        _stacked(held[:calibration]),
        lambda net: evaluate_classification(net, batches)["top1"],
        seconds,
    )


def _cross_entropy(network: nn.Module, images: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    return nn.functional.cross_entropy(network(torch.stack(list(images))), torch.stack(list(targets)))


def _pixel_loss(network: nn.Module, images: Sequence[Tensor], targets: Sequence[Tensor]) -> Tensor:
    """Cross-entropy with background, most of every image, weighted down."""
    scores = network(torch.stack(list(images)))
    weight = torch.ones(scores.shape[1])
    weight[0] = 0.3
    return nn.functional.cross_entropy(scores, torch.stack(list(targets)), weight)


def _detector_loss(network: nn.Module, images: Sequence[Tensor], targets: Sequence[Any]) -> Tensor:
    losses = network(list(images), [{key: t[key] for key in ("boxes", "labels")} for t in targets])
    return torch.stack(list(losses.values())).sum()


def _detection(
    generator: SceneGenerator, counts: tuple[int, int, int], epochs: int, seed: int, say: Say
) -> Task:
    scenes, calibration, tests = counts
    say("detection: making scenes")
    learn = list(SceneDataset(generator, "train", scenes))
    start = time.perf_counter()
    network = train(
        detector(len(generator.categories) + 1, generator.size), learn, _detector_loss, epochs=epochs,
        batch=16, rate=2e-3, seed=seed, say=lambda line: say(f"detection: {line}"),
    )  # fmt: skip
    seconds = time.perf_counter() - start
    held = [(list(i), t) for i, t in _batches(list(SceneDataset(generator, "calibration", calibration)))]
    images = [image for image, _ in SceneDataset(generator, "test", tests)]
    batches = [(list(i), ids) for i, ids in _batches(list(zip(images, range(1, tests + 1), strict=True)))]
    truth = coco_content(generator, "test", tests)
    return Task(network, held, lambda net: evaluate_detection(net, batches, truth)["map"], seconds)


def _segmentation(
    generator: SceneGenerator, counts: tuple[int, int, int], epochs: int, seed: int, say: Say
) -> Task:
    scenes, calibration, tests = counts
    learn = list(SceneDataset(generator, "train", scenes, "segmentation"))
    start = time.perf_counter()
    network = train(
        Segmenter(len(generator.categories) + 1), learn, _pixel_loss, epochs=epochs, batch=16, rate=4e-3,
        seed=seed, say=lambda line: say(f"segmentation: {line}"),
    )  # fmt: skip
    seconds = time.perf_counter() - start
    held = _stacked(list(SceneDataset(generator, "calibration", calibration, "segmentation")))
    batches = _stacked(list(SceneDataset(generator, "test", tests, "segmentation")))
    return Task(network, held, lambda net: evaluate_segmentation(net, batches)["miou"], seconds)


def table(result: dict[str, Any]) -> str:
    """Format :func:`run`'s result as a Markdown table."""
    lines = ["| task | network | T | score, % | points lost | MACs on spikes |", "|---|---|---|---|---|---|"]
    for name, entry in result["tasks"].items():
        lines.append(f"| {name} ({entry['metric']}) | source | | {entry['source']:.2f} | | |")
        for row in entry["conversions"]:
            if "refused" in row:
                lines.append(
                    f"| {name} | {row['recipe']} | {row['time_steps']} | refused: {row['refused']} | | |"
                )
                continue
            coverage = f"{row['coverage']:.1%}" if "coverage" in row else ""
            cells = (
                name,
                row["recipe"],
                row["time_steps"],
                f"{row['score']:.2f}",
                f"{row['lost']:+.2f}",
                coverage,
            )
            lines.append(f"| {' | '.join(map(str, cells))} |")
    lines += ["", *(f"- {'met' if met else 'missed'}: {goal}" for goal, met in result["goals"].items())]
    return "\n".join(lines)
