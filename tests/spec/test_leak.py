"""Leak between the windows of a sample: shift, clamp, reset between samples, in every form."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.bounds import accumulator_bounds
from spikejelly_pack.spec.equations import shifted_start
from spikejelly_pack.spec.errors import BoundError, ParameterError, ShapeError, UnsupportedError
from spikejelly_pack.spec.exchange import load, save
from spikejelly_pack.spec.execute import run_packed, run_serial_multi_step
from spikejelly_pack.spec.firing import load_register
from spikejelly_pack.spec.stream import run_serial_single_step
from spikejelly_pack.spec.windows import refuse_windows

FORMS = [run_packed, run_serial_multi_step, run_serial_single_step]


def chain(depth: int = 1, windows: int = 1, theta: int = 4, **neuron: Any) -> Any:
    """``depth`` neurons one behind the other, each reading the code of the one before."""
    constants: dict[str, Any] = {"time_steps": 3, "rounding": "floor", **neuron}
    ops: list[Any] = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(1,), time_steps=3, signed=True)
    ]
    bias = np.full(1, constants.pop("bias", 0), np.int32)
    for n in range(depth):
        source = ops[-1].name
        ops.append(g.Scale(name=f"s{n}", inputs=(source,), weight_bits=8, multiplier=np.ones(1, np.int32)))
        threshold = np.full(1, theta, np.int32)
        ops.append(g.Neuron(name=f"n{n}", inputs=(f"s{n}",), threshold=threshold, bias=bias, **constants))
    last = ops[-1].name
    ops.append(g.Scale(name="w", inputs=(last,), weight_bits=8, multiplier=np.ones(1, np.int32)))
    ops.append(g.Readout(name="out", inputs=("w",), scale=np.ones(1), bias=np.zeros(1, np.int32)))
    return g.Network(ops, 3, None, windows)


@pytest.mark.parametrize("run", FORMS)
def test_by_hand(run: Any) -> None:
    """A threshold of 4 and a leak of 1/2: 7 gives 1 and leaves 3, of which 1 reaches the next window."""
    network = chain(windows=4, leak_shift=1)
    codes = np.array([7, 7, 7, -6]).reshape(4, 1, 1)
    # 7 -> 1, r = 3; 7 + 1 -> 2, r = 0; 7 + 0 -> 1, r = 3; -6 + 1 -> 0
    assert run(network, codes)["n0"].ravel().tolist() == [1, 2, 1, 0]
    membrane = chain(windows=4, leak_shift=1, carry="membrane")
    # 7 -> 1, r = 7; 7 + 3 = 10 -> 2, r = 10; 7 + 5 = 12 -> 3, r = 12; -6 + 6 = 0
    assert run(membrane, codes)["n0"].ravel().tolist() == [1, 2, 3, 0]


@pytest.mark.parametrize("run", FORMS)
def test_the_carry_is_clamped_to_the_full_code(run: Any) -> None:
    """Without the clamp a negative membrane would pile up over the windows: theta Q = 7 here."""
    network = chain(windows=5, theta=1, leak_shift=0)
    codes = np.array([-7, -7, -7, 7, 7]).reshape(5, 1, 1)
    assert run(network, codes)["n0"].ravel().tolist() == [0, 0, 0, 0, 7]


@pytest.mark.parametrize("run", FORMS)
def test_samples_start_from_nothing(run: Any) -> None:
    """Each sample alone gives what it gives in a batch, though the pipeline runs them back to back."""
    network = chain(depth=3, windows=3, theta=3, leak_shift=0, carry="membrane", bias=2)
    codes = np.random.default_rng(5).integers(-7, 8, size=(3, 6, 1))
    together = run(network, codes)
    for n in range(6):
        for name, value in run(network, codes[:, n : n + 1]).items():
            np.testing.assert_array_equal(together[name][:, n : n + 1], value)
    np.testing.assert_array_equal(run_serial_single_step(network, codes, streams=4)["out"], together["out"])


@pytest.mark.parametrize("run", FORMS)
def test_one_window_is_a_network_without_leak(run: Any) -> None:
    codes = np.arange(-7, 8).reshape(15, 1)
    for name, value in run(chain(2), codes).items():
        np.testing.assert_array_equal(run(chain(2, leak_shift=0), codes)[name], value)
        given = run(chain(2, windows=3, leak_shift=0), codes, windows=1)[name]
        np.testing.assert_array_equal(given, value)


@pytest.mark.parametrize("run", FORMS)
def test_windows_without_leak_are_independent(run: Any) -> None:
    codes = np.random.default_rng(0).integers(-7, 8, size=(4, 3, 1))
    flat = run(chain(2), codes.reshape(12, 1))
    for name, value in run(chain(2), codes, windows=4).items():
        np.testing.assert_array_equal(value.reshape(12, 1), flat[name])


@given(st.integers(-(2**40), 2**40), st.integers(0, 31))
def test_the_shift_rounds_down(carry: int, shift: int) -> None:
    """In Python integers, numpy and (by the executors) torch alike: floor division by 2^k."""
    expected = carry // 2**shift
    assert shifted_start(0, carry, shift) == expected
    assert int(shifted_start(np.int64(0), np.array(carry), shift)) == expected


@settings(max_examples=80)
@given(st.data(), st.sampled_from(["residual", "membrane"]), st.integers(0, 4), st.booleans())
def test_no_carry_passes_the_bound(data: st.DataObject, carry: str, shift: int, signed: bool) -> None:
    """What a register holds at the start of firing, carry included, stays within the bound."""
    theta, bias = data.draw(st.integers(1, 9)), data.draw(st.integers(-5, 5))
    network = chain(
        theta=theta,
        bias=bias,
        windows=6,
        leak_shift=shift,
        carry=carry,
        signed=signed,
        rounding="round_half_up",
    )
    codes = data.draw(st.lists(st.integers(-7, 7), min_size=6, max_size=6))
    bound = accumulator_bounds(network)[0]
    assert bound.magnitude == 7 + abs(bias) + theta // 2 + -(-theta * 7 // 2**shift)
    left = 0
    for code in codes:
        start = code + bias + (left >> shift)
        assert abs(start) + theta // 2 <= bound.magnitude
        size = min(max(((abs(start) if signed else start) + theta // 2) // theta, 0), 7)
        rest = start if carry == "membrane" else start - theta * (-size if signed and start < 0 else size)
        left = min(max(rest, -7 * theta), 7 * theta)


def test_widths_count_the_carry(tmp_path: Any) -> None:
    """A register that holds the sum but not the carry is refused."""
    constants: dict[str, Any] = {"theta": 16, "state_bits": 8, "bias": 9}
    save(chain(**constants), tmp_path / "net.spk")
    with pytest.raises(BoundError, match="neuron 'n0': neuron 0 can reach 128, which needs 9 bits, but"):
        save(chain(**constants, leak_shift=0), tmp_path / "net.spk")
    save(chain(**constants, leak_shift=1), tmp_path / "net.spk")


def test_file_keeps_leak_and_windows(tmp_path: Any, same: Any) -> None:
    network = chain(2, windows=3, leak_shift=2, carry="membrane")
    codes = np.random.default_rng(1).integers(-7, 8, size=(3, 2, 1))
    save(network, tmp_path / "net.spk", codes)
    again = load(tmp_path / "net.spk")
    assert same(again, network)
    assert (again.windows, again.ops["n0"].leak_shift, again.ops["n0"].carry) == (3, 2, "membrane")


@pytest.mark.parametrize("value", [-1, 32, 1.0, True, "1"])
def test_bad_shifts_are_named(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"neuron 'n0': leak_shift must be an integer in 0\.\.31, got"):
        chain(leak_shift=value)


def test_a_carry_needs_a_leak() -> None:
    with pytest.raises(ParameterError, match="carry must be 'residual', got 'membrane'"):
        chain(carry="membrane")
    with pytest.raises(ParameterError, match="carry must be 'residual' or 'membrane', got 'both'"):
        chain(leak_shift=1, carry="both")


@pytest.mark.parametrize("windows", [0, -1, 1.0, True, 1 << 17])
def test_bad_windows_are_named(windows: Any) -> None:
    with pytest.raises(ParameterError, match=r"Network: windows must be an integer in 1\.\.65536, got"):
        chain(windows=windows)
    for run in FORMS:
        with pytest.raises(ParameterError, match=r"windows must be an integer in 1\.\.65536, got"):
            run(chain(), np.zeros((1, 1), int), windows=windows)


def test_executors_of_single_windows_refuse() -> None:
    """Rather than run a network that carries as if it did not."""
    refuse_windows(chain(), "Lava")
    with pytest.raises(
        UnsupportedError, match=r"Lava: neuron 'n0' must have no leak here, got leak_shift = 0; run"
    ):
        refuse_windows(chain(leak_shift=0), "Lava")
    with pytest.raises(
        UnsupportedError, match="Lava: a sample must be one window here, got windows = 2; run"
    ):
        refuse_windows(chain(windows=2), "Lava")


@pytest.mark.parametrize("shape", [(2, 1), (2, 3, 1), (3, 1), (4, 3, 2, 1)])
def test_codes_of_several_windows_have_their_axis(shape: Any) -> None:
    for run in FORMS:
        with pytest.raises(ShapeError, match=r"input 'x': codes must have shape \[4, N, 1\], got"):
            run(chain(windows=4), np.zeros(shape, int))


@pytest.mark.parametrize("signed", [False, True])
def test_the_firing_register_and_the_sign_are_integers(signed: bool) -> None:
    """The rounding offset, half of the threshold of 5, goes to the magnitude."""
    neuron = chain(theta=5, rounding="round_half_up", signed=signed).ops["n0"]
    register, sign = load_register(neuron, np.array([[-7], [0], [7]]))
    signs = [[-1], [0], [1]] if signed else [[1], [1], [1]]
    np.testing.assert_array_equal(sign, np.array(signs), strict=True)
    np.testing.assert_array_equal(register, np.array([[9 if signed else -5], [2], [9]]), strict=True)
