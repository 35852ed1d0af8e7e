"""The node in its forms: layouts, state, switching, and what a wrong sequence of calls is told."""

from __future__ import annotations

import itertools
import warnings
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from spikingjelly.activation_based import functional as sj
from spikingjelly.activation_based import layer
from torch import nn

from spikejelly_pack import SpikePackNode, decode_output, set_form
from spikejelly_pack.functional import NeuronParameters, pack, unpack
from spikejelly_pack.spec import equations
from spikejelly_pack.spec.errors import ParameterError, ShapeError, UnsupportedError

NODES = st.fixed_dictionaries(
    {
        "time_steps": st.integers(1, 9),
        "window": st.sampled_from([None, 9, 12]),
        "tau": st.sampled_from([2.0, 1.6]),
        "v_threshold": st.sampled_from([1.0, 0.3, [0.5, 1.0, 2.0]]),
        "leak": st.sampled_from([0.0, 0.5, 1.0]),
        "carry": st.sampled_from(["residual", "membrane"]),
        "signed": st.booleans(),
        "rounding": st.sampled_from(["round_half_up", "floor"]),
    }
)


@given(arguments=NODES, windows=st.integers(1, 3), seed=st.integers(0, 2**31))
@settings(max_examples=100)
def test_node_gives_the_same_digits_in_every_form(arguments: dict[str, Any], windows: int, seed: int) -> None:
    steps, tau = arguments["window"] or arguments["time_steps"], arguments["tau"]
    generator = torch.Generator().manual_seed(seed)
    x_seq = torch.randn(windows * steps, 2, 3, generator=generator) + 0.3
    node = SpikePackNode(**arguments, step_mode="m", store_v_seq=True)
    spikes = node(x_seq)
    v_seq = node.v_seq

    sj.reset_net(node)
    node.step_mode = "s"
    drained = torch.cat([x_seq, torch.zeros(steps, 2, 3)])
    single = torch.stack([node(x) for x in drained])
    assert torch.equal(single[steps:], spikes)
    assert not single[:steps].any()
    assert torch.equal(node.v_seq[steps:], v_seq)

    sj.reset_net(node)
    node.step_mode = "m"
    node.form = "packed"
    potential = decode_output(x_seq, steps, tau)
    packed = node(potential)
    assert torch.equal(node.v_seq, v_seq[steps - 1 :: steps])
    assert torch.equal(node.v, v_seq[-1])
    sj.reset_net(node)
    node.step_mode = "s"
    assert torch.equal(torch.stack([node(u) for u in potential]), packed)
    if arguments["leak"] == 0.0:
        codes = node.encode(potential[0])
        assert pack(spikes[:steps], node.params.signed).tolist() == codes.tolist()


@pytest.mark.parametrize("form", ["packed", "serial"])
@pytest.mark.parametrize("tau", [2.0, 1.5])
def test_every_exact_tie_fires(form: str, tau: float) -> None:
    # theta = Q, floor: the thresholds are q_t, and each sum of them is an exact tie of its own code.
    params = NeuronParameters(4, tau, rounding="floor")
    node = SpikePackNode(4, tau, params.weight_sum, rounding="floor", form="packed").double()
    compared = 0
    for digits in itertools.product((0.0, 1.0), repeat=4):
        total = sum(q * s for q, s in zip(params.weights, digits, strict=True))
        expected, _ = equations.fire_digits(total, params.weights)
        u = torch.full((1, 1), total, dtype=torch.float64)
        if form == "packed":
            fired = unpack(node.encode(u), 4).flatten().tolist()
        else:
            node.form, node.step_mode = "serial", "m"
            currents = u.expand(4, 1, 1)
            if decode_output(currents, 4, tau).item() != total:
                continue  # the charge was rounded: no tie any more
            fired = node(currents).flatten().tolist()
        assert fired == [int(digit) for digit in expected]
        compared += 1
        if tau == 2.0:
            assert fired == list(digits)
    assert compared >= 8


def deep(node_arguments: dict[str, Any]) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(6, 8),
        SpikePackNode(**node_arguments),
        layer.Linear(8, 8),
        SpikePackNode(**node_arguments),
        layer.Linear(8, 4),
    )
    # Weights and inputs on a dyadic grid: T * log2 terms fit a float32, so sums in any order are exact.
    for parameter in net.parameters():
        parameter.data = (parameter.data * 16).round() / 16
    return net


@pytest.mark.parametrize("carry", ["residual", "membrane"])
@pytest.mark.parametrize("leak", [0.0, 0.5])
def test_deep_net_pipelines_exactly(leak: float, carry: str) -> None:
    # theta = Q: codes are integers / 15 only after decoding, so compare serial forms, which stay on the grid.
    windows, steps = 3, 4
    net = deep({"time_steps": steps, "v_threshold": 15 / 16, "leak": leak, "carry": carry}).double()
    nodes = [module for module in net if isinstance(module, SpikePackNode)]
    for window, node in enumerate(nodes):
        node.start_window = window
    generator = torch.Generator().manual_seed(1)
    x = torch.randint(-16, 32, (windows, 5, 6), generator=generator).double() / 16
    x_seq = x.repeat_interleave(steps, dim=0)
    sj.set_step_mode(net, "m")
    expected = net(x_seq)
    sj.reset_net(net)
    sj.set_step_mode(net, "s")
    latency = len(nodes) * steps
    drained = torch.cat([x_seq, torch.zeros(latency, 5, 6, dtype=torch.float64)])
    single = torch.stack([net(step) for step in drained])
    assert torch.equal(single[latency:], expected)
    if leak and carry == "membrane":
        # Without start_window the second node would carry its bias from the window that fills the pipeline.
        sj.reset_net(net)
        nodes[1].start_window = 0
        assert not torch.equal(torch.stack([net(step) for step in drained])[latency:], expected)


def test_set_form_is_recursive_and_sets_repeats() -> None:
    class Builder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.T = 4
            self.stem = nn.Sequential(SpikePackNode(4), nn.ModuleList([SpikePackNode(4)]))

    net = Builder()
    assert set_form(net, "packed") is net
    assert [m.form for m in net.modules() if isinstance(m, SpikePackNode)] == ["packed"] * 2
    assert net.T == 1
    set_form(net, "serial")
    assert net.T == 4
    for node in net.modules():
        if isinstance(node, SpikePackNode):
            node.window = 6
    assert set_form(net, "serial").T == 6
    with pytest.raises(ParameterError, match="set_form: form must be 'packed' or 'serial', got 'fast'"):
        set_form(net, "fast")
    with pytest.raises(UnsupportedError, match="at least one SpikePackNode, got Linear"):
        set_form(nn.Linear(1, 1), "packed")


def test_serial_form_needs_one_window_and_one_tau() -> None:
    net = nn.Sequential(SpikePackNode(4, form="packed"), nn.Sequential(SpikePackNode(3, form="packed")))
    told = (
        "share one window and tau in serial form, got window=4, tau=2.0 at '0' and window=3, tau=2.0 at '1.0'"
    )
    with pytest.raises(UnsupportedError, match=f"{told}; call adapt"):
        set_form(net, "serial")
    assert {node.form for node in (net[0], net[1][0])} == {"packed"}
    net[1][0].window = 4
    assert set_form(net, "serial")[1][0].form == "serial"
    other = nn.Sequential(SpikePackNode(4, form="packed"), SpikePackNode(4, tau=1.5, form="packed"))
    with pytest.raises(UnsupportedError, match=r"got window=4, tau=2.0 at '0' and window=4, tau=1.5 at '1'"):
        set_form(other, "serial")


def test_window_changes_between_windows_only() -> None:
    node = SpikePackNode(2)
    assert (node.window, node.window_gain) == (2, 1.0)
    node.window = 4
    assert (node.window, node.window_gain) == (4, 5.0)
    assert "window=4" in repr(node)
    assert "window" not in repr(SpikePackNode(2))
    node(torch.ones(1))
    with pytest.raises(
        UnsupportedError, match="window must not change inside a window, got a change after 1 of 4"
    ):
        node.window = None
    for _ in range(3):
        node(torch.ones(1))
    assert [float(node(torch.ones(1))) for _ in range(4)] == [0.0, 0.0, 1.0, 1.0]
    node.window = None
    # Digits of the longer window do not come out in the shorter one.
    assert [float(node(torch.ones(1))) for _ in range(4)] == [0.0, 0.0, 1.0, 1.0]


def test_set_form_says_what_must_be_folded() -> None:
    net = nn.Sequential(SpikePackNode(4, scale_output=True, form="packed"))
    with pytest.warns(UserWarning, match="amplitude theta of 0 .* must be folded"):
        set_form(net, "serial")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        set_form(net, "packed")


def test_scaled_output_is_theta_times_unit_output() -> None:
    u = torch.randn(5, 3)
    unit = SpikePackNode(4, v_threshold=[0.5, 1.0, 3.0], form="packed")
    scaled = SpikePackNode(4, v_threshold=[0.5, 1.0, 3.0], form="packed", scale_output=True)
    assert torch.equal(scaled(u), unit(u) * torch.tensor([0.5, 1.0, 3.0]))
    longer = SpikePackNode(4, v_threshold=[0.5, 1.0, 3.0], form="packed", scale_output=True, window=9)
    assert torch.equal(longer(u), scaled(u))  # in real units the window is of no account
    serial = SpikePackNode(4, v_threshold=[0.5, 1.0, 3.0], scale_output=True, step_mode="m")
    assert set(serial(torch.randn(8, 5, 3)).unique().tolist()) <= {0.0, 1.0}


def test_window_length_must_be_whole() -> None:
    node = SpikePackNode(4, step_mode="m")
    for length in (0, 3, 6):
        with pytest.raises(ShapeError, match=f"multiple of time_steps = 4, got {length} "):
            node(torch.rand(length, 2))


@pytest.mark.parametrize("leak", [0.0, 0.5])
def test_shape_must_not_change_between_steps(leak: float) -> None:
    node = SpikePackNode(2, leak=leak)
    node(torch.rand(2, 3))
    with pytest.raises(ShapeError, match=r"got \(3, 3\) after \(2, 3\); call reset_net first"):
        node(torch.rand(3, 3))
    node(torch.rand(2, 3))
    # The digits of the window that just ended are still to come.
    with pytest.raises(ShapeError, match="shape must not change while a state is kept"):
        node(torch.rand(3, 3))
    sj.reset_net(node)
    assert node(torch.rand(3, 3)).shape == (3, 3)


def test_carry_keeps_the_shape_and_no_carry_frees_it() -> None:
    free = SpikePackNode(2, step_mode="m")
    free(torch.rand(4, 2, 3))
    free(torch.rand(4, 5, 3))
    carried = SpikePackNode(2, step_mode="m", leak=0.5)
    carried(torch.rand(4, 2, 3))
    with pytest.raises(ShapeError, match="call reset_net first"):
        carried(torch.rand(4, 5, 3))


def test_no_switch_inside_a_window() -> None:
    node = SpikePackNode(4)
    node(torch.rand(2))
    for change in ({"form": "packed"}, {"step_mode": "m"}):
        ((name, value),) = change.items()
        with pytest.raises(
            UnsupportedError, match=f"{name} must not change inside a window, got a change after 1"
        ):
            setattr(node, name, value)
    with pytest.raises(UnsupportedError, match="set_form: form must not change inside a window"):
        set_form(nn.Sequential(SpikePackNode(4), node), "packed")
    for _ in range(3):
        node(torch.rand(2))
    # At the boundary the switch is allowed; the pending digits do not come out in another run.
    node.form = "packed"
    node.form = "serial"
    assert not node(torch.ones(2)).any()
    with pytest.raises(ParameterError, match="step_mode must be 's' or 'm', got 'x'"):
        node.step_mode = "x"


def test_carry_survives_a_change_of_form() -> None:
    node = SpikePackNode(2, leak=1.0, carry="membrane", form="packed")
    node(torch.tensor([[0.4]]))
    node.form = "serial"
    assert node.carry.item() == pytest.approx(0.4)
    node.step_mode = "m"
    node(torch.zeros(2, 1, 1))
    assert node.carry.item() == pytest.approx(0.4)
    sj.reset_net(node)
    assert node.carry is None


def test_packed_form_without_leak_keeps_no_tensor() -> None:
    node = SpikePackNode(8, form="packed")
    node(torch.rand(4, 4))
    assert node.v == 0.0
    assert all(not isinstance(value, torch.Tensor) for value in node.memories())
