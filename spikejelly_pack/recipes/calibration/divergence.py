"""Thresholds of least divergence between the logits of the source and of the coded network."""

from __future__ import annotations

import torch.nn.functional as F
from tqdm import tqdm

from ...spec.errors import UnsupportedError
from .base import Running
from .mse import SquaredErrorCalibrator

__all__ = ["FACTORS", "DivergenceCalibrator", "logit_divergence", "minimize_divergence"]

#: Tried on each layer's thresholds of least squared error.
FACTORS = (0.6, 0.7, 0.8, 0.9, 1.1, 1.25)


def logit_divergence(network: Running) -> float:
    """Mean Kullback-Leibler divergence of the coded outputs from the source's, in nats; classes on axis 1.

    Raises:
        UnsupportedError: An output has fewer than two classes: its softmax is constant.
    """
    total, count = 0.0, 0
    for source, coded in network.pairs():
        if source.dim() < 2 or source.shape[1] < 2:
            raise UnsupportedError(
                "conversion: calibrator 'divergence' needs outputs [N, classes, *] of two classes or "
                f"more, got shape {tuple(source.shape)}; use 'mse'."
            )
        wanted, got = F.log_softmax(source.double(), 1), F.log_softmax(coded.double(), 1)
        total += float(F.kl_div(got, wanted, reduction="sum", log_target=True))
        count += source.numel() // source.shape[1]
    return total / count


def minimize_divergence(network: Running, progress: bool) -> None:
    """Scale the thresholds of each layer in turn, first to last, by the factor of least divergence."""
    least = logit_divergence(network)
    for site in tqdm(network.sites, desc="divergence", unit="layer", disable=not progress, leave=False):
        best = site.scale
        for factor in FACTORS:
            site.scale = factor
            divergence = logit_divergence(network)
            if divergence < least:
                least, best = divergence, factor
        site.scale = best


class DivergenceCalibrator(SquaredErrorCalibrator):
    """Starts from least squared error; :func:`minimize_divergence` then scales each layer's thresholds."""

    finish = staticmethod(minimize_divergence)
