"""Codes against independent oracles: exhaustive search, and SpikingJelly's own few-spike neuron."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import neuron

from spikejelly_pack import functional
from spikejelly_pack.functional import NeuronParameters


@given(
    steps=st.integers(1, 6),
    tau=st.sampled_from([1.125, 1.25, 1.5, 1.75, 2.0]),
    signed=st.booleans(),
    half=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_greedy_code_is_the_largest_that_fits(
    steps: int, tau: float, signed: bool, half: bool, seed: int
) -> None:
    # theta = Q makes the LSB 1; dyadic tau and membranes keep every float64 operation exact.
    params = NeuronParameters(steps, tau, signed=signed, rounding="round_half_up" if half else "floor")
    generator = torch.Generator().manual_seed(seed)
    limit = int(params.weight_sum * 64) + 64
    start = torch.randint(-limit, limit, (40,), generator=generator).double() / 64
    words = torch.tensor(list(itertools.product((0.0, 1.0), repeat=steps)), dtype=torch.float64)
    sums = words @ torch.tensor(params.weights, dtype=torch.float64)
    available = (start.abs() if signed else start) + params.half
    fits = sums[None, :] <= available[:, None]
    ranks = torch.arange(len(words))
    best = torch.where(fits, ranks, torch.zeros_like(ranks)).max(dim=1).values
    expected = best * start.sign().long() if signed else best
    theta = torch.tensor(params.weight_sum, dtype=torch.float64)
    assert functional.spikepack_code(start, theta, params).tolist() == expected.tolist()


@pytest.mark.parametrize("steps", [1, 2, 4, 8])
@pytest.mark.parametrize("exponent", [-6, 0, 3])
def test_floor_variant_equals_few_spike_node(steps: int, exponent: int) -> None:
    # theta = Q * 2^k, so the table theta_t = h_t = d_t = 2^k * 2^(T-t) is exact in float32.
    lsb = 2.0**exponent
    params = NeuronParameters(steps, rounding="floor")
    table = torch.tensor([lsb * weight for weight in params.weights])
    oracle = neuron.FewSpikeNode(neuron.FewSpikeTable(theta=table, h=table, d=table), step_mode="m")
    u = torch.cat([torch.arange(-2.0, 2**steps + 2) * lsb, torch.randn(500) * lsb * 2**steps])
    inputs = torch.cat([u[None], torch.zeros(steps - 1, len(u))])
    theta = torch.tensor(params.weight_sum * lsb)
    reference = oracle(inputs)  # the digits, each times d
    codes = functional.spikepack_code(u, theta, params)
    assert torch.equal(functional.unpack(codes, steps) * table[:, None], reference)
