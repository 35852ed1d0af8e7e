"""Adaptive against nearest rounding of the integer form's weights, on the demo's network and digits."""

from __future__ import annotations

import statistics
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import torch
from spikingjelly.activation_based import ann2snn
from torch import Tensor, nn

from spikejelly_pack import SpikePackRecipe, build_integer
from spikejelly_pack.cli.demo.digits import load, train
from spikejelly_pack.spec.errors import BoundError
from spikejelly_pack.spec.execute import encode, outputs, run_packed

__all__ = ["FAST", "run", "table"]

# A smoke test, no measurement.
FAST: dict[str, Any] = {"seeds": (0,), "epochs": 1, "weight_bits": (4,), "time_steps": (3,), "samples": 32}


def run(
    seeds: Sequence[int] = (0, 1, 2),
    epochs: int = 8,
    weight_bits: Sequence[int] = (8, 4, 3),
    time_steps: Sequence[int] = (4, 8),
    samples: int = 512,
    progress: Callable[[str], Any] = str,
) -> dict[str, Any]:
    """Accuracy and error of the logits against the float form, which has the same nodes.

    Args:
        seeds: Networks trained.
        epochs: Of training.
        weight_bits: Widths of weights.
        time_steps: T.
        samples: Training images for thresholds and rounding.
        progress: Gets a word on what runs now.
    """
    data = load()
    cases = [(t, bits, adaptive) for t in time_steps for bits in weight_bits for adaptive in (False, True)]
    rows: list[dict[str, Any]] = []
    for seed in seeds:
        progress(f"seed {seed}, training")
        ann = train(data, seed, epochs)
        used, test = data.train_inputs[:samples], data.test_inputs
        for t, bits, adaptive in cases:
            progress(f"seed {seed}, T = {t}, {bits} bits, {'adaptive' if adaptive else 'nearest'}")
            recipe = SpikePackRecipe(used.split(128), time_steps=t, progress=False)
            snn = ann2snn.Converter(recipe).convert(ann)
            found = _measured(snn, used, test, data.test_classes, bits, adaptive)
            rows.append({"seed": seed, "time_steps": t, "weight_bits": bits, "adaptive": adaptive, **found})
    return {"rows": rows, "test_images": len(data.test_inputs), "epochs": epochs, "samples": samples}


@torch.no_grad()
def _measured(
    snn: nn.Module, used: Tensor, test: Tensor, classes: Tensor, bits: int, adaptive: bool
) -> dict[str, Any]:
    wanted = snn(test)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of coarse weights: that is what is measured
            network = build_integer(snn, used, weight_bits=bits, adaptive_rounding=adaptive)
    except BoundError as error:
        return {"refused": str(error)}
    (entry,) = network.inputs
    membranes = run_packed(network, encode(entry, test.numpy()))
    got = torch.from_numpy(outputs(network, membranes)["output"])
    accuracy = 100 * float((got.argmax(1) == classes).double().mean())
    return {"accuracy": accuracy, "error": float((got - wanted).norm() / wanted.norm())}


def table(result: dict[str, Any]) -> str:
    """Means over the seeds, as Markdown."""
    lines = [
        "| T | weight bits | nearest: accuracy | logits error | adaptive: accuracy | logits error |",
        "|---:|---:|---:|---:|---:|---:|",
    ]
    cases = dict.fromkeys((row["time_steps"], row["weight_bits"]) for row in result["rows"])
    for t, bits in cases:
        cells = [str(t), str(bits)]
        for adaptive in (False, True):
            rows = [
                row for row in result["rows"]
                if (row["time_steps"], row["weight_bits"], row["adaptive"]) == (t, bits, adaptive)
            ]  # fmt: skip
            if any("refused" in row for row in rows):
                cells += ["refused", ""]
                continue
            cells.append(f"{statistics.fmean(row['accuracy'] for row in rows):.2f} %")
            cells.append(f"{statistics.fmean(row['error'] for row in rows):.3f}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
