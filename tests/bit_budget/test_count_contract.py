"""SpikingJelly's counter contract, and what is said about everything that has no rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from spikingjelly.activation_based import neuron
from spikingjelly.activation_based.op_counter import (
    BaseCounter,
    DispatchCounterMode,
    MACCounter,
    ModuleCounterMode,
)
from torch import Tensor, nn
from torch.nn.modules.module import _global_forward_hooks

from spikejelly_pack import BitBudgetCounter, SpikePackNode
from spikejelly_pack.bit_budget import measure
from spikejelly_pack.bit_budget.signals import Signal
from spikejelly_pack.spec.errors import DtypeError, ParameterError, ShapeError, UnsupportedError


class Block(nn.Module):
    """Two layers with a name each."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.node, self.second = nn.Linear(6, 5), neuron.IFNode(v_threshold=0.2), nn.Linear(5, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.node(self.first(x)))


def test_scopes_and_totals() -> None:
    net, counter = nn.Sequential(Block(), nn.Linear(2, 3)), BitBudgetCounter()
    with DispatchCounterMode([counter]):
        net(torch.rand(4, 6))
    counts = {scope: sum(found.values()) for scope, found in counter.get_counts().items()}
    first, second, last = 4 * 30 * 1024, 4 * 10 * 32, 4 * 6 * 1024
    assert counts["Sequential.0.first"] == first
    assert counts["Sequential.0.second"] == second
    assert counts["Sequential.0"] == first + second
    assert counts["Sequential.1"] == last
    assert counts["Global"] == counts["Sequential"] == counter.get_total() == first + second + last
    assert counter.get_counts()["Sequential.1"][torch.ops.aten.addmm.default] == last
    assert [row.path for row in counter.rows] == ["0.first", "0.second", "1"]


def test_fractions_of_a_word_add_up() -> None:
    # One signed word of three digits costs four bits: the steps of a single-step network cost 4/3 each.
    net = nn.Sequential(SpikePackNode(3, signed=True), nn.Linear(1, 1, bias=False))
    counter = BitBudgetCounter(weight_bits=1)
    totals = []
    for _ in range(3):
        with torch.no_grad(), DispatchCounterMode([counter]):
            net(torch.ones(1, 1))
        totals.append(counter.get_total())
    assert totals == [1, 2, 4]
    assert counter.get_counts()["Sequential.1"][torch.ops.aten.mm.default] == 4


def test_it_shares_a_pass_with_other_counters_and_gradients() -> None:
    net, x = Block(), torch.rand(4, 6)
    alone, beside, inner, outer = BitBudgetCounter(), BitBudgetCounter(), MACCounter(), MACCounter()
    with DispatchCounterMode([alone]):
        expected = net(x)
    net.node.reset()
    with DispatchCounterMode([outer]), DispatchCounterMode([beside, inner]):
        found = net(x)
        found.sum().backward()
    assert torch.equal(found, expected)
    assert beside.get_total() > alone.get_total()  # the backward pass multiplies too, and is counted as run
    assert outer.get_total() == inner.get_total()  # what the counter computes for itself, no other one sees
    assert net.first.weight.grad is not None


class Calls(BaseCounter):
    """Counts every operation."""

    def has_rule(self, func: Any) -> bool:
        return True

    def count(self, *_args: Any, **_kwargs: Any) -> int:
        return 1


def test_its_own_operations_are_hidden() -> None:
    net, x, inner, outer = Block(), torch.rand(4, 6), Calls(), Calls()
    with torch.no_grad(), DispatchCounterMode([outer]), DispatchCounterMode([BitBudgetCounter(), inner]):
        net(x)
    assert outer.get_total() == inner.get_total() > 0


def test_tied_weights_are_stored_once() -> None:
    net = nn.Sequential(nn.Linear(6, 6, bias=False), nn.Linear(6, 6, bias=False))
    net[1].weight = net[0].weight
    assert measure(net, torch.rand(2, 6), weight_bits=4).memory.parameters == 36 * 4


def test_nothing_stays_behind() -> None:
    net, counter = Block(), BitBudgetCounter()
    before = len(_global_forward_hooks)
    with DispatchCounterMode([counter]):
        net(torch.rand(4, 6))
    assert not any(module._forward_hooks for module in net.modules())
    assert len(_global_forward_hooks) == before
    counter.reset()
    assert counter.get_total() == 0
    assert counter.get_counts() == {"Global": {}}
    assert not counter.rows
    with pytest.raises(RuntimeError), DispatchCounterMode([counter]):
        net(torch.rand(4, 7))
    counter.reset()
    assert not any(module._forward_hooks for module in net.modules())


class Odd(nn.Module):
    """A network with an operation that nobody has a rule for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.lstsq(x, x).solution


def test_an_operation_without_a_rule_is_listed_and_refused() -> None:
    net, x = nn.Sequential(Odd(), nn.Linear(4, 2)), torch.rand(4, 4)
    report = measure(net, x)
    assert list(report.unsupported) == ["aten.linalg_lstsq.default"]
    assert "NOT COUNTED, no rule: aten.linalg_lstsq.default, 1 calls" in str(report)
    assert report.analog == {"1": ("unknown",)}
    with pytest.raises(UnsupportedError, match=r"must have a counting rule .* got aten.linalg_lstsq.default"):
        measure(net, x, strict=True)
    counter = BitBudgetCounter()
    with (
        pytest.raises(RuntimeError, match="linalg_lstsq"),
        DispatchCounterMode([counter], strict=True),
    ):
        net(x)
    with DispatchCounterMode([counter]) as mode:
        net(x)
    assert mode.get_unsupported(counter) == {"aten.linalg_lstsq.default": 1}


def test_fused_recurrent_layers_are_not_silently_free() -> None:
    report = measure(nn.LSTM(4, 3), torch.rand(5, 2, 4))
    assert report.unsupported or report.macs >= 5 * (4 + 3) * 12


def test_origin_of_analog_values() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 6)

        def forward(self, x: Tensor) -> Tensor:
            return self.c(F.gelu(self.b(self.a(x))))

    report = measure(Net(), torch.rand(2, 6))
    assert report.analog["a"] == ("input",)
    assert report.analog["b"] == ("addmm in a",)
    assert report.analog["c"] == ("gelu",)
    assert report.elementwise["gelu"] == 1


def test_module_events_are_refused() -> None:
    net = Block()
    with pytest.raises(UnsupportedError, match="must be DispatchCounterMode or FunctionCounterMode"):
        ModuleCounterMode([BitBudgetCounter()], model=net).__enter__()


def test_a_reader_of_ones_own() -> None:
    class Quarter(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return (x * 4).round() / 4

    net, counter = (
        nn.Sequential(Quarter(), nn.Linear(6, 5)),
        BitBudgetCounter(extra_sources={Quarter: lambda it: (Signal("codes", 2, sources=(it.path,)), None)}),
    )
    with DispatchCounterMode([counter]):
        net(torch.rand(2, 6))
    assert counter.get_total() == 2 * 30 * 2 * 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_bits": 0}, r"weight_bits must be an integer >= 1, got 0"),
        ({"activation_bits": {"fc": 2.5}}, r"activation_bits must be an integer >= 1, got 2.5"),
        ({"weight_bits": {3: 8}}, r"weight_bits must be a number or numbers by module path"),
        ({"time_steps": 0}, r"time_steps must be an integer >= 1, got 0"),
    ],
)
def test_bad_widths(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        BitBudgetCounter(**arguments)


def test_bad_input() -> None:
    counter = BitBudgetCounter()
    with pytest.raises(DtypeError, match=r"spikes must be 0 or 1 \(with signed=True also -1\), got other"):
        counter.declare(torch.tensor([0.5]), spikes=True)
    with pytest.raises(DtypeError, match="spikes must be 0 or 1"):
        counter.declare(torch.tensor([-1.0]), spikes=True)
    counter.declare(torch.tensor([-1.0]), spikes=True, signed=True)
    with pytest.raises(
        ParameterError, match=r"steps must be >= 1, warm_up >= 0 and x hold a tensor, got 0, 0"
    ):
        measure(Block(), torch.rand(1, 6), steps=0)
    with pytest.raises(ParameterError, match=r"x must hold a sample, got 0 in shape \(0, 6\)"):
        measure(Block(), torch.rand(0, 6))
    with pytest.raises(ShapeError, match=r"must accept its input, got shapes \[\(2, 5\)\]"):
        measure(nn.Sequential(nn.Linear(6, 2)), torch.rand(2, 5))
    net = nn.Sequential(nn.Linear(6, 2))
    with pytest.raises(ParameterError, match=r"weight bits must name modules of the network, got \['fc'\]"):
        measure(net, torch.rand(2, 6), weight_bits={"fc": 4})
    assert measure(net, torch.rand(2, 6), weight_bits={"0": 4, "*": 8}).s_ace == 12 * 4 * 32
