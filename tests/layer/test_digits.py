"""The digit-level view for counters, and codes stored without loss."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import functional, layer, memopt, op_counter

from spikejelly_pack import CodeCompressor, SpikePackNode, adapt, decode_output, digit_view, set_form
from spikejelly_pack.functional import decode
from spikejelly_pack.layer import binary_required
from spikejelly_pack.spec.errors import DtypeError


@pytest.mark.parametrize("time_steps", range(1, 17))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_digits_of_every_code(time_steps: int, dtype: torch.dtype) -> None:
    codes = torch.arange(2**time_steps, dtype=torch.int32)
    expected = torch.tensor([[int(bit) for bit in f"{code:0{time_steps}b}"] for code in codes.tolist()]).T
    digits = digit_view(decode(codes, time_steps, dtype=dtype), time_steps)
    assert digits.dtype == dtype
    assert torch.equal(digits.long(), expected)
    assert torch.equal(digit_view(codes, time_steps).long(), expected)
    assert torch.equal(digit_view(-decode(codes, time_steps, dtype=dtype), time_steps).long(), -expected)
    binary_required(digits)


@given(
    st.integers(1, 16), st.booleans(), st.sampled_from([torch.float32, torch.float64]), st.integers(0, 2**31)
)
def test_compressor_restores_every_bit(time_steps: int, signed: bool, dtype: torch.dtype, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    node = SpikePackNode(time_steps=time_steps, signed=signed, form="packed", step_mode="m")
    values = node(torch.randn(1, 3, 5, dtype=dtype, generator=generator))
    compressor = CodeCompressor(time_steps, signed=signed)
    packed = compressor.compress(values)
    assert packed[0].element_size() <= (
        1 if time_steps + signed <= 8 else 2 if time_steps + signed <= 16 else 4
    )  # type: ignore[index]
    restored = compressor.decompress(packed)
    assert restored.dtype == dtype
    assert torch.equal(restored, values)


def test_compressor_refuses_what_it_would_corrupt() -> None:
    compressor = CodeCompressor(4)
    for values in (
        torch.tensor([0.3]),
        torch.tensor([16 / 15]),
        torch.tensor([-1 / 15]),
        torch.tensor([float("nan")]),
    ):
        with pytest.raises(DtypeError, match="CodeCompressor"):
            compressor.compress(values)
    with pytest.raises(DtypeError, match=r"codes must be in 0..15, got 16..16"):
        compressor.compress(torch.tensor([16]))
    assert (
        memopt.BitSpikeCompressor().decompress(memopt.BitSpikeCompressor().compress(torch.tensor([2.0]))) == 0
    )
    with pytest.raises(DtypeError, match=r"values must be binary spikes.*CodeCompressor"):
        binary_required(torch.tensor([2.0]))


def test_compressor_in_a_checkpointed_module() -> None:
    """Same output and gradient as without checkpointing."""
    torch.manual_seed(0)
    encoder = SpikePackNode(time_steps=4, form="packed", step_mode="m")
    block = torch.nn.Sequential(
        layer.Linear(6, 6, step_mode="m"), SpikePackNode(4, form="packed", step_mode="m")
    )
    x = torch.rand(1, 3, 6)
    block(encoder(x)).square().sum().backward()
    plain = block[0].weight.grad.clone()
    block[0].weight.grad = None
    checkpointed = memopt.checkpoint_module(block, compressor=CodeCompressor(4))
    output = checkpointed(encoder(x.requires_grad_()))
    output.square().sum().backward()
    assert torch.equal(block[0].weight.grad, plain)


def test_counters_see_the_serial_form_and_the_digit_view() -> None:
    """Accumulations of the serial form are those of the digits; packed values count as dense."""
    torch.manual_seed(0)
    net = torch.nn.Sequential(layer.Linear(8, 8), SpikePackNode(time_steps=4), layer.Linear(8, 5, bias=False))
    functional.set_step_mode(net, "m")
    adapt(net)
    x = torch.rand(1, 3, 8) * 3

    def count(module: torch.nn.Module, value: torch.Tensor) -> tuple[int, int]:
        accumulate, multiply = op_counter.ACCounter(), op_counter.MACCounter()
        with op_counter.DispatchCounterMode([accumulate, multiply]), torch.no_grad():
            module(value)
        return accumulate.get_total(), multiply.get_total()

    with torch.no_grad():
        spikes = net[:2](x.repeat(4, 1, 1))
        values = set_form(net, "packed")[:2](x)
    assert torch.equal(decode_output(spikes, 4), values)
    expected = int(spikes.sum()) * 5
    assert expected > 0
    assert count(net[2], spikes) == (expected, 0)
    assert count(net[2], digit_view(values, 4).flatten(0, 1)) == (expected, 0)
    assert count(net[2], values)[1] == values.numel() * 5
