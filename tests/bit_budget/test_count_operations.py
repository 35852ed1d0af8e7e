"""One operation at a time, against SpikingJelly's own counters and against the operation itself on ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based.op_counter import (
    BaseCounter,
    DispatchCounterMode,
    FunctionCounterMode,
    MACCounter,
    SynOpCounter,
)
from torch import Tensor, nn

from spikejelly_pack import BitBudgetCounter

Make = Callable[[], nn.Module]

LAYERS: dict[str, tuple[Make, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(7, 5), (3, 7)),
    "tokens": (lambda: nn.Linear(7, 5), (3, 4, 7)),
    "conv1d": (lambda: nn.Conv1d(4, 6, 3, stride=2, padding=1), (2, 4, 9)),
    "conv2d": (lambda: nn.Conv2d(4, 6, (3, 2), stride=(2, 1), padding=(1, 0)), (2, 4, 7, 8)),
    "conv3d": (lambda: nn.Conv3d(2, 3, 2, padding=1), (2, 2, 3, 4, 5)),
    "dilated": (lambda: nn.Conv2d(4, 6, 3, padding=2, dilation=2), (2, 4, 7, 8)),
    "grouped": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 7, 8)),
    "depthwise": (lambda: nn.Conv2d(4, 8, 3, stride=3, groups=4), (2, 4, 8, 8)),
    "transposed 1d": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2), (2, 4, 5)),
    "transposed 2d": (
        lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, padding=1, output_padding=1, groups=2),
        (2, 4, 5, 6),
    ),
    "transposed 3d": (lambda: nn.ConvTranspose3d(2, 3, 2, dilation=2), (1, 2, 3, 3, 3)),
}
MODES: dict[str, Any] = {"dispatch": DispatchCounterMode, "function": FunctionCounterMode}


def count(run: Callable[[], object], *counters: BaseCounter, mode: Any = DispatchCounterMode) -> None:
    """Run under counters; nothing may lack a rule of the first one."""
    with torch.no_grad(), mode([*counters]) as active:
        run()
    if isinstance(counters[0], BitBudgetCounter):
        assert active.get_unsupported(counters[0]) == {}


def binary(shape: tuple[int, ...], share: float = 0.3) -> Tensor:
    """Return random spikes."""
    return (torch.rand(shape) < share).float()


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("name", LAYERS)
def test_layers_on_analog_values(name: str, mode: str) -> None:
    make, shape = LAYERS[name]
    layer, x = make(), torch.rand(shape) + 0.5
    ours, theirs = BitBudgetCounter(), MACCounter()
    count(lambda: layer(x), ours, mode=MODES[mode])
    count(lambda: layer(x), theirs)
    assert theirs.get_total() > 0
    assert ours.get_total() == theirs.get_total() * 32 * 32
    (row,) = ours.rows
    assert row.macs == theirs.get_total()
    weight = layer.weight
    assert isinstance(weight, Tensor)
    assert row.weights == weight.numel()
    assert ours.analog == {"": ("unknown",)}


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("name", LAYERS)
def test_layers_on_spikes(name: str, mode: str) -> None:
    make, shape = LAYERS[name]
    layer, x = make(), binary(shape)
    ours, synops, macs = BitBudgetCounter(weight_bits=3), SynOpCounter(), MACCounter()
    ours.declare(x, spikes=True)
    count(lambda: layer(x), ours, mode=MODES[mode])
    count(lambda: layer(x), synops)
    count(lambda: layer(torch.rand(shape) + 0.5), macs)
    (row,) = ours.rows
    assert ours.get_total() == macs.get_total() * 3
    assert row.digit_events == row.word_events == synops.get_total() > 0
    assert not ours.analog


PRODUCTS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], tuple[int, ...], tuple[int, ...]]] = {
    "mm": (torch.mm, (3, 4), (4, 5)),
    "bmm": (torch.bmm, (2, 3, 4), (2, 4, 5)),
    "matmul": (torch.matmul, (2, 3, 4, 5), (5, 6)),
    "broadcast": (torch.matmul, (2, 1, 4, 5), (3, 5, 6)),
    "mv": (torch.mv, (3, 4), (4,)),
    "dot": (torch.dot, (7,), (7,)),
    "addmm": (lambda a, b: torch.addmm(torch.zeros(5), a, b), (3, 4), (4, 5)),
    "baddbmm": (lambda a, b: torch.baddbmm(torch.zeros(2, 3, 5), a, b), (2, 3, 4), (2, 4, 5)),
    "einsum": (lambda a, b: torch.einsum("bqd,bkd->bqk", a, b), (2, 3, 4), (2, 5, 4)),
    "elementwise": (torch.mul, (2, 3, 4), (3, 4)),
}


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("name", PRODUCTS)
def test_products_of_two_trains(name: str, mode: str) -> None:
    product, first, second = PRODUCTS[name]
    a, b = binary(first, 0.6), binary(second, 0.6)
    ours = BitBudgetCounter()
    ours.declare(a, spikes=True)
    ours.declare(b, spikes=True)
    count(lambda: product(a, b), ours, mode=MODES[mode])
    macs = int(product(torch.ones(first), torch.ones(second)).sum())
    assert ours.get_total() == macs  # one bit times one bit
    (row,) = ours.rows
    assert row.digit_events == row.word_events == float(product(a, b).sum()) > 0
    assert row.per_sample(1).rate() == pytest.approx(float(product(a, b).sum()) / macs)


@pytest.mark.parametrize("mode", sorted(MODES))
@pytest.mark.parametrize("features", [4, 6])  # torch runs these as one operation, and as two products
def test_attention_is_two_products(features: int, mode: str) -> None:
    query, key, value = binary((1, 2, 3, 4)), binary((1, 2, 5, 4)), binary((1, 2, 5, features))
    ours = BitBudgetCounter()
    for x in (query, key, value):
        ours.declare(x, spikes=True)
    count(lambda: F.scaled_dot_product_attention(query, key, value), ours, mode=MODES[mode])
    scores, values = ours.rows
    assert (scores.macs, values.macs) == (2 * 3 * 5 * 4, 2 * 3 * 5 * features)
    assert scores.cost == scores.macs
    assert scores.digit_events == float((query @ key.transpose(-1, -2)).sum())
    assert values.cost == values.macs * 32  # softmax leaves analog weights
    assert values.digit_events == float(value.sum()) * 3


def test_a_kernel_of_spikes_on_spikes() -> None:
    x, kernel = binary((2, 3, 6, 6)), binary((4, 3, 3, 3))
    ours, theirs = BitBudgetCounter(), SynOpCounter()
    ours.declare(x, spikes=True)
    ours.declare(kernel, spikes=True)
    count(lambda: F.conv2d(x, kernel, padding=1), ours)
    count(lambda: F.conv2d(x, kernel, padding=1), theirs)
    assert ours.rows[0].digit_events == theirs.get_total()


def test_same_padding_by_name() -> None:
    layer, x = nn.Conv2d(2, 3, 3, padding="same", dilation=2), binary((1, 2, 6, 6))
    totals = []
    for mode in MODES.values():
        ours, theirs = BitBudgetCounter(), SynOpCounter()
        ours.declare(x, spikes=True)
        count(lambda: layer(x), ours, mode=mode)
        count(lambda: layer(x), theirs)
        assert ours.rows[0].digit_events == theirs.get_total()
        totals.append(ours.get_total())
    assert totals[0] == totals[1]


def test_inference_mode_counts_the_same() -> None:
    net, x = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(48, 4)), torch.rand(2, 2, 6, 6)
    totals = []
    for context in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        ours = BitBudgetCounter()
        with context(), DispatchCounterMode([ours]) as mode:
            net(x)
        assert mode.get_unsupported(ours) == {}
        totals.append(ours.get_total())
    assert totals == [(2 * 16 * 3 * 18 + 2 * 48 * 4) * 1024] * 3
