"""Packed products equal a layer on decoded values, gradients included; which dtypes they may take."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spikejelly_pack import ops
from spikejelly_pack.ops import exactness
from spikejelly_pack.spec.errors import ParameterError, UnsupportedError
from spikejelly_pack.spec.parameters import NeuronParameters

OPS = torch.ops.spikepack


def leaves(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator, dtype=dtype).requires_grad_() for shape in shapes]


def compare(ours: Tensor, theirs: Tensor, inputs: list[Tensor], bound: float) -> None:
    assert torch.allclose(ours, theirs, rtol=0, atol=bound)
    grad = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1), dtype=ours.dtype)
    mine = torch.autograd.grad(ours, inputs, grad, retain_graph=True)
    others = torch.autograd.grad(theirs, inputs, grad)
    for one, other in zip(mine, others, strict=True):
        assert torch.allclose(one, other, rtol=0, atol=bound * max(1.0, float(grad.abs().sum())))
        assert (one != 0).any()


@pytest.mark.parametrize("params", [NeuronParameters(4), NeuronParameters(8, signed=True)], ids=str)
def test_linear(params: NeuronParameters, tolerance: Callable[[object], Any]) -> None:
    x, theta, weight, bias = leaves(torch.float64, (3, 4, 7), (1,), (5, 7), (5,))
    threshold = theta.abs() + 0.5
    ours = ops.packed_linear(x, threshold, weight, bias, params)
    theirs = F.linear(ops.fire(x, threshold, params), weight, bias)
    compare(ours, theirs, [x, theta, weight, bias], tolerance("float64").between(64, 64))


@pytest.mark.parametrize("groups", [1, 2])
def test_conv2d(groups: int, tolerance: Callable[[object], Any]) -> None:
    params = NeuronParameters(5)
    x, weight, bias = leaves(torch.float64, (2, 4, 7, 6), (6, 4 // groups, 3, 3), (6,))
    theta = torch.tensor([0.5, 1.0, 1.5, 2.0], dtype=torch.float64).view(4, 1, 1).requires_grad_()
    window: dict[str, Any] = {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2), "groups": groups}
    for given in (x, x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()):
        ours = ops.packed_conv2d(given, theta, weight, bias, params, **window)
        theirs = F.conv2d(ops.fire(given, theta, params), weight, bias, *window.values())
        compare(ours, theirs, [given, theta, weight, bias], tolerance("float64").between(128, 64))


def test_opcheck() -> None:
    x, theta, weight, bias = leaves(torch.float32, (2, 3, 7), (1,), (5, 7), (5,))
    wide = theta.detach().abs() + 0.5
    for t, b, product in (
        (wide.requires_grad_(), bias, torch.float32),
        (wide.detach(), None, torch.bfloat16),
    ):
        torch.library.opcheck(OPS.packed_linear, (x, t, weight, b, 4, False, True, product, "torch"))
    image, kernel = leaves(torch.float32, (2, 3, 5, 4), (6, 3, 3, 3))
    geometry = ([2, 1], [1, 1], [1, 1], 1)
    for given in (image, image.detach().contiguous(memory_format=torch.channels_last).requires_grad_()):
        arguments = (given, wide.detach(), kernel, None, *geometry, 4, True, False, torch.float32, "torch")
        torch.library.opcheck(OPS.packed_conv2d, arguments)


def test_less_is_kept_for_the_backward_pass() -> None:
    """Two bytes a neuron where the layer on decoded values keeps five."""
    x, weight = leaves(torch.float32, (64, 256), (8, 256))
    theta = torch.tensor(1.0)

    def kept(call: Callable[[], Tensor]) -> int:
        sizes: dict[int, int] = {}

        def pack(value: Tensor) -> Tensor:
            if value.data_ptr() not in (weight.data_ptr(), theta.data_ptr()):
                sizes[value.data_ptr()] = value.nbytes
            return value

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda value: value):
            out = call()
        total = sum(sizes.values())
        del out
        return total

    params = NeuronParameters(4)
    assert kept(lambda: ops.packed_linear(x, theta, weight, None, params)) == 2 * x.numel()
    assert kept(lambda: F.linear(ops.fire(x, theta, params), weight)) == 5 * x.numel()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_which_integers_a_dtype_holds(dtype: torch.dtype) -> None:
    limit = exactness.exact_integers(dtype)
    around = [limit - 1, limit, limit + 1]
    assert [int(torch.tensor(n, dtype=torch.int64).to(dtype).to(torch.int64)) == n for n in around] == [
        True,
        True,
        False,
    ]
    longest = max(steps for steps in range(1, 17) if exactness.holds_codes(dtype, steps))
    assert longest == {torch.bfloat16: 8, torch.float16: 11}.get(dtype, 16)


def test_a_product_dtype_too_short_for_the_codes_is_refused() -> None:
    x, theta, weight = torch.rand(2, 3), torch.tensor(1.0), torch.rand(4, 3)
    with pytest.raises(ParameterError, match=r"holds 9 digits, got torch\.bfloat16 \(exact up to T = 8\)"):
        ops.packed_linear(x, theta, weight, None, NeuronParameters(9), product=torch.bfloat16)
    with pytest.raises(UnsupportedError, match=r"tau must be 2 for a product of codes, got 1\.5"):
        ops.packed_linear(x, theta, weight, None, NeuronParameters(4, tau=1.5))


@pytest.mark.parametrize(
    ("steps", "product", "result"),
    [
        (4, torch.bfloat16, torch.bfloat16),
        (5, torch.bfloat16, torch.bfloat16),
        (6, torch.bfloat16, torch.float32),
        (8, torch.bfloat16, torch.float32),
        (4, torch.float16, torch.float32),
        (11, torch.float16, torch.float32),
        (8, torch.float64, torch.float64),
    ],
)
def test_dtype_of_the_result(steps: int, product: torch.dtype, result: torch.dtype) -> None:
    params = NeuronParameters(steps)
    x = torch.rand(2, 3)
    out = ops.packed_linear(x, torch.tensor(1.0), torch.rand(4, 3), None, params, product=product)
    assert out.dtype is result
    image = ops.packed_conv2d(
        torch.rand(1, 3, 4, 4), torch.tensor(1.0), torch.rand(2, 3, 3, 3), None, params, product=product
    )
    assert image.dtype is result


def test_autocast_chooses_the_product() -> None:
    x, theta, weight = torch.rand(2, 3), torch.tensor(1.0), torch.rand(4, 3)
    with torch.autocast("cpu", torch.bfloat16):
        assert ops.packed_linear(x, theta, weight, None, NeuronParameters(4)).dtype is torch.bfloat16
        assert ops.packed_linear(x, theta, weight, None, NeuronParameters(8)).dtype is torch.float32
        long = ops.packed_linear(x, theta, weight, None, NeuronParameters(9))
    # bfloat16 does not hold nine digits: the product is float32, and exact.
    assert torch.equal(long, ops.packed_linear(x, theta, weight, None, NeuronParameters(9)))


def test_half_precision_products_see_exact_codes() -> None:
    """With integer weights a bfloat16 product at T = 8 is the integer sum, divided once."""
    generator = torch.Generator().manual_seed(0)
    params = NeuronParameters(8)
    weight = torch.randint(-100, 101, (16, 256), generator=generator).float()
    x = torch.rand(32, 256, generator=generator)
    codes = OPS.encode(x, torch.tensor(1.0), 8, 2.0, False, True, "torch").to(torch.int64)
    expected = (codes @ weight.to(torch.int64).t()).float() / 255
    ours = ops.packed_linear(x, torch.tensor(1.0), weight, None, params, product=torch.bfloat16)
    assert torch.equal(ours, expected)


@pytest.mark.filterwarnings("ignore")
def test_compiles_into_one_graph() -> None:
    torch._dynamo.reset()
    params = NeuronParameters(4)

    def step(x: Tensor, weight: Tensor) -> Tensor:
        return ops.packed_linear(x * 2, torch.tensor(1.0), weight, None, params).relu()

    x, weight = leaves(torch.float32, (4, 6), (3, 6))
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    compare(compiled(x, weight), step(x, weight), [x, weight], 1e-6)
    torch._dynamo.reset()


def test_empty_batches() -> None:
    params, theta = NeuronParameters(4), torch.tensor(1.0)
    x, weight = leaves(torch.float32, (0, 6), (3, 6))
    ops.packed_linear(x, theta, weight, None, params).sum().backward()
    assert weight.grad is not None
    assert not weight.grad.any()
    image, kernel = leaves(torch.float32, (0, 3, 5, 5), (2, 3, 3, 3))
    assert ops.packed_conv2d(image, theta, kernel, None, params).shape == (0, 2, 3, 3)
