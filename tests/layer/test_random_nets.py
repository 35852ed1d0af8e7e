"""Random float64 networks: packed == serial multi-step == serial single-step shifted by its latency."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, adapt, decode_output, latency, set_form

CHANNELS = 3


Make = Callable[[], SpikePackNode]


class Stage(nn.Module):
    """One random step of a network; keeps ``[.., N, 3, H, W]``."""

    def __init__(self, kind: str, node: Make) -> None:
        super().__init__()
        self.kind = kind
        self.first = self._branch(node)
        if kind == "residual":
            self.second = self._branch(node)
        if kind == "concat":
            self.merge = layer.Conv2d(2 * CHANNELS, CHANNELS, 1)
        if kind in ("max", "max-of-sum", "max-of-current"):
            self.pool: nn.Module = layer.MaxPool2d(3, 1, 1)
        if kind == "avg":
            self.pool = layer.AvgPool2d(3, 1, 1)

    @staticmethod
    def _branch(node: Make) -> nn.Sequential:
        conv = layer.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
        return nn.Sequential(conv, layer.BatchNorm2d(CHANNELS), node())

    def forward(self, x: Tensor) -> Tensor:
        if self.kind == "residual":
            return x + self.second(self.first(x))
        if self.kind == "concat":
            return self.merge(torch.cat([x, self.first(x)], dim=-3))
        if self.kind == "max-of-sum":
            return self.pool(x + self.first(x))
        if self.kind == "max-of-current":
            return self.pool(self.first[0](x))
        return self.pool(self.first(x)) if self.kind in ("max", "avg") else self.first(x)


class Net(nn.Module):
    """Encoder, random stages, linear readout."""

    def __init__(self, kinds: list[str], node: Make) -> None:
        super().__init__()
        self.encoder = node()
        self.stages = nn.Sequential(*(Stage(kind, node) for kind in kinds))
        self.head = nn.Sequential(layer.AvgPool2d(4), layer.Flatten(), layer.Linear(CHANNELS, 4))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.stages(self.encoder(x)))


def alike(**arguments: Any) -> Make:
    """Return a maker of equal nodes."""
    return lambda: SpikePackNode(**arguments)


def mixed(seed: int, window: int, **arguments: Any) -> Make:
    """Return a maker of nodes with T, sign and rounding of their own in one window."""
    rng = random.Random(seed)

    def make() -> SpikePackNode:
        own = {"signed": rng.random() < 0.5, "rounding": rng.choice(["round_half_up", "floor"])}
        # Three digits at most are silent: a consumer that absorbs no gain hears little of a shorter code.
        time_steps = rng.randint(max(1, window - 3), window)
        return SpikePackNode(time_steps, window=window, **{**own, **arguments})

    return make


KINDS = ["node", "residual", "concat", "avg", "max", "max-of-sum", "max-of-current"]


@settings(max_examples=40)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.sampled_from([1, 2, 3, 5, 8]),
    st.booleans(),
    st.sampled_from(["round_half_up", "floor"]),
    st.integers(0, 2**31),
)
def test_three_forms_agree(
    forms: ModuleType,
    tolerance: Any,
    kinds: list[str],
    time_steps: int,
    signed: bool,
    rounding: str,
    seed: int,
) -> None:
    generator = torch.Generator().manual_seed(seed)
    node = alike(time_steps=time_steps, signed=signed, rounding=rounding)
    x = torch.rand(2, 1, CHANNELS, 4, 4, dtype=torch.float64, generator=generator) * 2 - float(signed)
    check(forms, Net(kinds, node), x, time_steps, generator, tolerance, kinds)


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=4),
    st.sampled_from([2, 3, 5, 8]),
    st.integers(0, 2**31),
)
def test_three_forms_agree_where_time_steps_differ(
    forms: ModuleType, tolerance: Any, kinds: list[str], window: int, seed: int
) -> None:
    """Every node has its own T, sign and rounding; sums and concatenations join codes of different T."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(2, 1, CHANNELS, 4, 4, dtype=torch.float64, generator=generator) * 2 - 0.5
    check(forms, Net(kinds, mixed(seed, window)), x, window, generator, tolerance, kinds)


ABSORBED = ["node", "concat", "avg", "max", "max-of-current"]


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from(ABSORBED), max_size=3),
    st.sampled_from([2, 3, 5, 8]),
    st.integers(0, 2**31),
)
def test_adapt_joins_windows(
    forms: ModuleType, tolerance: Any, kinds: list[str], longest: int, seed: int
) -> None:
    """Nodes with windows of their own: the weights behind them absorb the longest, the function stays."""
    generator = torch.Generator().manual_seed(seed)
    kinds = ["node", *kinds]
    net = Net(kinds, mixed(seed, longest)).double().eval()
    for node in forms.nodes(net).values():
        node.window = None
    longest = max(node.window for node in forms.nodes(net).values())
    functional.set_step_mode(net, "m")
    forms.randomise(net, generator)
    x = torch.rand(2, 1, CHANNELS, 4, 4, dtype=torch.float64, generator=generator) * 2 - 0.5
    before = set_form(net, "packed")(x)
    keys = list(net.state_dict())
    report = adapt(net)
    torch.testing.assert_close(set_form(net, "packed")(x), before, rtol=0, atol=1e-12)
    assert list(net.state_dict()) == keys
    assert {node.window for node in forms.nodes(net).values()} == {longest}
    scaled = [entry.name for entry in report.replaced if entry.after == entry.before]
    shorter = [node for node in forms.nodes(net).values() if node.time_steps < longest]
    assert bool(scaled) == bool(shorter)
    check(forms, net, x, longest, None, tolerance, kinds)


@settings(max_examples=10)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.sampled_from([1.3, 1.7]),
    st.integers(0, 2**31),
)
def test_time_steps_differ_at_a_smaller_base(
    forms: ModuleType, kinds: list[str], tau: float, seed: int
) -> None:
    """Right-aligned greedy codes: the last T weights of the window are those of T digits, whatever tau is."""
    window = 5
    generator = torch.Generator().manual_seed(seed)
    net = Net(kinds, mixed(seed, window, tau=tau)).double().eval()
    functional.set_step_mode(net, "m")
    forms.randomise(net, generator)
    x = torch.rand(2, 1, CHANNELS, 4, 4, dtype=torch.float64, generator=generator) * 2 - 0.5
    assert adapt(net).exact
    with torch.no_grad():
        packed = set_form(net, "packed")(x)
        serial = decode_output(set_form(net, "serial")(x.repeat_interleave(window, 0)), window, tau)
    torch.testing.assert_close(serial, packed, rtol=0, atol=1e-12)
    single, _ = forms.pipelined(net, x, window, tau=tau)
    torch.testing.assert_close(single, packed, rtol=0, atol=1e-12)


def check(
    forms: ModuleType,
    net: Net,
    x: Tensor,
    window: int,
    generator: torch.Generator | None,
    tolerance: Any,
    kinds: list[str],
) -> None:
    """Codes in packed and serial multi-step form, the output in all three, the latency by hand."""
    net.double().eval()
    functional.set_step_mode(net, "m")
    if generator is not None:
        forms.randomise(net, generator)
    report = adapt(net)
    assert report.exact
    result = forms.compare(net, x, False, tolerance)
    assert result.unexplained == 0
    assert result.difference(result.forced) <= 1e-12
    if result.flips:
        return  # explained by a tie; both serial forms then follow another code
    assert result.difference(result.serial) <= 1e-12
    single, _ = forms.pipelined(net, x, window)
    assert report.latency == latency(net) == window * _longest_path(kinds)
    assert result.difference(single) <= 1e-12


def _longest_path(kinds: list[str]) -> int:
    """Windows of latency by hand: a node each, two in a residual branch, one for a pool of currents."""
    return 1 + sum({"residual": 2, "max-of-sum": 2}.get(kind, 1) for kind in kinds)


@settings(max_examples=15)
@given(
    st.lists(st.sampled_from(KINDS), min_size=1, max_size=3),
    st.integers(0, 2**31),
    st.sampled_from(["residual", "membrane"]),
)
def test_leak_carries_alike_in_both_serial_forms(
    forms: ModuleType, kinds: list[str], seed: int, carry: str
) -> None:
    """Windows that only fill the pipeline leave no carry: adapt tells the nodes where data starts."""
    time_steps = 4
    generator = torch.Generator().manual_seed(seed)
    net = Net(kinds, mixed(seed, time_steps, leak=0.5, carry=carry)).double().eval()
    functional.set_step_mode(net, "m")
    forms.randomise(net, generator)
    x = torch.rand(3, 1, CHANNELS, 4, 4, dtype=torch.float64, generator=generator)
    adapt(net)
    with torch.no_grad():
        packed = set_form(net, "packed")(x)
        functional.reset_net(net)
        serial = decode_output(set_form(net, "serial")(x.repeat_interleave(time_steps, 0)), time_steps)
        functional.reset_net(net)
    torch.testing.assert_close(serial, packed, rtol=0, atol=1e-12)
    torch.testing.assert_close(forms.pipelined(net, x, time_steps)[0], packed, rtol=0, atol=1e-12)


def test_delays_are_needed(forms: ModuleType) -> None:
    """Without its delays a residual network mixes windows: the test above sees them."""
    net = Net(["residual"], alike(time_steps=3)).double().eval()
    forms.randomise(net, torch.Generator().manual_seed(5))
    x = torch.rand(2, 1, CHANNELS, 4, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(6))
    balanced = adapt(net)
    assert [delay.steps for delay in balanced.delays] == [6]
    delayed, _ = forms.pipelined(net, x, 3)
    del net.__dict__["forward"]
    assert float((forms.pipelined(net, x, 3)[0] - delayed).abs().max()) > 1e-3
