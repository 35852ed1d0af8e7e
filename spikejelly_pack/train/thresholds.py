"""Where learned thresholds start: at the least coding error of what a new network's nodes receive.

A threshold of 1 behind BatchNorm clips a sixth of the values, and training hardly moves it. Step sizes of
LSQ, which a threshold divided by its largest code is, start from the data too.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..layer.modes import keeping_modes
from ..neuron import SpikePackNode
from ..recipes.calibration import make_calibrator
from ..recipes.calibration.base import by_channel
from .classifier import Classifier

__all__ = ["fit_thresholds"]

#: Samples that are looked at.
SAMPLES = 256


def fit_thresholds(net: nn.Module, samples: Tensor) -> None:
    """Set the learned thresholds of a new network, node after node, from a pass over some samples.

    Left alone: networks that were fitted or loaded, other neurons, thresholds that were given, and nodes that
    carry a membrane over windows, whose range is not that of one window.

    Args:
        net: What is about to be trained.
        samples: ``[N, *]``; at most :data:`SAMPLES` are used, evenly spread.
    """
    if not isinstance(net, Classifier) or not net.fits_thresholds:
        return
    net.fits_thresholds = False
    used = samples[:: max(1, len(samples) // SAMPLES)][:SAMPLES]
    nodes = [module for module in net.modules() if isinstance(module, SpikePackNode)]
    hooks = [node.register_forward_pre_hook(_fit) for node in nodes if _is_learned(node)]
    try:
        with torch.no_grad(), _unchanged(net):
            net(used)
    finally:
        for hook in hooks:
            hook.remove()


def _is_learned(node: SpikePackNode) -> bool:
    return bool(node.learnable_threshold) and node.params.leak == 0


@contextmanager
def _unchanged(net: nn.Module) -> Generator[None]:
    """Training mode, so that norms use the batch; statistics, random numbers and modes stay as they were."""
    buffers = {name: x.clone() for name, x in net.named_buffers()}
    try:
        with torch.random.fork_rng(), keeping_modes(net):
            net.train()
            yield
    finally:
        for name, x in net.named_buffers():
            x.copy_(buffers[name])


def _fit(node: nn.Module, args: tuple[Any, ...]) -> None:
    assert isinstance(node, SpikePackNode)
    seen: Tensor = args[0].flatten(0, 1) if node.step_mode == "m" else args[0]
    magnitude = seen.abs() if node.params.signed else seen.clamp(min=0)
    if node.per_channel:
        magnitude = magnitude.movedim(node.channel_dim, 1)
    calibrator = make_calibrator("mse", node.per_channel)
    calibrator.observe(by_channel(magnitude, node.per_channel))
    found = calibrator.threshold(node.params).to(node.theta).view_as(node.theta)
    node.theta.copy_(torch.where(found > 0, found, node.theta))
