"""The single-step form: pipelines, latencies and delays, step by step."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec import stream
from spikejelly_pack.spec.errors import UnsupportedError
from spikejelly_pack.spec.execute import run_packed
from spikejelly_pack.spec.stream import run_serial_single_step


def identity_chain(depth: int, time_steps: int) -> Any:
    """Neurons one behind the other, each repeating the code of the one before."""
    one = np.ones(1, np.int32)
    ops: list[Any] = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1,), time_steps=time_steps)
    ]
    for n in range(depth):
        ops.append(g.Scale(name=f"s{n}", inputs=(ops[-1].name,), weight_bits=8, multiplier=one))
        ops.append(
            g.Neuron(name=f"n{n}", inputs=(f"s{n}",), threshold=one, bias=0 * one, time_steps=time_steps)
        )
    ops.append(g.Dense(name="fc", inputs=(ops[-1].name,), weight_bits=8, weight=np.ones((1, 1), np.int32)))
    ops.append(g.Readout(name="out", inputs=("fc",), scale=np.ones(1), bias=0 * one))
    return g.Network(ops, time_steps)


def delayed_sum(windows: int | None, depth: int, time_steps: int = 3) -> Any:
    """``n0 + 16 * delay(x)`` read out: a delay of another length adds another sample's code."""
    chain = list(identity_chain(depth, time_steps).ops.values())[:-2]
    weight = np.array([[1, 16]], np.int32)
    source = "x"
    if windows:
        chain.append(g.Delay(name="d", inputs=("x",), windows=windows))
        source = "d"
    tail = [
        g.Concat(name="both", inputs=(chain[-1 - bool(windows)].name, source)),
        g.Dense(name="fc", inputs=("both",), weight_bits=8, weight=weight),
        g.Readout(name="out", inputs=("fc",), scale=np.ones(1), bias=np.zeros(1, np.int32)),
    ]
    return g.Network([*chain, *tail], time_steps)


@settings(max_examples=40)
@given(
    st.integers(0, 4),
    st.integers(1, 6),
    st.lists(st.integers(0, 63), min_size=1, max_size=6),
    st.integers(1, 7),
)
def test_samples_come_out_whole_and_in_order(depth: int, steps: int, codes: list[int], streams: int) -> None:
    array = np.array(codes)[:, None] % 2**steps
    result = run_serial_single_step(identity_chain(depth, steps), array, streams)
    for value in result.values():
        np.testing.assert_array_equal(value, array)


def test_a_neuron_emits_its_window_exactly_T_steps_late() -> None:
    """Digit t of window w enters at step w T + t and leaves the n-th neuron at step (w + n) T + t."""
    steps, codes = 3, [5, 3, 6]
    network = identity_chain(2, steps)
    digits = [code >> (steps - 1 - t) & 1 for code in codes for t in range(steps)]
    emitted: dict[str, list[int]] = {"n0": [], "n1": []}
    state = stream._State(network, batch=1)
    for step in range((len(codes) + 2) * steps):
        digit = digits[step] if step < len(digits) else 0
        # Reading the digit off the register before it fires: the register is below 2^(T-phase).
        phase = step % steps
        for name, train in emitted.items():
            train.append(int(state.populations[name].register[0, 0]) >> (steps - 1 - phase) & 1)
        state.step(phase, {"x": np.full((1, 1), digit, np.int8)})
    assert emitted["n0"] == [0] * steps + digits + [0] * steps
    assert emitted["n1"] == [0] * 2 * steps + digits


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_delays_are_whole_windows(depth: int) -> None:
    """A branch that skips k nodes waits k windows; one window more or less is another sample."""
    codes = np.array([[1], [2], [3], [4], [5]])
    balanced = delayed_sum(None, depth).balanced()
    assert [op.windows for op in balanced.ops.values() if op.kind == "delay"] == [depth]
    by_hand = delayed_sum(depth, depth)
    for network in (balanced, by_hand):
        result = run_serial_single_step(network, codes)["out"]
        assert result.tolist() == (17 * codes).tolist()
        np.testing.assert_array_equal(result, run_packed(network, codes)["out"])


@pytest.mark.parametrize("windows", [None, 1, 3])
def test_unbalanced_branches_are_refused(windows: int | None) -> None:
    network = delayed_sum(windows, 2)
    with pytest.raises(
        UnsupportedError, match=r"branches reach concat 'both' in different windows; call balanced"
    ):
        run_serial_single_step(network, np.ones((1, 1), int))


def test_delay_line_holds_windows_times_T_steps() -> None:
    state = stream._State(delayed_sum(2, 2, time_steps=3), batch=4)
    assert len(state.lines["d"]) == 6


def test_dead_ends_deeper_than_the_readout_are_recorded() -> None:
    """A neuron that nothing reads may lie deeper than every readout; its codes still come back."""
    one = np.ones(1, np.int32)
    ops = list(identity_chain(1, 4).ops.values())
    ops.append(g.Scale(name="s", inputs=("n0",), weight_bits=8, multiplier=one))
    ops.append(g.Neuron(name="deep", inputs=("s",), threshold=one, bias=0 * one))
    network = g.Network(ops, 4)
    assert network.depth == 1
    codes = np.array([[7], [9]])
    assert run_serial_single_step(network, codes)["deep"].tolist() == codes.tolist()


def test_a_network_without_neurons_streams() -> None:
    network = identity_chain(0, 4)
    assert network.depth == 0
    codes = np.array([[7], [9], [0]])
    assert run_serial_single_step(network, codes, streams=2)["out"].tolist() == codes.tolist()
