"""Every wrong parameter names itself, the value and the range; every wrong input says the remedy."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest
import torch

from spikejelly_pack import SpikePackNode
from spikejelly_pack.spec.errors import (
    DtypeError,
    EnvironmentMissingError,
    ParameterError,
    ShapeError,
    SpikePackError,
)

NAN = float("nan")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"time_steps": 24}, "time_steps must be an integer in 1..16, got 24;"),
        ({"tau": 2.5}, r"tau must be in \(1, 2\], got 2.5;"),
        ({"v_threshold": 0}, "v_threshold must be positive and finite, got 0;"),
        ({"v_threshold": -1.0}, "v_threshold must be positive and finite, got -1.0;"),
        ({"v_threshold": NAN}, "v_threshold must be positive and finite, got nan;"),
        ({"v_threshold": "1"}, None),
        ({"v_threshold": "high"}, "v_threshold must be positive and finite, got 'high';"),
        ({"v_threshold": [1.0, 0.0]}, r"v_threshold must be positive and finite, got \[1.0, 0.0\];"),
        ({"v_threshold": []}, r"v_threshold must be a number or \[C\], got shape \(0,\);"),
        ({"v_threshold": torch.ones(2, 2)}, r"v_threshold must be a number or \[C\], got shape \(2, 2\);"),
        ({"v_threshold": 10**400}, "v_threshold must be positive and finite, got 1000"),
        ({"v_threshold": [10**400]}, r"v_threshold must be a number or \[C\], got \[1000"),
        ({"v_threshold": ["high"]}, r"v_threshold must be a number or \[C\], got \['high'\];"),
        ({"v_threshold": [[1.0], [1.0, 2.0]]}, r"v_threshold must be a number or \[C\], got \[\[1.0\], \[1"),
        ({"v_threshold": torch.ones(2) * 1j}, r"v_threshold must be a number or \[C\], got tensor"),
        ({"leak": 2}, r"leak must be in \[0, 1\], got 2;"),
        ({"carry": None}, "carry must be 'residual' or 'membrane', got None;"),
        ({"rounding": "even"}, "rounding must be 'round_half_up' or 'floor', got 'even';"),
        (
            {"learnable_threshold": "yes"},
            "learnable_threshold must be False, True, 'tensor' or 'channel', got 'yes'",
        ),
        ({"learnable_threshold": 2}, "learnable_threshold must be False, True, 'tensor' or 'channel', got 2"),
        ({"channels": 0}, "channels must be an integer >= 1, got 0;"),
        ({"channels": 2.0}, "channels must be an integer >= 1, got 2.0;"),
        ({"channels": 3, "v_threshold": [1.0, 2.0]}, "channels must be 2 as v_threshold has values, got 3;"),
        (
            {"channels": 3, "learnable_threshold": "tensor"},
            "channels must be None for one learned threshold, got 3;",
        ),
        ({"form": "dense"}, "form must be 'packed' or 'serial', got 'dense';"),
        ({"step_mode": "t"}, "step_mode must be 's' or 'm', got 't';"),
        ({"provider": "triton"}, "provider must be 'auto' or 'torch' or 'cupy', got 'triton';"),
        ({"v_reset": 0.0}, "v_reset must be None, got 0.0; the reset is soft"),
        ({"nan_policy": "zero"}, "nan_policy must be 'propagate' or 'raise', got 'zero';"),
        ({"time_steps": 5, "window": 4}, "window must be an integer in 5..16, got 4; it holds all digits"),
        ({"window": 17}, "window must be an integer in 4..16, got 17;"),
        ({"window": True}, "window must be an integer in 4..16, got True;"),
        ({"window": 4.5}, "window must be an integer in 4..16, got 4.5;"),
        ({"window": "8"}, "window must be an integer in 4..16, got '8';"),
        ({"channel_dim": 1.5}, "channel_dim must be an integer, got 1.5;"),
    ],
)
def test_parameters(arguments: dict[str, Any], message: str | None) -> None:
    if message is None:
        assert SpikePackNode(**arguments).v_threshold == 1.0
        return
    with pytest.raises(ParameterError, match=message) as caught:
        SpikePackNode(**arguments)
    assert str(caught.value).startswith("SpikePackNode: ")
    assert "\n" not in str(caught.value)


def test_numbers_are_coerced() -> None:
    node = SpikePackNode(4.0, 2, 1, leak=1)
    assert (node.time_steps, node.params.tau, node.v_threshold, node.params.leak) == (4, 2.0, 1.0, 1.0)
    assert type(node.v_threshold) is float


def test_inputs() -> None:
    node = SpikePackNode(4, form="packed")
    with pytest.raises(DtypeError, match="input must be a floating point tensor, got ndarray"):
        SpikePackNode(4)(torch.ones(3).numpy())
    with pytest.raises(DtypeError, match=r"input must be a floating point tensor, got torch\.int64"):
        node(torch.ones(2, 2, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"must be \[T, N, \*\] in multi-step mode, got a scalar"):
        SpikePackNode(4, step_mode="m")(torch.tensor(1.0))
    per_channel = SpikePackNode(4, v_threshold=[1.0, 2.0], form="packed")
    with pytest.raises(
        ShapeError, match=r"must have 2 channels at dimension 1 of \[N, \*\], got shape \(5, 3\)"
    ):
        per_channel(torch.rand(5, 3))
    with pytest.raises(
        ShapeError, match=r"must have 2 channels at dimension 1 of \[N, \*\], got shape \(2,\)"
    ):
        per_channel(torch.rand(2))
    inferring = SpikePackNode(4, learnable_threshold="channel", form="packed")
    with pytest.raises(ShapeError, match=r"first input must have channels at dimension 1"):
        inferring(torch.rand(2))


@pytest.mark.skipif(importlib.util.find_spec("cupy") is not None, reason="cupy is installed")
def test_a_named_provider_never_falls_back() -> None:
    with pytest.raises(EnvironmentMissingError, match="provider 'cupy' must have its kernels") as caught:
        SpikePackNode(provider="cupy")
    assert isinstance(caught.value, SpikePackError)
    assert SpikePackNode(provider="auto").provider == "auto"


def test_nan_is_never_a_spike() -> None:
    x = torch.tensor([[0.3, NAN, 5.0]])
    for arguments in ({}, {"tau": 1.5}, {"signed": True}, {"leak": 0.5}):
        packed = SpikePackNode(4, form="packed", **arguments)(x)
        assert packed.isnan().tolist() == [[False, True, False]]
        serial = SpikePackNode(4, step_mode="m", **arguments)(x.expand(4, 1, 3))
        assert serial.isnan().all(0).tolist() == [[False, True, False]]
        assert not serial[:, :, [0, 2]].isnan().any()
        single = SpikePackNode(4, **arguments)
        digits = torch.stack([single(x) for _ in range(8)])[4:]
        assert digits.isnan().all(0).tolist() == [[False, True, False]]
    for form, step_mode in (("packed", "s"), ("serial", "s"), ("serial", "m")):
        node = SpikePackNode(1, form=form, step_mode=step_mode, nan_policy="raise")
        with pytest.raises(DtypeError, match="must not hold NaN with nan_policy='raise'"):
            node(x)
        assert node(torch.tensor([[0.3, 5.0]])).shape == (1, 2)
    with pytest.raises(DtypeError, match="no integer code stands for NaN"):
        SpikePackNode(4).encode(x)


def test_infinities_saturate() -> None:
    x = torch.tensor([[float("inf"), -float("inf")]], requires_grad=True)
    for tau in (2.0, 1.5):
        node = SpikePackNode(4, tau=tau, form="packed", learnable_threshold=True)
        out = node(x)
        assert out.tolist() == [[1.0, 0.0]]
        out.sum().backward()
        assert x.grad.tolist() == [[0.0, 0.0]]
        assert node.theta.grad.item() == 0.0
        assert SpikePackNode(4, tau=tau, form="packed", signed=True)(x).tolist() == [[1.0, -1.0]]
