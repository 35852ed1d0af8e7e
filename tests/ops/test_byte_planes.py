"""Signed codes that no byte holds, as two planes of bytes: the same sums and the same codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from spikejelly_pack.ops import integer_products as ip
from spikejelly_pack.ops.integer_products.base import storage_dtype
from spikejelly_pack.ops.integer_products.byte_planes import in_planes, planes
from spikejelly_pack.ops.integer_products.onednn import OneDnnRoute

CPU = torch.device("cpu")


@pytest.mark.parametrize(("low", "high"), [(-255, 255), (-1, 255), (-255, 3), (-128, 127), (-127, 200)])
@pytest.mark.parametrize("shape", [(-1, 1), (-1, 1, 1, 1)])
def test_every_code_is_the_difference_of_its_planes(low: int, high: int, shape: tuple[int, ...]) -> None:
    codes = torch.arange(low, high + 1).view(shape)
    stored = planes(codes.to(storage_dtype(low, high)))
    assert stored.dtype is torch.uint8
    positive, negative = stored.long().split(1, 1)
    assert torch.equal(positive - negative, codes)
    assert int((positive * negative).max()) == 0


def test_the_bound_of_the_sums_stays() -> None:
    for rows in ([[3, -7], [2, 2]], [[127, -127]], [[-1, -1]]):
        product = ip.Product(torch.tensor(rows), -255, 255)
        halves = in_planes(product)
        assert halves is not None
        assert halves.magnitude == product.magnitude == 255 * max(sum(map(abs, row)) for row in rows)


def route_or_skip(product: ip.Product) -> OneDnnRoute:
    """Only a processor or torch that cannot run it excuses; any other refusal is a fault."""
    route = OneDnnRoute()
    if reason := route.refuses(product, CPU):
        assert "saturates" in reason or "built without oneDNN" in reason
        pytest.skip(reason)
    return route


@given(seed=st.integers(0, 2**32 - 1), low=st.integers(-255, -129), high=st.integers(0, 255))
def test_dense_sums(seed: int, low: int, high: int) -> None:
    rng = np.random.default_rng(seed)
    weight, codes = rng.integers(-127, 128, (3, 5)), rng.integers(low, high + 1, (4, 5))
    product = ip.Product(torch.from_numpy(weight), low, high)
    kernel = route_or_skip(product).prepare(product, CPU)
    found = kernel(torch.from_numpy(codes).to(storage_dtype(low, high)))
    assert found.long().tolist() == (codes @ weight.T).tolist()


@pytest.mark.parametrize("window", [ip.Window((2, 1), (1, 2), (1, 2)), ip.Window()])
def test_convolution_sums_and_codes(window: ip.Window) -> None:
    """Padding holds the code zero in both planes; the oracle is float64."""
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(rng.integers(-127, 128, (4, 3, 3, 3)))
    codes = torch.from_numpy(rng.choice([-255, -254, -1, 0, 1, 255], (2, 3, 9, 8)))
    product = ip.Product(weight, -255, 255, window)
    kernel = route_or_skip(product).prepare(product, CPU)
    geometry = (window.stride, window.padding, window.dilation)
    wanted = torch.nn.functional.conv2d(codes.double(), weight.double(), None, *geometry).long()
    stored = codes.to(storage_dtype(-255, 255))
    assert torch.equal(kernel(stored).long(), wanted)
    fire = ip.Fire(torch.tensor([900, 1500, 77, 3000]), torch.tensor([5, -70, 0, 900]), 8, False, True)
    fused = ip.fused_routes(CPU, "torch")["onednn_fused"]
    assert fused.refuses(product, fire, CPU) is None
    theta, bias = fire.theta.view(-1, 1, 1), fire.bias.view(-1, 1, 1)
    expected = torch.div(wanted + bias + theta // 2, theta, rounding_mode="floor").clamp(0, 255)
    assert torch.equal(fused.prepare(product, CPU, fire)(stored).long(), expected)
