"""Bilinear layers and deformed convolutions, against sums written out by hand in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from spikingjelly.activation_based.op_counter import DispatchCounterMode, FunctionCounterMode
from torch import Tensor, nn

from spikejelly_pack import BitBudgetCounter
from spikejelly_pack.bit_budget.rows import Row

MODES: dict[str, Any] = {"dispatch": DispatchCounterMode, "function": FunctionCounterMode}


def counted(net: nn.Module, trains: list[Tensor], others: tuple[Tensor, ...], mode: Any) -> list[Row]:
    counter = BitBudgetCounter(weight_bits=3)
    for train in trains:
        counter.declare(train, spikes=True)
    with torch.no_grad(), mode([counter]) as active:
        net(*trains, *others)
    assert active.get_unsupported(counter) == {}
    return counter.rows


def spikes(*shape: int) -> Tensor:
    return (torch.rand(shape) < 0.5).float()


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("lead", [(2,), (2, 3)])
def test_bilinear_is_a_synapse_and_a_gate(lead: tuple[int, ...], mode: str) -> None:
    torch.manual_seed(0)
    x, y = spikes(*lead, 4), spikes(*lead, 5)
    weighted, gated = counted(nn.Bilinear(4, 5, 6), [x, y], (), MODES[mode])
    samples = int(np.prod(lead))
    assert (weighted.macs, weighted.weights) == (samples * 6 * 4 * 5, 6 * 4 * 5)
    assert weighted.cost == weighted.macs * 1 * 3
    assert weighted.digit_events == weighted.word_events == float(x.sum()) * 6 * 5
    assert gated.macs == samples * 6 * 5
    assert gated.cost == gated.macs * 32 * 1  # what the weights made is analog
    assert gated.digit_events == gated.word_events == float(y.sum()) * 6


def deformed_events(x: Any, offset: Any, kernel: int, outputs: int, stride: int, padding: int) -> float:
    """Ones that reach a multiply-accumulate: every place read, interpolated by hand, once per output."""
    samples, channels, height, width = x.shape
    groups = offset.shape[1] // (2 * kernel * kernel)
    found = 0.0
    for n, c, p, q in np.ndindex(samples, channels, *offset.shape[2:]):
        for i, j in np.ndindex(kernel, kernel):
            place = 2 * ((c // (channels // groups)) * kernel * kernel + i * kernel + j)
            row = p * stride - padding + i + offset[n, place, p, q]
            column = q * stride - padding + j + offset[n, place + 1, p, q]
            for r, s in np.ndindex(2, 2):
                up, left = int(np.floor(row)) + r, int(np.floor(column)) + s
                if 0 <= up < height and 0 <= left < width:
                    found += x[n, c, up, left] * (1 - abs(row - up)) * (1 - abs(column - left))
    return found * outputs


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize(
    ("groups", "offset_groups", "stride", "modulated"), [(1, 1, 1, False), (2, 2, 2, True)]
)
def test_deformed_convolution(
    groups: int, offset_groups: int, stride: int, modulated: bool, mode: str
) -> None:
    torch.manual_seed(1)
    net = torchvision.ops.DeformConv2d(4, 6, 3, stride=stride, padding=1, groups=groups)
    x, side = spikes(2, 4, 6, 5), (-(-6 // stride), -(-5 // stride))
    offset = 1.5 * torch.randn(2, 18 * offset_groups, *side)
    mask = (torch.rand(2, 9 * offset_groups, *side),) if modulated else ()
    (row,) = counted(net, [x], (offset, *mask), MODES[mode])
    assert row.macs == 2 * 6 * side[0] * side[1] * (4 // groups) * 9
    assert row.cost == row.macs * 1 * 3
    assert row.weights == 6 * (4 // groups) * 9
    expected = deformed_events(x.numpy(), offset.numpy(), 3, 6 // groups, stride, 1)
    assert row.digit_events == pytest.approx(expected, rel=1e-6)  # the offsets are float32
    assert 0 < row.digit_events < row.macs


def test_without_offsets_it_is_the_convolution() -> None:
    torch.manual_seed(2)
    x = spikes(1, 2, 5, 5)
    zero = torch.zeros(1, 18, 5, 5)
    (bent,) = counted(torchvision.ops.DeformConv2d(2, 3, 3, padding=1), [x], (zero,), DispatchCounterMode)
    (straight,) = counted(nn.Conv2d(2, 3, 3, padding=1), [x], (), DispatchCounterMode)
    assert (bent.macs, bent.cost, bent.digit_events) == (straight.macs, straight.cost, straight.digit_events)
