"""The exact maximum of codes, against a numpy loop over integers."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer

from spikejelly_pack import SpikePackMaxPool2d, SpikePackNode, SpikePackValueMaxPool2d, decode_output
from spikejelly_pack.functional import decode, spikepack_code, unpack
from spikejelly_pack.spec.errors import (
    DtypeError,
    ParameterError,
    ShapeError,
    SpikePackError,
    UnsupportedError,
)
from spikejelly_pack.spec.parameters import NeuronParameters


def oracle(codes: np.ndarray, kernel: int, stride: int, padding: int, dilation: int) -> np.ndarray:
    """Return the maximum over every window, padding left out, one window at a time."""
    height, width = codes.shape[-2:]
    span = dilation * (kernel - 1)
    rows = range(-padding, height + padding - span, stride)
    columns = range(-padding, width + padding - span, stride)
    pooled = np.empty((*codes.shape[:-2], len(rows), len(columns)), codes.dtype)
    for (i, top), (j, left) in itertools.product(enumerate(rows), enumerate(columns)):
        ys = [y for y in range(top, top + span + 1, dilation) if 0 <= y < height]
        xs = [x for x in range(left, left + span + 1, dilation) if 0 <= x < width]
        pooled[..., i, j] = codes[..., ys, :][..., xs].max((-2, -1))
    return pooled


def digits_of(codes: torch.Tensor, time_steps: int) -> torch.Tensor:
    """Return ``[W, N, C, H, W']`` codes as the serial sequence ``[T * W, ..]``."""
    return unpack(codes, time_steps).transpose(0, 1).flatten(0, 1).double()


@st.composite
def cases(draw: st.DrawFn) -> tuple[torch.Tensor, int, dict[str, int]]:
    """Draw signed or unsigned codes of two windows, T, and a geometry."""
    time_steps = draw(st.integers(1, 16))
    signed = draw(st.booleans())
    kernel = draw(st.integers(1, 3))
    geometry = {
        "kernel_size": kernel,
        "stride": draw(st.integers(1, 3)),
        "padding": draw(st.integers(0, kernel // 2)),
        "dilation": draw(st.integers(1, 2)),
    }
    generator = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))
    top = draw(st.integers(0, 2**time_steps - 1))  # small ranges make ties
    codes = torch.randint(-top if signed else 0, top + 1, (2, 1, 2, 5, 6), generator=generator)
    if draw(st.booleans()) and signed:
        codes = -codes.abs()  # all negative: a padding of 0 would win
    return codes, time_steps, geometry


@given(cases())
def test_packed_serial_and_single_step_give_the_maximum(case: Any) -> None:
    codes, time_steps, geometry = case
    expected = torch.from_numpy(
        oracle(codes.numpy(), *(geometry[k] for k in ("kernel_size", "stride", "padding", "dilation")))
    )
    pool = SpikePackMaxPool2d(**geometry, time_steps=time_steps, form="packed", step_mode="m")
    assert torch.equal(pool(codes.double()).long(), expected)
    values = decode(codes, time_steps, dtype=torch.float64)
    assert torch.equal(pool(values), decode(expected, time_steps, dtype=torch.float64))
    pool.form = "serial"
    digits = digits_of(expected, time_steps)
    assert torch.equal(pool(digits_of(codes, time_steps)), digits)
    pool.step_mode = "s"
    assert torch.equal(torch.stack([pool(step) for step in digits_of(codes, time_steps)]), digits)


@given(st.integers(1, 10), st.floats(1.05, 1.95), st.booleans(), st.integers(0, 2**31))
def test_greedy_digits_of_tau_below_two(time_steps: int, tau: float, signed: bool, seed: int) -> None:
    """The order of greedy digit sequences is the order of their values."""
    code = NeuronParameters(time_steps, tau, signed=signed)
    generator = torch.Generator().manual_seed(seed)
    potential = torch.rand(1, 1, 2, 6, 6, dtype=torch.float64, generator=generator) * 2 - float(signed)
    words = spikepack_code(potential, 1.0, code)
    sequence = digits_of(words, time_steps)
    pool = SpikePackMaxPool2d(2, time_steps=time_steps, tau=tau, step_mode="m")
    pooled = pool(sequence)
    packed = SpikePackMaxPool2d(2, time_steps=time_steps, tau=tau, form="packed", step_mode="m")
    assert torch.equal(
        decode_output(pooled, time_steps, tau), packed(decode_output(sequence, time_steps, tau))
    )
    pool.step_mode = "s"
    assert torch.equal(torch.stack([pool(step) for step in sequence]), pooled)


def test_plain_pooling_of_spikes_is_another_function() -> None:
    """0b10 and 0b01 make 0b11 digit by digit: the reason for this layer."""
    codes = torch.tensor([[2, 1], [1, 0]]).reshape(1, 1, 1, 2, 2)
    sequence = digits_of(codes, 2)
    plain = layer.MaxPool2d(2, step_mode="m")(sequence)
    exact = SpikePackMaxPool2d(2, time_steps=2, step_mode="m")(sequence)
    assert decode_output(plain, 2).item() * 3 == 3
    assert decode_output(exact, 2).item() * 3 == 2


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [(3, 2, 1), (1, 2, 0), (2, 3, 1), (2, 2, 0), (1, 3, 0)]
)
@given(st.integers(1, 6), st.integers(0, 2**31))
def test_ceil_mode_has_torch_shapes(
    kernel: int, stride: int, padding: int, time_steps: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    sizes = torch.randint(3, 9, (2,), generator=generator).tolist()
    codes = torch.randint(0, 2**time_steps, (1, 1, 1, *sizes), generator=generator)
    plain = torch.nn.MaxPool2d(kernel, stride, padding, ceil_mode=True)
    expected = plain(codes[0].double()).unsqueeze(0).long()
    pool = SpikePackMaxPool2d(kernel, stride, padding, ceil_mode=True, time_steps=time_steps)
    steps = torch.stack([pool(step) for step in digits_of(codes, time_steps)])
    assert torch.equal(steps, digits_of(expected, time_steps))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_dtype_and_integer_codes(dtype: torch.dtype) -> None:
    codes = torch.arange(256).reshape(1, 1, 1, 16, 16)
    pool = SpikePackMaxPool2d(2, time_steps=8, step_mode="m")
    pooled = pool(digits_of(codes, 8).to(dtype))
    assert pooled.dtype == dtype
    assert torch.equal(decode_output(pooled.double(), 8) * 255, codes[..., 1::2, 1::2].double())
    pool.form = "packed"
    assert torch.equal(pool(codes.to(torch.uint8)), codes[..., 1::2, 1::2].to(torch.uint8))


@pytest.mark.parametrize("signed", [False, True])
def test_gradient_of_both_forms_is_the_same(signed: bool) -> None:
    """Conv -> node -> pool -> linear readout: the digits' gradients reach the winner as its value's do."""
    torch.manual_seed(0)
    conv = torch.nn.Conv2d(1, 2, 3, padding=1).double()
    node = SpikePackNode(time_steps=3, signed=signed, step_mode="m", form="packed")
    pool = SpikePackMaxPool2d(2, time_steps=3, step_mode="m", form="packed")
    x = torch.randn(1, 1, 1, 6, 6, dtype=torch.float64)
    weight = torch.randn(1, 1, 2, 3, 3, dtype=torch.float64)
    (pool(node(conv(x[0]).unsqueeze(0))) * weight).sum().backward()
    assert conv.weight.grad is not None
    packed, conv.weight.grad = conv.weight.grad.clone(), None
    assert float(packed.abs().max()) > 0
    node.form = pool.form = "serial"
    current = conv(x[0]).unsqueeze(0).repeat_interleave(3, 0)
    (decode_output(pool(node(current)), 3) * weight).sum().backward()
    torch.testing.assert_close(conv.weight.grad, packed, rtol=1e-12, atol=1e-12)


def test_value_pool_takes_sums_and_currents() -> None:
    generator = torch.Generator().manual_seed(3)
    current = torch.randn(2 * 4, 1, 2, 6, 6, dtype=torch.float64, generator=generator)
    pool = SpikePackValueMaxPool2d(3, 2, 1, time_steps=4, step_mode="m")
    expected = torch.nn.functional.max_pool2d(decode_output(current, 4).flatten(0, 1), 3, 2, 1).unflatten(
        0, (2, 1)
    )
    torch.testing.assert_close(decode_output(pool(current), 4), expected, rtol=1e-14, atol=1e-14)
    pool.step_mode = "s"
    late = torch.stack([pool(step) for step in torch.cat([current, current[:4]])])
    assert torch.equal(late[:4], torch.zeros_like(late[:4]))
    torch.testing.assert_close(decode_output(late[4:], 4), expected, rtol=1e-14, atol=1e-14)


def test_nan_wins_in_every_form() -> None:
    """A node hands NaN on in all its digits; the pool does as torch's maximum does."""
    values = torch.tensor([[1.0, 0.0, 0.2], [float("nan"), 0.4, 0.6], [0.8, 0.2, 0.0]]).view(1, 1, 1, 3, 3)
    node = SpikePackNode(time_steps=3, form="packed", step_mode="m")
    pool = SpikePackMaxPool2d(2, 1, time_steps=3, form="packed", step_mode="m")
    expected = pool(node(values))
    assert expected.isnan().sum() == 2
    node.form = pool.form = "serial"
    spikes = node(values.repeat_interleave(3, 0))
    pooled = pool(spikes)
    torch.testing.assert_close(decode_output(pooled, 3), expected, equal_nan=True)
    pool.step_mode = "s"
    steps = torch.stack([pool(step) for step in spikes])
    torch.testing.assert_close(steps, pooled, equal_nan=True)


def test_refuses_what_is_not_a_code() -> None:
    pool = SpikePackMaxPool2d(2, time_steps=2, step_mode="m")
    with pytest.raises(DtypeError, match=r"serial input must be node outputs .* use SpikePackValueMaxPool2d"):
        pool(torch.full((2, 1, 1, 2, 2), 2.0))
    with pytest.raises(ShapeError, match=r"multiple of time_steps = 2, got 3"):
        pool(torch.zeros(3, 1, 1, 2, 2))
    with pytest.raises(ParameterError, match="padding must be at most half of kernel_size"):
        SpikePackMaxPool2d(2, padding=2)
    with pytest.raises(ParameterError, match="form must be 'packed' or 'serial', got 'parallel'"):
        SpikePackMaxPool2d(2, form="parallel")
    with pytest.raises(ParameterError, match=r"time_steps must be an integer in 1\.\.16, got 17"):
        SpikePackMaxPool2d(2, time_steps=17)


def test_refuses_changes_within_a_window() -> None:
    pool = SpikePackMaxPool2d(2, time_steps=2)
    pool(torch.zeros(1, 1, 4, 4))
    with pytest.raises(ShapeError, match="must not change within a window"):
        pool(torch.zeros(1, 1, 6, 6))
    with pytest.raises(
        SpikePackError, match=r"form must change between windows, got form='packed' after 1 of 2"
    ):
        pool.form = "packed"
    pool.step_mode = "m"
    with pytest.raises(UnsupportedError, match="a multi-step call after 1 of 2 single steps"):
        pool(torch.zeros(2, 1, 1, 4, 4))
    functional.reset_net(pool)
    pool.form = "packed"
    assert pool.form == "packed"
