"""Task accuracy: classification, detection and segmentation networks before and after conversion.

Small networks are trained here, on data that comes with the package. Each is converted at every T with one
threshold per tensor and one per channel; for few time steps also with calibrator and bias correction chosen
by the metric on a validation split. All are measured on test data that nothing was chosen on. SpikingJelly's
own recipes run beside them where they take the network.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from benchmarks.task_baselines import BASELINES, baseline
from benchmarks.task_data import MAKERS, Sizes, Task
from spikejelly_pack import convert
from spikejelly_pack.data.scenes import SceneGenerator
from spikejelly_pack.spec.atomic import write_text
from spikejelly_pack.spec.errors import ParameterError

__all__ = ["FAST", "GOALS", "STORES", "run", "table"]

# A smoke test, no measurement.
FAST: dict[str, Any] = {
    "time_steps": (4,),
    "scenes": 16,
    "epochs": dict.fromkeys(MAKERS, 1),
    "tests": 8,
    "calibration": 8,
    "size": 32,
    "candidates": ({"channel_wise": True, "calibrator": "99.9%", "improve": ("bias_correction",)},),
    "longer": (),
}
#: ``run`` writes to ``store`` after every task and goes on where the file there ends.
STORES = True
EPOCHS = {
    "classification": 20,
    "transformer": 24,
    "detection": 6,
    "instance segmentation": 6,
    "segmentation": 4,
}
#: Points of each metric that a conversion may lose, by T.
GOALS = {"top1": {8: 0.1, 4: 1.0}, **{name: {8: 0.5, 4: 1.0} for name in ("map", "mask map", "miou")}}
PER_CHANNEL = "SpikePack, per channel"
CHOSEN = "SpikePack, per channel, chosen on validation data"
#: Largest T at which something is chosen; above, the default settings have to meet the goals.
FEW = 4
FIXED: dict[str, dict[str, Any]] = {
    "SpikePack": {},
    PER_CHANNEL: {"channel_wise": True},
}
#: Settings among which the metric on the validation split chooses, the same for every task.
CANDIDATES = tuple(
    {"channel_wise": True, "calibrator": calibrator, "improve": improve}
    for calibrator, improve in (("mse", ()), ("99.9%", ()), ("99.9%", ("bias_correction",)), ("max", ()))
)
Say = Callable[[str], Any]


def run(
    time_steps: Sequence[int] = (8, 4),
    scenes: int = 1600,
    epochs: dict[str, int] | None = None,
    tests: int = 400,
    calibration: int = 128,
    size: int = 64,
    seed: int = 0,
    names: Sequence[str] = tuple(MAKERS),
    candidates: Sequence[dict[str, Any]] = CANDIDATES,
    longer: Sequence[int] = (32,),
    store: str | os.PathLike[str] | None = None,
    progress: Say | None = None,
) -> dict[str, Any]:
    """Train, convert and measure.

    Args:
        time_steps: Values of T.
        scenes: Training scenes of the detectors and the segmentation network.
        epochs: Per task.
        tests: Test scenes of detection and segmentation, and as many to choose on.
        calibration: Calibration images.
        size: Height and width of a scene, a multiple of 8.
        seed: Of scenes, weights and order.
        names: Tasks, keys of ``MAKERS``.
        candidates: Options of ``convert`` to choose from.
        longer: Further time steps for SpikingJelly's recipes.
        store: File that gets the result after every task, and whose tasks are kept.
        progress: Called with one line per stage.

    Returns:
        Per task: the metrics of the source (in per cent), per conversion the metrics, the loss in points,
        coverage; goals, and the machine. JSON-ready.

    Raises:
        ParameterError: A size is not positive, or ``store`` holds results of other sizes.
    """
    for name, value in (("scenes", scenes), ("tests", tests), ("calibration", calibration)):
        if value < 1:
            raise ParameterError(f"bench tasks: {name} must be positive, got {value}; raise it.")
    if size % 8 or size < 24:
        raise ParameterError(
            f"bench tasks: size must be a multiple of 8 and at least 24, got {size}; round it."
        )
    say = progress or (lambda _: None)
    epochs = epochs or EPOCHS
    settings = {
        "scenes": scenes, "tests": tests, "calibration": calibration, "size": size, "seed": seed,
        "time_steps": list(time_steps), "longer": list(longer),
    }  # fmt: skip
    sizes = Sizes(SceneGenerator(size, seed=seed), scenes, calibration, tests, seed)
    found = {} if store is None else _stored(Path(store), settings)
    for name in names:
        if name not in found:
            torch.manual_seed(seed)
            task = MAKERS[name](sizes, epochs[name], _prefixed(say, name))
            found[name] = _measured(task, time_steps, candidates, longer, _prefixed(say, name))
            found[name]["epochs"] = epochs[name]
        if store is not None:
            write_text(store, json.dumps(_result(found, settings), indent=2) + "\n")
    return _result(found, settings)


def _prefixed(say: Say, name: str) -> Say:
    return lambda line: say(f"{name}: {line}")


def _stored(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """The tasks of an earlier run."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    found = json.loads(path.read_text("utf-8"))
    if found.get("sizes") != settings:
        raise ParameterError(
            f"bench tasks: {path} must hold results of this run's sizes to go on with, got "
            f"{found.get('sizes')}; name another file."
        )
    return found["tasks"]


def _result(found: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    machine = {"processor": platform.processor() or platform.machine(), "torch": torch.__version__}
    kept = {name: found[name] for name in MAKERS if name in found}
    return {"tasks": kept, "goals": _goals(kept), "sizes": settings, "machine": machine}


def _measured(
    task: Task,
    time_steps: Sequence[int],
    candidates: Sequence[dict[str, Any]],
    longer: Sequence[int],
    say: Say,
) -> dict[str, Any]:
    say("source")
    source = task.measure(task.network)
    rows = [row for steps in time_steps for row in _conversions(task, source, steps, candidates, say)]
    rows += _baselines(task, source, [*time_steps, *longer], say)
    return {"source": source, "training_seconds": task.seconds, "conversions": rows}


def _conversions(
    task: Task, source: dict[str, float], steps: int, candidates: Sequence[dict[str, Any]], say: Say
) -> Iterator[dict[str, Any]]:
    for recipe, options in FIXED.items():
        say(f"T = {steps}, {recipe}")
        yield _row(task, source, recipe, steps, _converted(task, steps, options))
    if steps > FEW:
        return
    best, valued = candidates[0], -1.0
    tried = []
    for options in (*candidates, *task.candidates):
        say(f"T = {steps}, choosing, {options}")
        score = task.validate(_converted(task, steps, options))
        tried.append({**options, "validation": score})
        # The metrics of one task count alike; the first of equals is kept.
        if sum(score.values()) > valued:
            best, valued = options, sum(score.values())
    row = _row(task, source, CHOSEN, steps, _converted(task, steps, best))
    yield {**row, "chosen": best, "validation_source": task.validate(task.network), "tried": tried}


def _converted(task: Task, steps: int, options: dict[str, Any]) -> Any:
    compare = task.compare if options.get("improve") else ()
    common = {key: value for key, value in options.items() if key != "shifts"}
    common |= {"progress": False, "compare": compare}
    if "shifts" not in options:
        return convert(task.network, task.calibration, steps, **common)
    even: Any = convert(task.network, task.calibration, steps, **common)
    shifted = {
        entry.stands_for: steps + shift
        for entry in even.report.layers
        for name, shift in options["shifts"].items()
        if entry.stands_for.startswith(name)
    }
    return convert(task.network, task.calibration, {"*": steps, **shifted}, **common)


def _row(task: Task, source: dict[str, float], recipe: str, steps: int, network: Any) -> dict[str, Any]:
    scores = task.measure(network)
    row = {"recipe": recipe, "time_steps": steps, "scores": scores, "lost": _lost(source, scores)}
    report = getattr(network, "report", None)
    if report is None:
        return row
    digits = [entry.time_steps for entry in report.layers]
    row |= {"coverage": report.coverage, "route": report.route}
    return row if len(set(digits)) == 1 else {**row, "mean_time_steps": sum(digits) / len(digits)}


def _lost(source: dict[str, float], scores: dict[str, float]) -> dict[str, float]:
    return {metric: source[metric] - scores[metric] for metric in source}


def _baselines(
    task: Task, source: dict[str, float], time_steps: Sequence[int], say: Say
) -> Iterator[dict[str, Any]]:
    for recipe in BASELINES:
        for steps in time_steps:
            say(f"T = {steps}, {recipe}")
            try:
                network = baseline(recipe, task.network, task.calibration, steps)
                yield _row(task, source, recipe, steps, network)
            except Exception as error:  # noqa: BLE001 (its refusal is the result)
                said = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
                yield {"recipe": recipe, "refused": said}
                break


def _goals(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Points that the conversion chosen on validation data (T above ``FEW``: per channel) lost."""
    goals: dict[str, dict[str, Any]] = {}
    for name, entry in found.items():
        for row in entry["conversions"]:
            counted = row["recipe"] == (CHOSEN if row.get("time_steps", 0) <= FEW else PER_CHANNEL)
            for metric, lost in row["lost"].items() if counted else ():
                allowed = GOALS[metric].get(row["time_steps"])
                if allowed is not None:
                    goal = f"{name}, T = {row['time_steps']}: at most {allowed} points of {metric} lost"
                    goals[goal] = {"lost": lost, "met": lost <= allowed}
    return goals


def table(result: dict[str, Any]) -> str:
    """Format :func:`run`'s result as a Markdown table."""
    lines = [
        "| task | network | T | score, % | points lost | MACs on spikes |",
        "|---|---|---:|---:|---:|---:|",
    ]
    for name, entry in result["tasks"].items():
        metrics = ", ".join(entry["source"])
        lines.append(f"| {name} ({metrics}) | source | | {_joined(entry['source'], '.2f')} | | |")
        for row in entry["conversions"]:
            if "refused" in row:
                lines.append(f"| {name} | {row['recipe']} | | refused: {row['refused']} | | |")
                continue
            coverage = f"{row['coverage']:.1%}" if "coverage" in row else ""
            scores, lost = _joined(row["scores"], ".2f"), _joined(row["lost"], "+.2f")
            recipe = row["recipe"] + (f": {_described(row['chosen'])}" if "chosen" in row else "")
            steps = f"{row['mean_time_steps']:.2f} (mean)" if "mean_time_steps" in row else row["time_steps"]
            lines.append(f"| {name} | {recipe} | {steps} | {scores} | {lost} | {coverage} |")
    lines.append("")
    lines += [
        f"- {'met' if goal['met'] else 'missed'}: {text} ({goal['lost']:+.2f})"
        for text, goal in result["goals"].items()
    ]
    return "\n".join(lines)


def _joined(scores: dict[str, float], form: str) -> str:
    return ", ".join(format(round(value, 2) + 0.0, form) for value in scores.values())


def _described(options: dict[str, Any]) -> str:
    parts = [options["calibrator"], *(name.replace("_", " ") for name in options["improve"])]
    return ", ".join([*parts, *(["T per layer"] if "shifts" in options else [])])
