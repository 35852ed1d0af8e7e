"""One neuron, three forms: the same digits, bit for bit, and the same membranes and carries."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejelly_pack import functional
from spikejelly_pack.functional import NeuronParameters, SpikePackState
from spikejelly_pack.spec import equations
from spikejelly_pack.spec.parameters import MAX_TIME_STEPS


def neuron(time_steps: int, silent: int, **constants: Any) -> NeuronParameters:
    """Return parameters with up to ``silent`` leading time steps without a digit."""
    window = min(time_steps + silent, MAX_TIME_STEPS)
    return NeuronParameters(time_steps, **constants, window=window if silent else None)


NEURONS = st.builds(
    neuron,
    time_steps=st.integers(1, 16),
    silent=st.one_of(st.just(0), st.integers(1, 15)),
    tau=st.one_of(st.just(2.0), st.floats(1.01, 2.0)),
    leak=st.one_of(st.just(0.0), st.floats(0.0, 1.0)),
    carry=st.sampled_from(["residual", "membrane"]),
    signed=st.booleans(),
    rounding=st.sampled_from(["round_half_up", "floor"]),
)
THETAS = st.one_of(st.sampled_from([1.0, 0.25, 255.0]), st.floats(1e-3, 1e3))


def currents(params: NeuronParameters, windows: int, seed: int, theta: float, ties: bool) -> torch.Tensor:
    """Currents that charge to below zero, inside and above theta; with ``ties`` to exact multiples."""
    generator = torch.Generator().manual_seed(seed)
    shape = (windows * params.window_steps, 2, 3)
    if ties:
        steps = torch.randint(-2, 4, shape, generator=generator)
        return steps.float() * theta / 2
    return (torch.randn(shape, generator=generator) + 0.4) * theta


def run_single_steps(
    x_seq: torch.Tensor, theta: torch.Tensor, params: NeuronParameters
) -> tuple[torch.Tensor, list[Any], SpikePackState]:
    state, spikes, membranes = SpikePackState(), [], []
    drain = torch.zeros_like(x_seq[: params.window_steps])
    for step, x in enumerate(torch.cat([x_seq, drain])):
        spike, state = functional.spikepack_step(x, state, theta, params)
        if step == x_seq.shape[0] - 1:
            last = state
        spikes.append(spike)
        membranes.append(state.v)
    return torch.stack(spikes), membranes, last


@given(
    params=NEURONS,
    theta=THETAS,
    windows=st.integers(1, 3),
    seed=st.integers(0, 2**31),
    ties=st.booleans(),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
@settings(max_examples=300)
def test_the_three_forms_agree_bit_for_bit(
    params: NeuronParameters,
    theta: float,
    windows: int,
    seed: int,
    ties: bool,
    dtype: torch.dtype,
    tolerance: Any,
) -> None:
    steps = params.window_steps
    x_seq = currents(params, windows, seed, theta, ties).to(dtype)
    threshold = torch.tensor(theta, dtype=dtype)
    spikes, carry, start = functional.spikepack_multi_step(x_seq, None, threshold, params)
    single, membranes, state = run_single_steps(x_seq, threshold, params)
    # Single-step: nothing in the first window, then the same digits one window late.
    assert not single[:steps].any()
    assert torch.equal(single[steps:], spikes)
    assert torch.equal(torch.stack(membranes[steps:]), functional.membrane_sequence(start, threshold, params))
    # Packed, from the same U.
    potential = functional.decode_output(x_seq, steps, params.tau)
    out, packed_carry, packed_start = functional.spikepack_windows(potential, None, threshold, params)
    assert torch.equal(packed_start, start)
    codes = functional.spikepack_code(start, threshold, params)
    for window in range(windows):
        digits = spikes[window * steps : (window + 1) * steps]
        assert functional.pack(digits, params.signed).tolist() == codes[window].tolist()
        assert torch.equal(functional.unpack(codes[window], steps).to(dtype), digits)
        assert not digits[: params.silent_steps].any()
    # The word of T digits is one of L digits with leading zeros: the same value, to the last bit at tau = 2.
    rounded = 0 if params.tau == 2.0 or not params.silent_steps else tolerance(dtype).between(4)
    assert float((out - functional.decode(codes, steps, params.tau, dtype)).abs().max()) <= rounded
    assert torch.equal(
        functional.residual_membrane(start[-1], threshold, params), torch.as_tensor(membranes[-1])
    )
    if params.leak == 0.0:
        assert carry is None
        assert packed_carry is None
        assert state.carry is None
    else:
        assert carry is not None
        assert packed_carry is not None
        assert state.carry is not None
        assert torch.equal(carry, packed_carry)
        assert torch.equal(carry, state.carry)


@given(params=NEURONS, theta=THETAS, seed=st.integers(0, 2**31), ties=st.booleans())
def test_codes_equal_the_numpy_equations(
    params: NeuronParameters, theta: float, seed: int, ties: bool
) -> None:
    u = currents(params, 1, seed, theta, ties)[0]
    if ties:
        # Exact multiples of half the LSB, where rounding decides.
        u = torch.arange(-6.0, 6.0) * np.float32(theta / params.weight_sum) / 2
    # An array: numpy 1 computes with a lone float32 and Python's floats in float64.
    lsb = equations.least_significant(np.full(1, theta, np.float32), params.weight_sum)
    start = u.numpy()
    magnitude = np.abs(start) if params.signed else start
    if params.tau == 2.0:
        code = equations.nearest_code(magnitude, lsb, params.max_code, params.half, np.floor)
    else:
        thresholds = equations.scaled_weights(params.weights, lsb)
        digits, _ = equations.fire_digits(magnitude + lsb * params.half, thresholds)
        code = equations.charge([digit.astype(np.int64) for digit in digits], 2)
    code = code.astype(np.int64) * (np.sign(start).astype(np.int64) if params.signed else 1)
    assert functional.spikepack_code(u, theta, params).tolist() == code.tolist()


@pytest.mark.parametrize("steps", [1, 4, 8, 16])
@pytest.mark.parametrize("rounding", ["floor", "round_half_up"])
def test_every_tie_fires(steps: int, rounding: str) -> None:
    # theta = Q: the LSB is 1, so P or P - 1/2 is a tie for every code P.
    params = NeuronParameters(steps, rounding=rounding)
    codes = torch.arange(2.0**steps, dtype=torch.float64)
    theta = torch.tensor(params.weight_sum, dtype=torch.float64)
    tie = codes - params.half
    assert functional.spikepack_code(tie, theta, params).tolist() == codes.tolist()
    below = functional.spikepack_code(tie - 2.0**-20, theta, params)
    assert below.tolist() == (codes - 1).clip(0).tolist()


def test_carry_is_clamped_and_membrane_is_memory() -> None:
    theta = torch.tensor(1.0)
    residual = NeuronParameters(4, leak=1.0)
    membrane = NeuronParameters(4, leak=1.0, carry="membrane")
    u = torch.tensor([5.0, -5.0, 0.5])
    left = kept = None
    for _ in range(20):
        _, left, _ = functional.spikepack_packed(u, left, theta, residual)
        _, kept, _ = functional.spikepack_packed(u, kept, theta, membrane)
        assert left is not None
        assert kept is not None
        assert left.abs().max() <= 1.0
        assert kept[:2].tolist() == [1.0, -1.0]
    # T = 4, theta = 15: the carry 7.5 alone rounds up to code 8.
    start = torch.tensor([7.5])
    out, _, v_0 = functional.spikepack_packed(torch.zeros(1), start, torch.tensor(15.0), membrane)
    assert v_0.item() == 7.5
    assert out.item() == torch.tensor(8.0).div(15.0).item()


def test_pipeline_fill_leaves_no_carry() -> None:
    params = NeuronParameters(2, leak=1.0, carry="membrane")
    theta = torch.tensor(1.0)
    garbage, data = torch.full((4, 1), 0.7), torch.full((4, 1), 0.3)
    fresh, _, _ = run_single_steps(data, theta, params)
    state, spikes = SpikePackState(), []
    for x in torch.cat([garbage, data, torch.zeros(2, 1)]):
        spike, state = functional.spikepack_step(x, state, theta, params, start_window=2)
        spikes.append(spike)
    assert torch.equal(torch.stack(spikes[4:])[2:], fresh[2:])
