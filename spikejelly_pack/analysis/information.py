"""How much information one spiking neuron transmits from a Gaussian input current to its output train.

One output is the whole train of one trial: T steps of spikes, of spike counts, or one packed code. See
:mod:`.entropy` for why its entropy is the mutual information, :mod:`.layers` for networks on data.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from spikingjelly.activation_based import functional as sj
from torch import nn

from ..neuron import SpikePackNode
from ..spec.errors import ParameterError
from ..spec.parameters import check_choice, check_time_steps
from .entropy import gaussian_code_entropy, miller_madow, plugin_entropy, words

__all__ = [
    "DRIVES",
    "Information",
    "best_operating_point",
    "neuron_information",
]

DRIVES = ("constant", "stream")


@dataclass(frozen=True)
class Information:
    """Bits that one neuron transmits per trial.

    Attributes:
        bits: Mutual information between input and output train.
        exact: Whether ``bits`` is a closed form; else the Miller-Madow estimate.
        plugin: Entropy of the relative frequencies (equal to ``bits`` where exact).
        distinct: Different trains seen (exact: possible).
        samples: Trials, 0 where exact.
        mean: Mean of the input current.
        std: Its standard deviation.
    """

    bits: float
    exact: bool
    plugin: float
    distinct: int
    samples: int
    mean: float
    std: float


def neuron_information(
    node: nn.Module,
    time_steps: int,
    mean: float = 0.0,
    std: float = 1.0,
    *,
    drive: str = "constant",
    samples: int = 2**16,
    seed: int = 0,
) -> Information:
    """Bits that one neuron transmits about a Gaussian input current within T time steps.

    Args:
        node: A neuron in multi-step mode; SpikePackNode in either form. It is copied, not changed.
        time_steps: T, steps of a trial; for SpikePackNode its own.
        mean: Mean of the current.
        std: Standard deviation of the current.
        drive: ``"constant"``: one value, held for T steps, as direct coding and conversion present it.
            ``"stream"``: an independent value at each step.
        samples: Trials to draw.
        seed: Of the draw.

    Returns:
        Exact for a SpikePackNode with tau = 2, estimated from ``samples`` trials otherwise.

    Raises:
        ParameterError: ``drive``, ``time_steps``, ``samples`` or ``std`` is out of range.
    """
    check_choice("neuron_information", "drive", drive, DRIVES)
    check_time_steps(time_steps, "neuron_information")
    if samples < 2 or not std > 0.0:
        raise ParameterError(
            f"neuron_information: samples must be at least 2 and std positive, got {samples} and {std}; "
            "raise them."
        )
    if isinstance(node, SpikePackNode):
        if node.time_steps != time_steps:
            raise ParameterError(
                f"neuron_information: time_steps must be the node's own {node.time_steps}, got {time_steps}; "
                "a window is one trial."
            )
        if node.params.tau == 2.0 and node.params.leak == 0.0:
            return _exact(node, mean, std, drive)
    generator = torch.Generator().manual_seed(seed)
    draws = 1 if drive == "constant" else time_steps
    current = torch.randn(draws, samples, generator=generator) * std + mean
    return _sampled(node, current.expand(time_steps, samples).contiguous(), mean, std)


def _exact(node: SpikePackNode, mean: float, std: float, drive: str) -> Information:
    params = node.params
    theta = float(node.v_threshold)
    # A sum of independent Gaussians is Gaussian: the charge of a stream has this share of its deviation.
    spread = 1.0
    if drive == "stream":
        spread = sum(weight**2 for weight in params.weights) ** 0.5 / params.weight_sum
    bits = gaussian_code_entropy(params, theta, mean, std * spread)
    codes = params.max_code * (2 if params.signed else 1) + 1
    return Information(bits, True, bits, codes, 0, mean, std)


@torch.no_grad()
def _sampled(node: nn.Module, current: torch.Tensor, mean: float, std: float) -> Information:
    node = copy.deepcopy(node)
    if isinstance(node, SpikePackNode):
        node.form = "serial"
    sj.reset_net(node)
    sj.set_step_mode(node, "m")
    counts = np.bincount(words(node(current).numpy()))
    return Information(
        miller_madow(counts), False, plugin_entropy(counts), counts.size, current.shape[1], mean, std
    )


def best_operating_point(
    node: nn.Module,
    time_steps: int,
    *,
    drive: str = "constant",
    means: Iterable[float] | None = None,
    stds: Iterable[float] | None = None,
    samples: int = 2**13,
    final_samples: int = 2**16,
    seed: int = 0,
) -> Information:
    """Information at the mean and spread of the current that suit a neuron best.

    The affine layer in front of a neuron can give its current any mean and spread, so neurons are
    compared each at its own best. The grid is searched on one draw and the answer taken on another, so that
    the search does not flatter it.

    Args:
        node: As in :func:`neuron_information`.
        time_steps: T.
        drive: As there.
        means: Grid of means; default -1..3 in units of a threshold of 1.
        stds: Grid of deviations; default 0.1..4.
        samples: Trials per grid point.
        final_samples: Trials of the answer.
        seed: Of the draws.
    """
    grid_means = list(means) if means is not None else [x / 4 for x in range(-4, 13)]
    grid_stds = list(stds) if stds is not None else [0.1 * 1.25**k for k in range(18)]
    tried = [
        neuron_information(node, time_steps, mean, std, drive=drive, samples=samples, seed=seed)
        for mean in grid_means
        for std in grid_stds
    ]
    best = max(tried, key=lambda found: found.bits)
    return neuron_information(
        node, time_steps, best.mean, best.std, drive=drive, samples=final_samples, seed=seed + 1
    )
