"""Which epoch's network is kept: the best on the validation part; among equal ones, the least loss."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

__all__ = ["BestCheckpoint"]


class BestCheckpoint(ModelCheckpoint):
    """Keeps the epoch with the largest ``val_accuracy``; equal ones are told apart by ``val_loss``.

    Small validation parts have ties: 269 images know 270 accuracies. Lightning keeps the first epoch of a
    tie, which is the least trained one.

    Args:
        folder: Where ``best.ckpt`` is written.
    """

    MONITORED = "val_accuracy"
    TIE = "val_loss"

    def __init__(self, folder: Any) -> None:
        super().__init__(folder, "best", enable_version_counter=False, monitor=self.MONITORED, mode="max")
        #: ``val_loss`` of the epoch that is kept; infinite where it is no number.
        self.best_loss = math.inf

    def check_monitor_top_k(self, trainer: Any, current: Tensor | None = None) -> bool:
        """Whether the epoch that just ended replaces the kept one, alike in every process."""
        loss = _number(trainer.callback_metrics.get(self.TIE))
        better = super().check_monitor_top_k(trainer, current) or self._breaks_tie(trainer, current, loss)
        if better:
            self.best_loss = loss
        return better

    def _breaks_tie(self, trainer: Any, current: Tensor | None, loss: float) -> bool:
        if current is None or self.best_model_score is None:
            return False
        tied = float(current) == float(self.best_model_score)
        decided: bool = trainer.strategy.reduce_boolean_decision(tied and loss < self.best_loss)
        return decided

    def state_dict(self) -> dict[str, Any]:
        """Lightning's state and the loss, so that a resumed run decides as an uninterrupted one."""
        return {**super().state_dict(), "best_loss": self.best_loss}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As saved; what another folder's run kept is not compared with."""
        super().load_state_dict(state_dict)
        if state_dict.get("dirpath") == self.dirpath:
            self.best_loss = state_dict.get("best_loss", -math.inf)  # an older file: its epoch stays


def _number(loss: Tensor | None) -> float:
    found = math.inf if loss is None else float(loss)
    return math.inf if math.isnan(found) else found
