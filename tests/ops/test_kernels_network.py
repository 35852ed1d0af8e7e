"""An accelerated integer network whose neurons are fired by the kernels, against the numpy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from spikejelly_pack.integer import AcceleratedNetwork
from spikejelly_pack.ops import recorded_choices
from spikejelly_pack.ops.integer_products import choice, forget_choices, measured_choices
from spikejelly_pack.ops.integer_products.tensor_cores import FusedKernel, KernelRoute
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.execute import run_packed


def small_network(steps: int, signed: bool) -> Any:
    """A convolution, a pool and a linear layer with a threshold and a bias of every size."""
    rng = np.random.default_rng(steps)

    def w(*shape: int, high: int = 127) -> Any:
        return rng.integers(-high, high + 1, shape).astype(np.int32)

    def neuron(name: str, source: str, theta: int, **more: Any) -> Any:
        thetas = rng.integers(1, theta, 8).astype(np.int32)
        constants = {"threshold": thetas, "bias": w(8, high=2000), "time_steps": steps, "state_bits": 32}
        return g.Neuron(name=name, inputs=(source,), signed=signed, **constants, **more)

    ones = np.ones(1, np.float32)
    ops = [
        g.Input(name="x", inputs=(), threshold=ones, shape=(8, 6, 6), time_steps=steps, signed=signed),
        g.Conv2d(name="c", inputs=("x",), weight_bits=8, weight=w(8, 8, 3, 3), padding=(1, 1)),
        neuron("n", "c", 300),
        g.AvgPool2d(name="p", inputs=("n",), weight_bits=8, multiplier=w(8)),
        neuron("m", "p", 40, rounding="floor"),
        g.Flatten(name="f", inputs=("m",)),
        g.Dense(name="d", inputs=("f",), weight_bits=8, weight=w(8, 72)),
        neuron("k", "d", 500),
        g.Dense(name="e", inputs=("k",), weight_bits=8, weight=w(3, 8)),
        g.Readout(name="out", inputs=("e",), scale=np.ones(3), bias=w(3), state_bits=32),
    ]
    return g.Network(ops, steps)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("steps", [4, 8, 12])
def test_accelerated_network(device: str, steps: int, signed: bool) -> None:
    network = small_network(steps, signed)
    top = 2**steps - 1
    codes = np.random.default_rng(0).integers(-top if signed else 0, top + 1, (3, 8, 6, 6))
    expected = run_packed(network, codes)
    accelerated = AcceleratedNetwork(network, provider="cupy").to(device)
    got = accelerated.every_code(codes)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name].cpu().numpy(), values.astype(np.int64), err_msg=name)
    choices = {choice.provider for choice in recorded_choices() if choice.operation == "integer_fire"}
    assert "cupy" in choices


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("steps", [4, 8])
@pytest.mark.parametrize("wanted", ["fused", "cupy"])
def test_products_on_the_tensor_cores(
    device: str, steps: int, signed: bool, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The own product kernel, with the neurons fused behind it, and alone."""
    routes = [*choice.ROUTES[:1], KernelRoute("cupy", ("cpu", "cuda"))]
    monkeypatch.setattr(choice, "ROUTES", routes)
    monkeypatch.setattr(choice, "FUSED", [FusedKernel(devices=("cpu", "cuda"))])
    monkeypatch.setattr(
        choice, "fastest", lambda found: wanted if wanted in found else min(found, key=found.get)
    )
    monkeypatch.setattr(choice, "_REPEATS", 1)
    forget_choices()
    network = small_network(steps, signed)
    top = 2**steps - 1
    codes = np.random.default_rng(0).integers(-top if signed else 0, top + 1, (2, 8, 6, 6))
    expected = run_packed(network, codes)
    got = AcceleratedNetwork(network, provider="cupy").to(device).every_code(codes)
    for name, values in expected.items():
        np.testing.assert_array_equal(got[name].cpu().numpy(), values.astype(np.int64), err_msg=name)
    taken = {found.chosen for found in measured_choices()}
    # Signed codes of eight digits do not fit a byte: no kernel takes those.
    assert (wanted in taken) == (not (signed and steps == 8))
    forget_choices()
