"""Codes and digits: inverse of each other, exhaustively; refusals."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from spikejelly_pack.spec import bits
from spikejelly_pack.spec.errors import DtypeError, ParameterError, ShapeError


@pytest.mark.parametrize("steps", range(1, 9))
@pytest.mark.parametrize("signed", [False, True])
def test_pack_and_unpack_are_inverse(steps: int, signed: bool) -> None:
    words = list(itertools.product((0, 1), repeat=steps))
    digits = np.array(words, np.int8).T
    codes = bits.pack(digits)
    assert codes.tolist() == list(range(2**steps))
    assert np.array_equal(bits.unpack(codes, steps), digits)
    if signed:
        assert bits.pack(-digits, signed=True).tolist() == [-code for code in range(2**steps)]
        negative = bits.unpack(-codes.astype(np.int64), steps)
        assert np.array_equal(negative, -digits)


def test_sixteen_digits_are_packed() -> None:
    digits = np.ones((16, 1), np.int8)
    assert bits.pack(digits).tolist() == [65535]
    assert bits.pack(-digits, signed=True).tolist() == [-65535]


@pytest.mark.parametrize(
    ("steps", "signed", "name"),
    [
        (1, False, "uint8"),
        (8, False, "uint8"),
        (9, False, "uint16"),
        (16, False, "uint16"),
        (7, True, "int8"),
        (8, True, "int16"),
        (15, True, "int16"),
        (16, True, "int32"),
    ],
)
def test_code_dtype_is_the_smallest_that_holds_every_code(steps: int, signed: bool, name: str) -> None:
    dtype = bits.code_dtype(steps, signed)
    assert dtype == name
    assert np.iinfo(dtype).max >= 2**steps - 1


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"1..16 time steps on the first axis, got shape \(17, 2\)"):
        bits.pack(np.zeros((17, 2)))
    with pytest.raises(DtypeError, match="digits must be 0 or 1, got other values"):
        bits.pack([[2]])
    with pytest.raises(DtypeError, match="digits must be 0 or 1"):
        bits.pack([[-1]])
    with pytest.raises(DtypeError, match="got dtype float64"):
        bits.unpack([1.0], 4)
    with pytest.raises(DtypeError, match="must fit 4 digits, got magnitude 16"):
        bits.unpack([16], 4)
    for extreme in (np.array([-(2**63)]), np.array([2**63, 2**64 - 1], np.uint64)):  # no magnitude in int64
        with pytest.raises(DtypeError, match=f"must fit 4 digits, got magnitude {abs(int(extreme[-1]))};"):
            bits.unpack(extreme, 4)
    with pytest.raises(ParameterError, match="unpack: time_steps"):
        bits.unpack([1], 0)
