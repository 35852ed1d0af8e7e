"""Which epoch is kept: validation scores are dictated, the checkpoint says which epoch it holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from spikejelly_pack.train.module import DirectTraining
from spikejelly_pack.train.saved import read_checkpoint

Train = Callable[..., dict[str, Any]]
NAN = float("nan")


@pytest.fixture
def dictate(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[tuple[float, float]]], None]:
    """``dictate([(accuracy, loss), ...])``: what validation finds, epoch by epoch."""

    def scores(found: list[tuple[float, float]]) -> None:
        def evaluate(self: DirectTraining, batch: tuple[torch.Tensor, Any], part: str) -> None:
            accuracy, loss = found[min(self.current_epoch, len(found) - 1)]
            self.log_dict({f"{part}_accuracy": accuracy, f"{part}_loss": loss}, batch_size=len(batch[0]))

        monkeypatch.setattr(DirectTraining, "_evaluate", evaluate)

    return scores


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ([(0.5, 3.0), (0.5, 1.0), (0.5, 2.0), (0.5, 1.0)], 1),  # the least loss, the first of equal ones
        ([(0.5, 1.0), (0.75, 9.0), (0.75, 8.0), (0.5, 0.1)], 2),  # accuracy first, whatever the loss
        ([(0.75, 2.0), (0.5, 0.5), (0.75, 3.0), (0.75, 1.0)], 3),  # with the kept epoch, not the last
        ([(0.5, NAN), (0.5, 2.0), (0.5, NAN), (0.5, 3.0)], 1),  # a loss that is no number never wins
    ],
)
def test_the_least_loss_among_the_best(
    train: Train, tmp_path: Path, dictate: Any, scores: list[tuple[float, float]], kept: int
) -> None:
    dictate(scores)
    result = train(tmp_path, "--trainer.max_epochs", str(len(scores)))
    assert read_checkpoint(result["files"]["best"])["epoch"] == kept


def test_a_resumed_run_remembers_the_loss(train: Train, tmp_path: Path, dictate: Any) -> None:
    dictate([(0.5, 1.0)])
    last = train(tmp_path, "--trainer.max_epochs", "1")["files"]["last"]
    dictate([(0.5, 1.0), (0.5, 2.0)])
    result = train(tmp_path, "--trainer.max_epochs", "2", "--resume", last)
    assert read_checkpoint(result["files"]["best"])["epoch"] == 0
    dictate([(0.5, 1.0), (0.5, 2.0), (0.5, 0.5)])
    result = train(tmp_path, "--trainer.max_epochs", "3", "--resume", result["files"]["last"])
    assert read_checkpoint(result["files"]["best"])["epoch"] == 2
