"""A plain torch training loop, for benchmarks and for what has no Lightning; deterministic per seed.

:func:`train_epochs` trains any classifier on any pair of tensors; :func:`evaluate` gives accuracy and spikes.
``spikepack train`` does more (checkpoints, EMA, several processes) and has its own loop, Lightning's.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ..layer.modes import evaluating
from ..spec.errors import ParameterError
from .firing import SpikeCount, count_spikes
from .thresholds import fit_thresholds

__all__ = ["Evaluation", "History", "cosine_factor", "evaluate", "materialize", "train_epochs"]


@dataclass
class History:
    """Of every epoch: mean training loss, share of training samples right, seconds (wall clock)."""

    loss: list[float] = field(default_factory=list)
    accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """Share of samples right, and the spikes of all neurons over all samples."""

    accuracy: float
    samples: int
    count: SpikeCount

    @property
    def spikes_per_inference(self) -> float:
        """Spikes of the whole network per sample."""
        return self.count.spikes / self.samples


def cosine_factor(step: int, steps: int, warmup: int = 0) -> float:
    """Learning rate at ``step`` of ``steps`` as a share of its peak: linear warm-up, then a half cosine."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warmup) / max(1, steps - warmup))))


def materialize(net: nn.Module, sample: Tensor) -> None:
    """Let lazily sized parameters (thresholds per channel) take their shape; nothing else changes."""
    with evaluating(net), torch.no_grad():
        net(sample)


def train_epochs(
    net: nn.Module,
    inputs: Tensor,
    classes: Tensor,
    *,
    epochs: int,
    batch: int = 64,
    learning_rate: float = 4e-3,
    weight_decay: float = 1e-2,
    label_smoothing: float = 0.1,
    warmup: float = 0.1,
    clip: float = 5.0,
    seed: int = 0,
    augment: Callable[[Tensor, torch.Generator], Tensor] | None = None,
    progress: bool = True,
) -> History:
    """Train a classifier in place with AdamW and a cosine schedule; samples that fill no batch are left out.

    Args:
        net: ``[N, *]`` to logits ``[N, K]``; a :class:`.Classifier` of any neuron, or an ANN.
        inputs: ``[N, *]``.
        classes: ``[N]``, int64.
        epochs: Passes over the data.
        batch: Samples per step.
        learning_rate: Peak of the schedule.
        weight_decay: Of AdamW; vectors and scalars (biases, norms, thresholds) have none.
        label_smoothing: Of the cross entropy.
        warmup: Share of the steps with a rising learning rate.
        clip: Largest norm of the gradient.
        seed: Order of the samples, augmentation.
        augment: Changes a batch; draws from the generator only.
        progress: Show a bar.

    Returns:
        What every epoch brought.

    Raises:
        ParameterError: There are fewer samples than one batch.
    """
    rounds = len(inputs) // batch
    if not rounds:
        raise ParameterError(
            f"train_epochs: batch must be at most {len(inputs)} samples, got {batch}; lower it."
        )
    chance = torch.Generator().manual_seed(seed)
    materialize(net, inputs[:2])
    fit_thresholds(net, inputs)
    optimizer = torch.optim.AdamW(decay_groups(net, weight_decay), lr=learning_rate)
    steps = epochs * rounds
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: cosine_factor(step, steps, int(warmup * steps))
    )
    history = History()
    net.train()
    with tqdm(range(epochs), desc="training", unit="epoch", disable=None if progress else True) as bar:
        for _ in bar:
            start, loss, right = time.perf_counter(), torch.zeros(()), torch.zeros(())
            for indices in _batches(len(inputs), batch, chance):
                x, y = inputs[indices], classes[indices]
                logits = net(x if augment is None else augment(x, chance))
                error = F.cross_entropy(logits, y, label_smoothing=label_smoothing)
                optimizer.zero_grad()
                error.backward()
                nn.utils.clip_grad_norm_(net.parameters(), clip)
                optimizer.step()
                schedule.step()
                loss += error.detach()
                right += (logits.detach().argmax(1) == y).sum()
            history.loss.append(float(loss) / rounds)
            history.accuracy.append(float(right) / (rounds * batch))
            history.seconds.append(time.perf_counter() - start)
            bar.set_postfix(loss=f"{history.loss[-1]:.3f}", accuracy=f"{history.accuracy[-1]:.3f}")
    return history


def decay_groups(net: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Parameter groups: weights (two axes or more) decay; biases, norms and thresholds do not."""
    learned = [parameter for parameter in net.parameters() if parameter.requires_grad]
    return [
        {"params": [p for p in learned if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in learned if p.ndim <= 1], "weight_decay": 0.0},
    ]


def evaluate(net: nn.Module, inputs: Tensor, classes: Tensor, *, batch: int = 256) -> Evaluation:
    """Accuracy and spikes in evaluation mode; the mode of every module stays."""
    right = 0
    with evaluating(net), torch.no_grad(), count_spikes(net) as count:
        for x, y in zip(inputs.split(batch), classes.split(batch), strict=True):
            right += int((net(x).argmax(1) == y).sum())
    return Evaluation(right / len(inputs), len(inputs), count)


def _batches(samples: int, batch: int, chance: torch.Generator) -> Iterator[Tensor]:
    order = torch.randperm(samples, generator=chance)
    rounds = samples // batch
    yield from order[: rounds * batch].view(rounds, batch)
