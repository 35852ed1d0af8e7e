"""One network in its three forms: the same S-ACE, the same ones, the same words."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer
from spikingjelly.activation_based.op_counter import DispatchCounterMode, MACCounter, SynOpCounter
from torch import Tensor, nn

from spikejelly_pack import SpikePackMatmul, SpikePackNode, adapt, latency, set_form
from spikejelly_pack.bit_budget import BudgetReport, measure
from spikejelly_pack.spec.budget import word_bits

CHANNELS = 4
KINDS = ("conv", "depthwise", "residual", "concat", "avg", "max", "sum", "attention")


class Stage(nn.Module):
    """One random step of a network; keeps ``[.., N, 4, H, W]``."""

    def __init__(self, kind: str, signed: bool, time_steps: int) -> None:
        super().__init__()
        self.kind = kind

        def node() -> SpikePackNode:
            # No rational: sums of products of codes would meet rounding ties, where the forms may differ.
            return SpikePackNode(time_steps, signed=signed, v_threshold=math.pi / 4)

        groups = CHANNELS if kind == "depthwise" else 1
        self.conv = layer.Conv2d(CHANNELS, CHANNELS, 3, padding=1, groups=groups)
        self.norm, self.node = layer.BatchNorm2d(CHANNELS), node()
        self.pool = layer.MaxPool2d(2, 1) if kind == "max" else layer.AvgPool2d(3, 1, 1)
        if kind in ("concat", "sum"):
            self.merge = layer.Conv2d(CHANNELS * (1 + (kind == "concat")), CHANNELS, 1)
            self.merged = node()
        if kind == "residual":
            self.second, self.out = layer.Conv2d(CHANNELS, CHANNELS, 1, bias=False), node()
        if kind == "attention":
            self.product, self.out = SpikePackMatmul(time_steps), node()

    def forward(self, x: Tensor) -> Tensor:
        y = self.node(self.norm(self.conv(x)))
        if self.kind == "residual":
            return self.out(self.second(y) + 0.5 * x)
        if self.kind == "concat":
            return self.merged(self.merge(torch.cat([x, y], dim=-3)))
        if self.kind == "sum":
            return self.merged(self.merge(x + y))
        if self.kind == "attention":
            return self.out(self.product(x, y.transpose(-1, -2)))
        return self.pool(y) if self.kind in ("avg", "max") else y


class Net(nn.Module):
    """Encoder, random stages, linear readout."""

    def __init__(self, kinds: list[str], signed: bool, time_steps: int) -> None:
        super().__init__()
        self.encoder = SpikePackNode(time_steps, signed=signed)
        self.stages = nn.Sequential(*(Stage(kind, signed, time_steps) for kind in kinds))
        self.head = nn.Sequential(layer.AdaptiveAvgPool2d(1), layer.Flatten(), layer.Linear(CHANNELS, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.encoder(x)))


def adapted(net: nn.Module) -> nn.Module:
    """Make pools and products exact in every form."""
    net.eval()
    adapt(net)
    return net


def in_all_forms(net: nn.Module, x: Tensor, time_steps: int) -> dict[str, BudgetReport]:
    """Measure packed, serial multi-step, and serial single-step with a full pipeline; ``x [N, *]``."""
    found = {}
    set_form(net, "packed")
    functional.set_step_mode(net, "s")
    found["packed"] = measure(net, x, strict=True)
    set_form(net, "serial")
    found["single"] = measure(net, x, steps=time_steps, warm_up=latency(net), strict=True)
    functional.set_step_mode(net, "m")
    found["multi"] = measure(net, x.expand(time_steps, *x.shape).clone(), strict=True)
    return found


def lines(report: BudgetReport) -> list[tuple[object, ...]]:
    """Everything of a layer that must not depend on the form."""
    return sorted(
        (c.path, c.macs, c.windows, [(o.kind, o.bits, o.digits) for o in c.operands], c.s_ace,
         round(c.digit_events or -1.0, 3),
         round(c.word_events or -1.0, 3))
        for c in report.layers
    )  # fmt: skip


@settings(max_examples=5, phases=(Phase.explicit, Phase.generate))
@example(kinds=["conv", "depthwise", "residual"], signed=True, time_steps=3, samples=2, seed=0)
@example(kinds=["max", "attention"], signed=False, time_steps=2, samples=2, seed=1)
@example(kinds=["sum", "concat", "avg"], signed=True, time_steps=2, samples=1, seed=2)
@given(
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=2),
    signed=st.booleans(),
    time_steps=st.integers(1, 6),
    samples=st.integers(1, 2),
    seed=st.integers(0, 2**16),
)
def test_forms_cost_the_same(
    kinds: list[str], signed: bool, time_steps: int, samples: int, seed: int
) -> None:
    torch.manual_seed(seed)
    net = adapted(Net(kinds, signed, time_steps).double())
    found = in_all_forms(net, torch.randn(samples, CHANNELS, 5, 5).double(), time_steps)
    packed = found["packed"]
    bits = word_bits(time_steps, 1, signed)
    assert all(c.operands[0].bits == c.operands[0].terms * bits for c in packed.layers)
    assert not packed.analog
    for name in ("multi", "single"):
        assert lines(found[name]) == lines(packed), name
        assert found[name].s_ace == packed.s_ace
        assert found[name].spikes == packed.spikes


@settings(max_examples=5)
@given(time_steps=st.integers(1, 5), seed=st.integers(0, 2**16))
def test_serial_form_agrees_with_spikingjelly(time_steps: int, seed: int) -> None:
    """Unsigned, unscaled, unsummed spikes are what SpikingJelly's counters know."""
    torch.manual_seed(seed)
    net = Net(["conv", "depthwise"], False, time_steps).eval()
    net.head = nn.Sequential(layer.Flatten(), layer.Linear(CHANNELS * 25, 3))
    functional.set_step_mode(net, "m")
    x = torch.rand(time_steps, 2, CHANNELS, 5, 5)
    ours = measure(net, x)
    synops, macs = SynOpCounter(), MACCounter(extra_ignore_modules=[layer.BatchNorm2d])
    functional.reset_net(net)
    with torch.no_grad(), DispatchCounterMode([synops, macs]):
        net(x)
    assert ours.synops * 2 == synops.get_total()
    assert macs.get_total() == 0
    assert [c.windows for c in ours.layers] == [1, 1, 1]


def test_windows_multiply_the_cost() -> None:
    torch.manual_seed(0)
    net = adapted(Net(["conv", "residual"], False, 4))
    functional.set_step_mode(net, "m")
    x = torch.rand(4, 2, CHANNELS, 5, 5)
    one, three = measure(net, x), measure(net, x.repeat(3, 1, 1, 1, 1))
    assert three.s_ace == 3 * one.s_ace
    assert {c.windows for c in three.layers} == {3}
    assert three.macs == one.macs
    set_form(net, "packed")
    packed = measure(net, torch.rand(3, 2, CHANNELS, 5, 5))
    assert packed.s_ace == three.s_ace
    assert packed.layers[0].bit_budget == 3 * 4 * 32


def test_every_layer_counts_its_own_time_steps() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        SpikePackNode(2, window=5), layer.Linear(6, 6), SpikePackNode(5), layer.Linear(6, 6),
        SpikePackNode(3, window=5), layer.Linear(6, 4),
    ).double()  # fmt: skip
    reports = in_all_forms(net, torch.rand(3, 6).double(), 5)
    for report in reports.values():
        assert [c.operands[0].bits for c in report.layers] == [2, 5, 3]
        assert report.s_ace == 32 * (36 * 2 + 36 * 5 + 24 * 3)


def test_analog_inputs_count_once_per_window() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(layer.Linear(6, 5), SpikePackNode(4), layer.Linear(5, 2)).double()
    for report in in_all_forms(net, torch.rand(3, 6).double(), 4).values():
        assert [c.s_ace for c in report.layers] == [30 * 32 * 32, 10 * 4 * 32]
        assert report.analog == {"0": ("input",)}


@pytest.mark.parametrize("tau", [2.0, 1.5])
def test_a_nan_counts_as_a_word_of_ones_in_every_form(tau: float) -> None:
    """Its digits are NaN, none of them zero."""
    node = SpikePackNode(4, tau=tau, form="packed", scale_output=False)
    net = nn.Sequential(node, layer.Linear(3, 2))
    x = torch.tensor([[1 / 15, math.nan, 0.0]])
    packed = measure(net, x)
    functional.set_step_mode(set_form(net, "serial"), "m")
    serial = measure(net, x.repeat(4, 1, 1))
    assert packed.ns_ace == serial.ns_ace
    assert packed.spikes == serial.spikes
    assert packed.spikes["0"] == 4 + float(net[0](x.repeat(4, 1, 1))[..., 0].count_nonzero())


def test_products_step_by_step_are_another_operation() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = SpikePackNode(4, step_mode="m"), SpikePackNode(4, step_mode="m")

        def forward(self, x: Tensor) -> Tensor:
            return self.a(x) @ self.b(x).transpose(-1, -2)

    net = Attention()
    x = torch.rand(4, 2, 3, 5)
    serial = measure(net, x)
    assert serial.s_ace == 3 * 3 * 5 * 4  # n * T
    set_form(net, "packed")
    packed = measure(net, x[:1])
    assert packed.s_ace == 3 * 3 * 5 * 4 * 4  # n * b_q * b_k
