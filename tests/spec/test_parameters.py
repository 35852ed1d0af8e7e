"""Parameters of a neuron: ranges, coercion, derived weights and the text of each refusal."""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from spikejelly_pack.spec.errors import ParameterError, SpikePackError
from spikejelly_pack.spec.parameters import NeuronParameters, check_time_steps


@pytest.mark.parametrize("value", [1, 16, np.int64(4), 8.0])
def test_time_steps_are_coerced(value: Any) -> None:
    steps = NeuronParameters(value).time_steps
    assert steps == value
    assert type(steps) is int


def test_constants_are_coerced() -> None:
    given: dict[str, Any] = {"tau": 2, "leak": np.float32(0.5), "signed": np.bool_(True)}
    params = NeuronParameters(4, **given)
    assert (params.tau, params.leak, params.signed) == (2.0, 0.5, True)
    assert [type(value) for value in (params.tau, params.leak, params.signed)] == [float, float, bool]
    assert NeuronParameters(4, leak=1).leak == 1.0  # the largest there is


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_steps": 0}, "time_steps must be an integer in 1..16, got 0;"),
        ({"time_steps": 17}, "time_steps must be an integer in 1..16, got 17;"),
        ({"time_steps": 2.5}, "time_steps must be an integer in 1..16, got 2.5;"),
        ({"time_steps": True}, "time_steps must be an integer in 1..16, got True;"),
        ({"time_steps": "4"}, "time_steps must be an integer in 1..16, got '4';"),
        ({"tau": 1.0}, r"tau must be in \(1, 2\], got 1.0;"),
        ({"tau": 2.0001}, r"tau must be in \(1, 2\], got 2.0001;"),
        ({"tau": math.nan}, r"tau must be in \(1, 2\], got nan;"),
        ({"tau": "two"}, r"tau must be in \(1, 2\], got 'two';"),
        ({"leak": -0.1}, r"leak must be in \[0, 1\], got -0.1;"),
        ({"leak": 1.5}, r"leak must be in \[0, 1\], got 1.5;"),
        ({"leak": None}, r"leak must be in \[0, 1\], got None;"),
        ({"tau": 10**400}, r"tau must be in \(1, 2\], got 1000"),
        ({"carry": "both"}, "carry must be 'residual' or 'membrane', got 'both';"),
        ({"rounding": "up"}, "rounding must be 'round_half_up' or 'floor', got 'up';"),
    ],
)
def test_a_wrong_parameter_names_itself(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=f"^SpikePackNode: {message}") as caught:
        NeuronParameters(**arguments)
    assert isinstance(caught.value, SpikePackError)
    assert isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("steps", range(1, 17))
def test_binary_weights_are_exact(steps: int) -> None:
    params = NeuronParameters(steps)
    assert params.weights == tuple(2.0**k for k in reversed(range(steps)))
    assert params.weight_sum == 2**steps - 1 == params.max_code


def test_parameters_compare_by_what_was_given() -> None:
    assert NeuronParameters(4, tau=2) == NeuronParameters(4.0, tau=2.0)  # type: ignore[arg-type]
    assert hash(NeuronParameters(4)) == hash(NeuronParameters(4))
    assert "weights" not in repr(NeuronParameters(4))
    assert (NeuronParameters(4).half, NeuronParameters(4, rounding="floor").half) == (0.5, 0.0)


def test_the_fields_build_the_same_object() -> None:
    """torch.compile does so where a neuron meets an autograd function."""
    given = NeuronParameters(3, tau=1.5, signed=True, window=5)
    again = NeuronParameters(*(getattr(given, field.name) for field in fields(given)))
    assert vars(again) == vars(given)


def test_the_owner_is_named() -> None:
    with pytest.raises(ParameterError, match=r"^decode: time_steps must"):
        check_time_steps(0, "decode")
    with pytest.raises(ParameterError, match=r"^SpikePackNode: time_steps must"):
        check_time_steps(0)
