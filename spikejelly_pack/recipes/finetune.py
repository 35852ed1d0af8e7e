"""Short training of a converted network: thresholds and weights, distilled from the source network."""

from __future__ import annotations

import math
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm import tqdm

from ..layer.modes import evaluating
from ..neuron import SpikePackNode
from ..spec.errors import DtypeError, ParameterError, ShapeError, UnsupportedError
from .coded import float_outputs
from .spikepack import first_tensor

__all__ = ["FinetuneEpoch", "distillation", "finetune"]

Loss = Callable[[Any, Any], Tensor]


@dataclass(frozen=True)
class FinetuneEpoch:
    """One epoch: its number from 1, and the mean loss over its batches."""

    epoch: int
    loss: float


def distillation(student: Any, teacher: Any) -> Tensor:
    """Kullback-Leibler divergence of the student's outputs from the teacher's, nats; classes on axis 1.

    Raises:
        ShapeError: The outputs differ in number or shape, or have fewer than two classes.
    """
    outputs, targets = float_outputs(student), float_outputs(teacher)
    if not outputs or len(outputs) != len(targets):
        raise ShapeError(
            "finetune: snn and teacher must give the same number of floating point outputs, at least one, "
            f"got {len(outputs)} and {len(targets)}; pass the source network, or another loss."
        )
    total = torch.zeros(())
    for got, wanted in zip(outputs, targets, strict=True):
        if got.shape != wanted.shape or got.dim() < 2 or got.shape[1] < 2:
            raise ShapeError(
                "finetune: outputs of snn and teacher must be [N, classes, *] of one shape, got "
                f"{tuple(got.shape)} and {tuple(wanted.shape)}; pass the source network, or another loss."
            )
        summed = F.kl_div(got.log_softmax(1), wanted.log_softmax(1), reduction="sum", log_target=True)
        total = total.to(summed) + summed / (got.numel() // got.shape[1])
    return total


def finetune(
    snn: nn.Module,
    dataloader: Iterable[Any],
    *,
    teacher: nn.Module,
    epochs: int = 10,
    learning_rate: float = 2e-3,
    loss: Loss = distillation,
    seed: int = 0,
    progress: bool = True,
) -> list[FinetuneEpoch]:
    """Train thresholds and weights of ``snn`` in place so that it answers as ``teacher`` does.

    Meant for few time steps (T <= 3). Runs in packed form with the nodes' straight-through gradient. The
    thresholds are learned (LSQ gradient scale) and constants again afterwards: form, ``state_dict`` keys and
    export stay what they were. No labels are needed: the source network teaches (distillation, arXiv
    1503.02531). Layers that behave otherwise in training (BatchNorm, dropout) stay in evaluation mode.
    Adam, with a cosine from ``learning_rate`` to 0 over the epochs.

    Args:
        snn: A converted network in packed form.
        dataloader: Training batches, read once per epoch: a tensor, or a tuple, list or dict that holds
            one first.
        teacher: The source network.
        epochs: Passes over the data.
        learning_rate: Of Adam at the start; it is about the largest change of a weight per step.
        loss: ``loss(student_output, teacher_output)``, a scalar.
        seed: Of everything random in the data's order and augmentation.
        progress: Show a progress bar.

    Returns:
        One entry per epoch.

    Raises:
        ParameterError: A parameter is outside its range.
        UnsupportedError: ``snn`` has no node with a threshold tensor, or is in serial form.
        DtypeError: There is no data, or the loss is not finite.
        ShapeError: The teacher does not take the data.
    """
    _check(snn, dataloader, epochs, learning_rate)
    if not isinstance(teacher, nn.Module):
        raise ParameterError(
            f"finetune: teacher must be the source network, got {type(teacher).__name__}; pass the module "
            "that was converted."
        )
    history = []
    with torch.random.fork_rng(devices=[]), evaluating(teacher), _trainable(snn) as parameters:
        torch.manual_seed(seed)
        optimizer = torch.optim.Adam(parameters, lr=learning_rate)
        bar = tqdm(range(1, epochs + 1), desc="finetuning", unit="epoch", disable=not progress, leave=False)
        for epoch in bar:
            for group in optimizer.param_groups:
                group["lr"] = learning_rate * 0.5 * (1 + math.cos(math.pi * (epoch - 1) / epochs))
            history.append(FinetuneEpoch(epoch, _epoch(snn, teacher, dataloader, loss, optimizer)))
            bar.set_postfix(loss=f"{history[-1].loss:.4g}")
    return history


def _taught(teacher: nn.Module, x: Tensor) -> Any:
    """The teacher's answer, or in one sentence that it does not take what the network takes."""
    try:
        with torch.no_grad():
            return teacher(x)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ShapeError(
            f"finetune: teacher must take the batches of the dataloader, got shape {tuple(x.shape)}: "
            f"{' '.join(str(error).split())[:300]}; pass the source network that was converted."
        ) from error


def _epoch(
    snn: nn.Module, teacher: nn.Module, data: Iterable[Any], loss: Loss, optimizer: torch.optim.Optimizer
) -> float:
    total, batches = 0.0, 0
    for batch in data:
        x = first_tensor(batch, "finetune")
        wanted = _taught(teacher, x)
        with torch.enable_grad():
            cost = loss(snn(x), wanted)
        if not bool(torch.isfinite(cost)):
            raise DtypeError(
                f"finetune: the loss must be finite, got {float(cost.detach())} in batch {batches + 1}; "
                "lower the learning rate or clean the data."
            )
        optimizer.zero_grad()
        cost.backward()
        optimizer.step()
        total, batches = total + float(cost.detach()), batches + 1
    if not batches:
        raise DtypeError(
            "finetune: dataloader must yield batches in every epoch, got none; pass a DataLoader or a list."
        )
    return total / batches


def _check(snn: nn.Module, data: Any, epochs: Any, learning_rate: Any) -> None:
    if isinstance(data, (Tensor, str, dict, Iterator)) or not isinstance(data, Iterable):
        raise ParameterError(
            f"finetune: dataloader must yield batches in every epoch, got {type(data).__name__}; "
            "pass a DataLoader or a list of batches."
        )
    if isinstance(epochs, bool) or not isinstance(epochs, int) or epochs < 1:
        raise ParameterError(f"finetune: epochs must be an integer >= 1, got {epochs!r}; 10 is usual.")
    number = isinstance(learning_rate, (int, float)) and not isinstance(learning_rate, bool)
    if not number or not 0.0 < learning_rate < math.inf:
        raise ParameterError(
            f"finetune: learning_rate must be a positive number, got {learning_rate!r}; 2e-3 is usual."
        )
    nodes = [module for module in snn.modules() if isinstance(module, SpikePackNode)]
    if not any(node.theta is not None for node in nodes):
        raise UnsupportedError(
            f"finetune: snn must hold calibrated SpikePackNodes, got {type(snn).__name__} without any; "
            "convert the network first."
        )
    if any(node.form != "packed" for node in nodes):
        raise UnsupportedError(
            "finetune: snn must be in packed form, got a serial one; call set_form(snn, 'packed') and set "
            "step mode 's' first."
        )


@contextmanager
def _trainable(snn: nn.Module) -> Generator[list[nn.Parameter]]:
    """All parameters, the thresholds among them, ready for an optimizer; afterwards as they were."""
    asked = {parameter: parameter.requires_grad for parameter in snn.parameters()}
    fixed = [
        module
        for module in snn.modules()
        if isinstance(module, SpikePackNode) and module.theta is not None and not module.learnable_threshold
    ]
    for node in fixed:
        theta = node.theta
        del node.theta
        node.register_parameter("theta", nn.Parameter(theta.detach().clone()))
        node.learnable_threshold = "channel" if theta.dim() else "tensor"
    for parameter in snn.parameters():
        parameter.requires_grad_(True)
    try:
        with evaluating(snn):
            yield list(snn.parameters())
    finally:
        for node in fixed:
            theta = node.threshold.detach().clone()
            del node.theta
            node.register_buffer("theta", theta)
            node.learnable_threshold = False
        for parameter, wanted in asked.items():
            parameter.requires_grad_(wanted)
            parameter.grad = None
