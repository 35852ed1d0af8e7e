"""Autograd against float64 finite differences of the documented surrogate, and serial against packed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejelly_pack import functional, ops
from spikejelly_pack.functional import NeuronParameters
from spikejelly_pack.spec.errors import UnsupportedError

STEP = 1e-6
# Central difference of a piecewise smooth function of size ~1 over 3 windows: STEP^2 + u / STEP, times 1000.
BOUND = 1e-6


def neurons(**fixed: Any) -> st.SearchStrategy[NeuronParameters]:
    free: dict[str, st.SearchStrategy[Any]] = {
        "time_steps": st.integers(1, 8),
        "window": st.sampled_from([None, 8, 11]),
        "tau": st.sampled_from([2.0, 1.5]),
        "leak": st.sampled_from([0.0, 0.6, 1.0]),
        "carry": st.sampled_from(["residual", "membrane"]),
        "signed": st.booleans(),
        "rounding": st.sampled_from(["round_half_up", "floor"]),
    }
    return st.builds(NeuronParameters, **{**free, **{name: st.just(value) for name, value in fixed.items()}})


def ramp(start: torch.Tensor, theta: torch.Tensor, signed: bool) -> torch.Tensor:
    return (start / theta).clip(-1.0 if signed else 0.0, 1.0)


class Surrogate:
    """The smooth stand-in: ``d(s)`` is the ramp plus its rounding error, which is held constant."""

    def __init__(self, params: NeuronParameters, u: torch.Tensor, theta: torch.Tensor) -> None:
        self.params = params
        whole = [params.tau**t for t in range(params.window or params.time_steps)]
        self.gain = sum(whole) / sum(whole[: params.time_steps])
        self.errors: list[torch.Tensor] = []
        self.kinks: list[torch.Tensor] = []
        carry = None
        for window in u:
            start = window if carry is None else window + params.leak * carry
            decoded = functional.decode(
                functional.spikepack_code(start, theta, params), params.time_steps, params.tau, start.dtype
            )  # over its own digits: the window only scales what leaves the node
            error = decoded - ramp(start, theta, params.signed)
            self.errors.append(error)
            carry, left = self.carry(start, theta, error)
            self.kinks += [
                start.abs(),
                (start - theta).abs(),
                (start + theta).abs(),
                (left.abs() - theta).abs(),
            ]

    def carry(
        self, start: torch.Tensor, theta: torch.Tensor, error: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        decoded = ramp(start, theta, self.params.signed) + error
        left = start if self.params.carry == "membrane" else start - theta * decoded
        return left.clip(-theta, theta), left

    def __call__(self, u: torch.Tensor, theta: torch.Tensor, scaled: bool) -> torch.Tensor:
        outs, carry = [], None
        for window, error in zip(u, self.errors, strict=True):
            start = window if carry is None else window + self.params.leak * carry
            decoded = ramp(start, theta, self.params.signed) + error
            outs.append(theta * decoded if scaled else decoded / self.gain)
            carry, _ = self.carry(start, theta, error)
        return torch.stack(outs)


def difference(function: Callable[[torch.Tensor], torch.Tensor], point: torch.Tensor) -> torch.Tensor:
    """Central differences of a scalar function, entry by entry."""
    result = torch.zeros_like(point)
    for index in range(point.numel()):
        step = torch.zeros_like(point).view(-1)
        step[index] = STEP
        step = step.view(point.shape)
        result.view(-1)[index] = (function(point + step) - function(point - step)) / (2 * STEP)
    return result


@given(params=neurons(), scaled=st.booleans(), seed=st.integers(0, 2**31))
@settings(max_examples=60)
def test_packed_gradient_is_that_of_the_surrogate(params: NeuronParameters, scaled: bool, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(3, 2, 2, generator=generator, dtype=torch.float64) * 1.5
    theta = torch.tensor([0.8, 1.3], dtype=torch.float64)
    weights = torch.randn(3, 2, 2, generator=generator, dtype=torch.float64)
    surrogate = Surrogate(params, u, theta)
    if torch.stack(surrogate.kinks).min() < 1e-3:
        return
    value, threshold = u.clone().requires_grad_(), theta.clone().requires_grad_()
    out, _, _ = functional.spikepack_windows(value, None, threshold, params, scale_output=scaled)
    assert torch.allclose(out, surrogate(u, theta, scaled), rtol=0, atol=BOUND)
    (out * weights).sum().backward()
    expected = difference(lambda point: (surrogate(point, theta, scaled) * weights).sum(), u)
    assert torch.allclose(value.grad, expected, rtol=0, atol=BOUND)
    expected = difference(lambda point: (surrogate(u, point, scaled) * weights).sum(), theta)
    assert torch.allclose(threshold.grad, expected, rtol=0, atol=BOUND)
    # The same without a gradient for theta, which takes the operation that keeps one byte per element.
    again = u.clone().requires_grad_()
    out, _, _ = functional.spikepack_windows(again, None, theta, params, scale_output=scaled)
    (out * weights).sum().backward()
    assert torch.equal(again.grad, value.grad)


@given(params=neurons(), seed=st.integers(0, 2**31))
@settings(max_examples=100)
def test_serial_gradient_equals_packed_for_affine_consumers(params: NeuronParameters, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    windows, steps = 2, params.window_steps
    x_seq = torch.randn(windows * steps, 2, 3, generator=generator, dtype=torch.float64).requires_grad_()
    theta = torch.tensor([0.7, 1.0, 1.2], dtype=torch.float64, requires_grad=True)
    consumer = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    bias = torch.randn(5, generator=generator, dtype=torch.float64)
    target = torch.randn(windows, 2, 5, generator=generator, dtype=torch.float64)

    spikes, _, _ = functional.spikepack_multi_step(x_seq, None, theta, params)
    serial = functional.decode_output(spikes @ consumer.T + bias, steps, params.tau)
    serial_grads = torch.autograd.grad((serial * target).sin().sum(), (x_seq, theta))

    potential = functional.decode_output(x_seq, steps, params.tau)
    decoded, _, _ = functional.spikepack_windows(potential, None, theta, params)
    packed = decoded @ consumer.T + bias
    packed_grads = torch.autograd.grad((packed * target).sin().sum(), (x_seq, theta))
    for ours, theirs in zip(serial_grads, packed_grads, strict=True):
        assert torch.allclose(ours, theirs, rtol=0, atol=1e3 * torch.finfo(torch.float64).eps * steps)


def test_charge_gradient_by_hand() -> None:
    # T = 2, tau = 2: U = (2 x_1 + x_2) / 3.
    x = torch.tensor([[1.0], [4.0]], dtype=torch.float64, requires_grad=True)
    value = ops.charge_windows(x.unflatten(0, (1, 2)), NeuronParameters(2))
    assert value.item() == 2.0
    value.sum().backward()
    assert x.grad.flatten().tolist() == pytest.approx([2 / 3, 1 / 3])


def test_nothing_backpropagates_through_the_digits() -> None:
    # Memory and graph do not grow with T: one node fires the window, one charges it.
    def depth(params: NeuronParameters) -> int:
        x = torch.randn(params.time_steps, 4, requires_grad=True)
        spikes, _, _ = functional.spikepack_multi_step(x, None, torch.tensor(1.0), params)
        count, node = 0, spikes.grad_fn
        while node is not None:
            count, node = count + 1, node.next_functions[0][0] if node.next_functions else None
        return count

    assert depth(NeuronParameters(1)) == depth(NeuronParameters(16))


def test_single_step_refuses_a_backward_pass() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    state = functional.SpikePackState()
    for _ in range(2):
        spike, state = functional.spikepack_step(x, state, torch.tensor(1.0), NeuronParameters(1))
    with pytest.raises(UnsupportedError, match="single-step serial form has no gradient"):
        spike.sum().backward()
