"""The moving average of the weights against the sum it stands for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from spikejelly_pack.train.averaging import WarmAverage, share_of_newest


def test_average_is_the_weighted_sum_of_what_was_seen() -> None:
    net = nn.BatchNorm1d(1)
    averaged = AveragedModel(net, use_buffers=True, **WarmAverage(0.9)._kwargs)
    values = np.random.default_rng(0).normal(size=200)
    for value in values:
        with torch.no_grad():
            net.weight.fill_(float(value))
            net.running_mean.fill_(2 * float(value))
        net.num_batches_tracked += 1
        averaged.update_parameters(net)
    # The first is copied, the n-th enters with its share, and shrinks with each that follows.
    decays = np.array([min(0.9, (1 + n) / (10 + n)) for n in range(1, len(values))])
    weights = np.append(1.0, 1.0 - decays) * np.append(np.cumprod(decays[::-1])[::-1], 1.0)
    assert weights.sum() == pytest.approx(1.0)
    expected = float((weights * values).sum())
    assert averaged.module.weight.item() == pytest.approx(expected, rel=1e-5)
    assert averaged.module.running_mean.item() == pytest.approx(2 * expected, rel=1e-5)
    assert averaged.module.num_batches_tracked.item() == len(values)


def test_a_short_run_forgets_its_start() -> None:
    left = np.prod([1.0 - share_of_newest(0.98, n) for n in range(1, 54)])
    assert left < 1e-6
    assert share_of_newest(0.98, 10_000) == pytest.approx(0.02)
