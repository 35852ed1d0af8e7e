"""The float bounds hold for sums in other orders and are not so wide that they hide a wrong term."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

FLOATS = [np.float16, np.float32, np.float64]


@pytest.mark.parametrize("dtype", FLOATS)
def test_unit_roundoff_is_numpy_s(dtype: type, tolerance: Callable[[object], Any]) -> None:
    assert tolerance(dtype).unit_roundoff == np.finfo(dtype).eps / 2
    assert tolerance(np.dtype(dtype)) == tolerance(dtype)


@given(seed=st.integers(0, 2**32 - 1), terms=st.integers(2, 300))
def test_two_orders_of_a_sum(seed: int, terms: int, tolerance: Callable[[object], Any]) -> None:
    x = np.random.default_rng(seed).standard_normal(terms).astype(np.float32)
    forward = np.add.accumulate(x)[-1]
    backward = np.add.accumulate(x[::-1])[-1]
    bound = tolerance(np.float32).between(terms - 1, float(np.abs(x).sum(dtype=np.float64)))
    assert abs(float(forward) - float(backward)) <= bound
    assert bound < float(np.abs(x).mean(dtype=np.float64)), "a lost term of average size would pass"


def test_unknown_type_is_refused(tolerance: Callable[[object], Any]) -> None:
    with pytest.raises(KeyError, match="no float tolerance for 'int8'"):
        tolerance("int8")


def test_no_bound_is_no_number(tolerance: Callable[[object], Any]) -> None:
    with pytest.raises(ValueError, match="bfloat16: 256 operations leave no correct digit"):
        tolerance("torch.bfloat16").gamma(256)
