"""Functions of decoded values in all forms: products, activations, readout, delay."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import base, functional

from spikejelly_pack import (
    DecodeOutput,
    SpikeDelay,
    SpikePackMatmul,
    SpikePackProduct,
    SpikePackWindow,
    decode_output,
)
from spikejelly_pack.layer import FormModule
from spikejelly_pack.spec.errors import ParameterError, ShapeError, SpikePackError

CASES: dict[str, tuple[Callable[..., FormModule], list[tuple[int, ...]], Callable[..., torch.Tensor]]] = {
    "matmul": (SpikePackMatmul, [(2, 3, 4), (2, 4, 5)], torch.matmul),
    "product": (SpikePackProduct, [(2, 3, 4), (2, 1, 4)], torch.mul),
    "window": (lambda **k: SpikePackWindow(torch.nn.GELU(), **k), [(2, 3)], torch.nn.functional.gelu),
}


@pytest.mark.parametrize("name", CASES)
@given(st.integers(1, 8), st.sampled_from([2.0, 1.6]), st.integers(0, 2**31))
def test_all_forms_apply_the_function_to_decoded_values(
    name: str, time_steps: int, tau: float, seed: int
) -> None:
    build, shapes, function = CASES[name]
    generator = torch.Generator().manual_seed(seed)
    trains = [torch.randint(0, 2, (2 * time_steps, *s), generator=generator).double() for s in shapes]
    values = [decode_output(train, time_steps, tau) for train in trains]
    expected = function(*values)
    module = build(time_steps=time_steps, tau=tau, form="packed", step_mode="m")
    assert torch.equal(module(*values), expected)
    module.form = "serial"
    # Charging a constant train: T Horner steps and a division.
    close = {"rtol": 4 * time_steps * 2.0**-53, "atol": 0.0}
    torch.testing.assert_close(decode_output(module(*trains), time_steps, tau), expected, **close)
    module.step_mode = "s"
    padded = [torch.cat([train, torch.zeros_like(train[:time_steps])]) for train in trains]
    steps = torch.stack([module(*step) for step in zip(*padded, strict=True)])
    assert not steps[:time_steps].any()  # one window of latency
    torch.testing.assert_close(decode_output(steps[time_steps:], time_steps, tau), expected, **close)
    module.form = "packed"
    assert torch.equal(module(*(value[0] for value in values)), function(*(value[0] for value in values)))


def test_step_by_step_product_is_another_function() -> None:
    """0b10 times 0b01: 2/9 of the decoded values, 0 digit by digit."""
    a, b = torch.tensor([1.0, 0.0]).view(2, 1), torch.tensor([0.0, 1.0]).view(2, 1)
    assert float(decode_output(a * b, 2)) == 0.0
    exact = decode_output(SpikePackProduct(time_steps=2, step_mode="m")(a, b), 2)
    assert float(exact) == pytest.approx(2 / 9, rel=1e-6)


def test_gradient_passes_as_in_packed_form() -> None:
    generator = torch.Generator().manual_seed(1)
    a, b = (
        torch.rand(1, 3, 3, dtype=torch.float64, generator=generator, requires_grad=True) for _ in range(2)
    )
    module = SpikePackMatmul(time_steps=4, form="packed", step_mode="m")
    module(a, b).square().sum().backward()
    packed, a.grad = a.grad, None
    module.form = "serial"
    decode_output(module(a.repeat_interleave(4, 0), b.repeat_interleave(4, 0)), 4).square().sum().backward()
    torch.testing.assert_close(a.grad, packed, rtol=1e-13, atol=0.0)


def test_weighted_readout_is_not_the_mean() -> None:
    train = torch.tensor([1.0, 0.0, 0.0, 0.0]).view(4, 1, 1)
    readout = DecodeOutput(time_steps=4, step_mode="m")
    assert float(readout(train)) == pytest.approx(8 / 15)
    assert float(train.mean(0)) == 0.25
    windows = torch.rand(3 * 4, 2, 5, dtype=torch.float64)
    torch.testing.assert_close(readout(windows), decode_output(windows, 4).mean(0))
    readout.form = "packed"
    assert torch.equal(readout(windows), windows.mean(0))
    readout.step_mode = "s"
    assert torch.equal(readout(windows[0]), windows[0])


def test_delay_acts_in_single_step_form_only() -> None:
    delay = SpikeDelay(2, time_steps=3)
    steps = torch.arange(12.0).view(12, 1)
    late = torch.stack([delay(step) for step in steps])
    assert torch.equal(late, torch.cat([torch.zeros(6, 1), steps[:6]]))
    assert delay.delay_steps == 6
    functional.reset_net(delay)
    assert torch.equal(delay(steps[3]), torch.zeros(1))  # reset empties the queue
    functional.reset_net(delay)
    for form, mode in (("packed", "s"), ("packed", "m"), ("serial", "m")):
        delay.form, delay.step_mode = form, mode
        assert torch.equal(delay(steps), steps)


def test_explicit_state_and_copies() -> None:
    """SpikingJelly's functional export and deepcopy carry the state along."""
    module = SpikePackProduct(time_steps=2)
    function, *_ = [base.to_functional_forward(module)]
    a, b = torch.tensor([[1.0]]), torch.tensor([[1.0]])
    states: Any = base.extract_memories(module)
    outputs = []
    for _ in range(4):
        (output,), states = function((a, b), states)
        outputs.append(float(output))
    assert outputs == [0.0, 0.0, 1.0, 1.0]
    module(a, b)
    twin = copy.deepcopy(module)
    assert twin.phase == 1
    assert torch.equal(
        torch.stack([module(a, b) for _ in range(3)]), torch.stack([twin(a, b) for _ in range(3)])
    )
    functional.detach_net(module)


@pytest.mark.parametrize(
    ("call", "error", "text"),
    [
        (lambda: SpikeDelay(-1), ParameterError, "windows must be an integer >= 0, got -1"),
        (lambda: SpikeDelay(True), ParameterError, "windows must be an integer >= 0, got True"),
        (lambda: SpikePackMatmul(tau=2.5), ParameterError, "tau must be in"),
        (
            lambda: SpikePackMatmul(time_steps=4, step_mode="m")(torch.zeros(3, 2, 2), torch.zeros(3, 2, 2)),
            ShapeError,
            "multiple of time_steps = 4, got 3",
        ),
    ],
)
def test_bad_input(call: Callable[[], object], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        call()


def test_changes_within_a_window() -> None:
    module = SpikePackProduct(time_steps=2)
    module(torch.zeros(1, 2), torch.zeros(1, 2))
    with pytest.raises(ShapeError, match="must not change within a window"):
        module(torch.zeros(1, 3), torch.zeros(1, 3))
    with pytest.raises(SpikePackError, match="after 1 of 2"):
        module.form = "packed"
