"""Registers of finite width against the machine's own two's complement and plain limits."""

from __future__ import annotations

import numpy as np
import pytest

from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.spec.registers import held, register_range

VALUES = np.concatenate([np.arange(-70_000, 70_000, 7), [2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**40]])


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32])
def test_wrapping_is_what_a_cast_does(dtype: type[np.signedinteger]) -> None:
    bits = np.iinfo(dtype).bits
    assert np.array_equal(held(VALUES, bits, "wrap"), VALUES.astype(dtype).astype(np.int64))
    assert register_range(bits) == (np.iinfo(dtype).min, np.iinfo(dtype).max)


@pytest.mark.parametrize("bits", [2, 3, 11, 24, 48])
def test_plain_integers_bit_by_bit(bits: int) -> None:
    """The low bits with the top one counting negative; saturation by comparison."""
    for value in (0, 1, -1, 5, -9, 2**10, -(2**10), 2**23, -(2**23) - 1, 2**47, -(2**60)):
        low = sum(1 << n for n in range(bits - 1) if value >> n & 1)
        wrapped = low - ((value >> (bits - 1) & 1) << (bits - 1))
        top = 2 ** (bits - 1) - 1
        nearest = top if value > top else -top - 1 if value < -top - 1 else value
        for kind, expected in (("wrap", wrapped), ("saturate", nearest)):
            assert held(value, bits, kind) == expected
            assert held(np.array([value]), bits, kind).tolist() == [expected]


def test_an_unknown_behaviour_is_refused() -> None:
    with pytest.raises(ParameterError, match="overflow must be 'wrap' or 'saturate', got 'clip'"):
        held(1, 8, "clip")
