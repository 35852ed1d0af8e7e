"""The Lightning module of direct training: loss, schedule, metrics; what a checkpoint says of its network."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn

from ..bit_budget.plan import read_plan
from ..spec.errors import ParameterError, RunError
from .firing import count_spikes
from .loop import cosine_factor, decay_groups
from .networks import build_network
from .neurons import SPIKEPACK
from .planned import planned
from .saved import CHECKPOINT_KEY, describe
from .seeds import derived_seed
from .teacher import load_teacher

__all__ = ["DirectTraining"]

COUNTED_EVERY = 10  # training steps; looking at spikes waits for the device


class DirectTraining(LightningModule):
    """Trains a network in packed form with straight-through gradients.

    Args:
        network: Name of the network (``spikejelly_pack.train.NETWORKS``).
        neuron: ``class_path`` of the neuron, and ``init_args`` if any.
        time_steps: T: digits of a code, or repetitions of a static input for neurons without codes.
        network_args: Options of the network.
        neuron_args: Arguments by neuron class name; those of other classes are not used.
        learning_rate: Peak of the cosine schedule.
        weight_decay: AdamW's, for weights only.
        warmup: Share of the training steps with a rising learning rate, 0..1.
        label_smoothing: Of the cross entropy, 0..1.
        teacher: Trained network to distil from: ``FILE.py:FUNCTION``, ``package.module:FUNCTION``,
            ``torchvision:NAME``, or a file that ``spikepack train`` wrote.
        teacher_weights: State dict of the teacher as safetensors.
        distillation: Share of the teacher in the loss, 0..1.
        temperature: Softens both distributions of the distillation.
        compile: Backend of torch.compile for the network, ``inductor`` for example; None: not compiled.
        plan: Plan that ``spikepack budget plan`` made for this network: time steps per node, weight bits per
            layer.
    """

    def __init__(
        self,
        network: str = "digits_cnn",
        neuron: dict[str, Any] | None = None,
        time_steps: int = 4,
        network_args: dict[str, Any] | None = None,
        neuron_args: dict[str, dict[str, Any]] | None = None,
        learning_rate: float = 4e-3,
        weight_decay: float = 1e-2,
        warmup: float = 0.1,
        label_smoothing: float = 0.1,
        teacher: str | None = None,
        teacher_weights: str | None = None,
        distillation: float = 0.5,
        temperature: float = 2.0,
        compile: str | None = None,  # noqa: A002 (the name users type)
        plan: str | None = None,
    ) -> None:
        super().__init__()
        _check(learning_rate=learning_rate, weight_decay=weight_decay, temperature=temperature)
        _check_share(warmup=warmup, label_smoothing=label_smoothing, distillation=distillation)
        self.network = build_network(
            network,
            neuron or SPIKEPACK,
            time_steps=time_steps,
            options=network_args,
            neuron_args=neuron_args,
        )
        if plan:
            planned(self.network, read_plan(plan))
        self.learning_rate, self.weight_decay, self.warmup = learning_rate, weight_decay, warmup
        self.label_smoothing, self.distillation, self.temperature = label_smoothing, distillation, temperature
        # In a list: the teacher is no part of the state dict, and nobody trains or averages it.
        self.teacher: list[nn.Module] = [load_teacher(teacher, teacher_weights)] if teacher else []
        if compile:
            self.network.compile(backend=compile)

    def forward(self, x: Tensor) -> Tensor:
        """Logits ``[N, K]``."""
        return self.network(x)

    def loss(self, x: Tensor, logits: Tensor, classes: Tensor) -> Tensor:
        """Cross entropy, mixed with the divergence from the teacher's softened distribution if any."""
        error = F.cross_entropy(logits, classes, label_smoothing=self.label_smoothing)
        if not self.teacher or self.distillation == 0:
            return error
        with torch.no_grad():
            target = self.teacher[0].to(x.device)(x) / self.temperature
        divergence = F.kl_div(
            F.log_softmax(logits / self.temperature, 1),
            F.log_softmax(target, 1),
            reduction="batchmean",
            log_target=True,
        )
        return (1 - self.distillation) * error + self.distillation * self.temperature**2 * divergence

    # -- steps --------------------------------------------------------------------------------------

    def training_step(self, batch: tuple[Tensor, Tensor], index: int) -> Tensor:
        x, classes = batch
        looked_at = index % COUNTED_EVERY == 0
        with count_spikes(self.network) if looked_at else nullcontext() as count:
            logits = self(x)
        loss = self.loss(x, logits, classes)
        if count is not None:
            self.log("train_firing_rate", count.rate, prog_bar=True)
            self._check_finite(float(loss.detach()))
        self.log("train_loss", loss, prog_bar=True, sync_dist=True)
        right = (logits.detach().argmax(1) == classes).float().mean()
        self.log("train_accuracy", right, prog_bar=True, on_step=False, on_epoch=True, sync_dist=True)
        return loss

    def _check_finite(self, loss: float) -> None:
        # It stops the run: a checkpoint of such weights would replace a good one.
        if not math.isfinite(loss):
            raise RunError(
                f"train: the loss must be finite, got {loss} at step {self.global_step}; lower "
                "--model.learning_rate or clip gradients (--trainer.gradient_clip_val)."
            )

    def validation_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self._evaluate(batch, "val")

    def test_step(self, batch: tuple[Tensor, Tensor], index: int) -> None:
        self._evaluate(batch, "test")

    def _evaluate(self, batch: tuple[Tensor, Tensor], part: str) -> None:
        x, classes = batch
        with count_spikes(self.network) as count:
            logits = self(x)
        found = {
            f"{part}_loss": F.cross_entropy(logits, classes),
            f"{part}_accuracy": (logits.argmax(1) == classes).float().mean(),
            f"{part}_firing_rate": count.rate,
            f"{part}_spikes": count.spikes / len(x),
        }
        self.log_dict(found, prog_bar=part == "val", sync_dist=True, batch_size=len(x))

    # -- optimizer, determinism, checkpoints --------------------------------------------------------

    def configure_optimizers(self) -> Any:
        """AdamW and a warmed-up cosine over all optimizer steps."""
        groups: Any = decay_groups(self.network, self.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=self.learning_rate)
        total = max(1, int(self.trainer.estimated_stepping_batches))
        warmup = int(self.warmup * total)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: cosine_factor(step, total, warmup)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_epoch_start(self) -> None:
        """Random numbers of an epoch depend on (seed, epoch, process) alone: a resumed run draws the same."""
        data: Any = getattr(self.trainer, "datamodule", None)
        seed = getattr(data, "seed", 0)
        torch.manual_seed(derived_seed(seed, self.current_epoch, self.global_rank))

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint[CHECKPOINT_KEY] = describe(self.network)


def _check(**numbers: float) -> None:
    for name, value in numbers.items():
        low = 0 if name == "weight_decay" else math.ulp(0.0)
        if not low <= value < math.inf:
            raise ParameterError(
                f"train: {name} must be a positive number, got {value!r}; change --model.{name}."
            )


def _check_share(**numbers: float) -> None:
    for name, value in numbers.items():
        if not 0 <= value <= 1:
            raise ParameterError(f"train: {name} must be in 0..1, got {value!r}; change --model.{name}.")
