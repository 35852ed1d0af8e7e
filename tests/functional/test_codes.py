"""Integer codes in torch: inverse of each other, equal to the numpy ones, refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from spikejelly_pack import functional, ops
from spikejelly_pack.functional import NeuronParameters
from spikejelly_pack.spec import bits
from spikejelly_pack.spec.errors import DtypeError, ShapeError


@pytest.mark.parametrize("steps", range(1, 9))
def test_pack_unpack_decode_are_inverse_on_every_code(steps: int, tolerance: Callable[[object], Any]) -> None:
    digits = torch.tensor(list(itertools.product((0, 1), repeat=steps))).T
    codes = functional.pack(digits.float())
    assert codes.dtype == torch.uint8
    assert codes.tolist() == list(range(2**steps))
    assert torch.equal(functional.unpack(codes, steps), digits.to(torch.int8))
    values = functional.decode(codes, steps, dtype=torch.float64)
    assert values.tolist() == pytest.approx(
        [code / (2**steps - 1) for code in range(2**steps)], abs=tolerance("float64").between(1)
    )
    params = NeuronParameters(steps)
    assert torch.equal(functional.spikepack_code(values, 1.0, params), codes)
    signed = NeuronParameters(steps, signed=True)
    back = functional.spikepack_code(-values, 1.0, signed)
    assert back.dtype == functional.codes.code_dtype(steps, signed=True)
    assert back.tolist() == [-code for code in range(2**steps)]
    assert torch.equal(functional.pack(functional.unpack(back, steps), signed=True), back)


@pytest.mark.parametrize("steps", [9, 15, 16])
def test_wide_codes(steps: int) -> None:
    codes = torch.tensor([0, 1, 2**steps - 2, 2**steps - 1, 2 ** (steps - 1)]).to(torch.uint16)
    digits = functional.unpack(codes, steps)
    assert np.array_equal(digits.numpy(), bits.unpack(codes.to(torch.int64).numpy(), steps))
    packed = functional.pack(digits)
    assert packed.dtype == torch.uint16
    assert packed.tolist() == codes.tolist()
    values = functional.decode(codes, steps)
    assert functional.spikepack_code(values, 1.0, NeuronParameters(steps)).tolist() == codes.tolist()


def test_decode_weighs_greedy_digits_by_tau() -> None:
    # tau = 1.5, T = 3: q = 2.25, 1.5, 1; Q = 4.75. Code 5 has the digits 1, 0, 1.
    value = functional.decode(torch.tensor([5]), 3, tau=1.5, dtype=torch.float64)
    assert value.item() == 3.25 / 4.75


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"1..16 time steps on the first axis, got shape \(\)"):
        functional.pack(torch.tensor(1))
    with pytest.raises(DtypeError, match="digits must be 0 or 1"):
        functional.pack(torch.tensor([[0.5]]))
    with pytest.raises(DtypeError, match="digits must be 0 or 1"):
        functional.pack(torch.tensor([[-1]]))
    with pytest.raises(DtypeError, match=r"unpack: codes must be integers, got torch\.float32"):
        functional.unpack(torch.tensor([1.0]), 4)
    with pytest.raises(DtypeError, match="must fit 4 digits, got 16"):
        functional.unpack(torch.tensor([16]), 4)
    with pytest.raises(DtypeError, match=f"must fit 16 digits, got {2**63};"):  # no magnitude in int64
        functional.unpack(torch.tensor([-(2**63)]), 16)
    with pytest.raises(DtypeError, match="must fit 2 digits, got 4"):
        functional.decode(torch.tensor([4]), 2)
    with pytest.raises(DtypeError, match=r"start must be floating point, got torch\.int64"):
        functional.spikepack_code(torch.tensor([1]), 1.0, NeuronParameters(4))
    with pytest.raises(DtypeError, match="must not hold NaN"):
        functional.spikepack_code(torch.tensor([float("nan")]), 1.0, NeuronParameters(4))
    with pytest.raises(ShapeError, match="multiple of time_steps = 4, got 6"):
        functional.decode_output(torch.zeros(6, 2), 4)
    with pytest.raises(DtypeError, match="decode_output: the sequence must be a torch tensor, got ndarray"):
        functional.decode_output(torch.zeros(4, 2).numpy(), 4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("steps", range(1, 17))
def test_every_code_in_every_longer_window(steps: int, dtype: torch.dtype) -> None:
    """The value over the window is one division of the integer code, bit for bit."""
    codes = torch.arange(-(2**steps) + 1, 2**steps).to(dtype)
    for window in range(steps, 17):
        params = NeuronParameters(steps, window=window, signed=True)
        value = ops.window_value(codes / codes.new_full((), 2**steps - 1), params)
        assert torch.equal(value, codes / codes.new_full((), 2**window - 1))


def test_readout_is_the_weighted_mean() -> None:
    steps = torch.tensor([[1.0], [0.0], [0.0], [0.0], [1.0], [1.0]])
    assert functional.decode_output(steps, 3)[:, 0].tolist() == (torch.tensor([4.0, 3.0]) / 7.0).tolist()
    assert functional.decode_output(steps.bfloat16(), 3).dtype == torch.bfloat16
