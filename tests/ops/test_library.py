"""The operators with provider='torch': registered in full, equal to the plain functions, of any size."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode

from spikejelly_pack import functional, ops
from spikejelly_pack.spec import bits
from spikejelly_pack.spec.errors import DtypeError, ShapeError
from spikejelly_pack.spec.parameters import NeuronParameters

OPS = torch.ops.spikepack
PARAMETERS = [
    NeuronParameters(1),
    NeuronParameters(4),
    NeuronParameters(8, signed=True, rounding="floor"),
    NeuronParameters(5, tau=1.5),
]


def numbers(params: NeuronParameters) -> tuple[int, float, bool, bool]:
    return params.time_steps, params.tau, params.signed, params.half > 0


def membranes(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    x = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    x.view(-1)[:5] = torch.tensor([float("inf"), -float("inf"), 0.0, 1.0, 0.5])
    return x.to(dtype)


LAYOUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "contiguous": lambda x: x,
    "channels_last": lambda x: x.contiguous(memory_format=torch.channels_last),
    "transposed": lambda x: x.transpose(1, 3).contiguous().transpose(1, 3),
    "empty": lambda x: x[:0],
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck(layout: str) -> None:
    x = LAYOUTS[layout](membranes(2, 3, 4, 5)).requires_grad_()
    theta = torch.tensor([0.5, 1.0, 2.0]).view(3, 1, 1).requires_grad_()
    for scaled in (False, True):
        torch.library.opcheck(OPS.fire, (x, theta, 4, 2.0, False, True, scaled, "torch"))
    plain, fixed = x.detach(), theta.detach()
    torch.library.opcheck(
        OPS.fire, (plain.bfloat16().requires_grad_(), fixed, 4, 1.5, True, False, True, "torch")
    )
    torch.library.opcheck(OPS.encode, (plain, fixed, 9, 2.0, False, True, "torch"))
    codes = LAYOUTS[layout](torch.randint(0, 16, (2, 3, 4, 5)).to(torch.uint8))
    torch.library.opcheck(OPS.unpack, (codes, 4, "torch"))
    digits = torch.randint(0, 2, (4, *codes.shape)).float()
    torch.library.opcheck(OPS.pack, (digits, False, "torch"))
    torch.library.opcheck(OPS.decode, (codes, 4, 1.5, torch.bfloat16, "torch"))


@pytest.mark.parametrize("params", PARAMETERS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_fire_is_the_plain_function(params: NeuronParameters, dtype: torch.dtype) -> None:
    x, theta = membranes(3, 4, 5, dtype=dtype), torch.tensor(0.75, dtype=ops.compute_dtype(dtype))
    for scaled in (False, True):
        ours = OPS.fire(x, theta, *numbers(params), scaled, "torch")
        wide = x.to(theta.dtype)
        assert torch.equal(ours, ops.fire(wide, theta, params, scaled).to(dtype))
        a, b = x.clone().requires_grad_(), wide.clone().requires_grad_()
        t, u = theta.clone().requires_grad_(), theta.clone().requires_grad_()
        grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
        OPS.fire(a, t, *numbers(params), scaled, "torch").backward(grad)
        ops.fire(b, u, params, scaled).backward(grad.to(theta.dtype))
        assert a.grad is not None
        assert b.grad is not None
        assert torch.equal(a.grad, b.grad.to(dtype))
        torch.testing.assert_close(t.grad, u.grad)


def test_nan_propagates_in_fire_and_is_no_spike_in_encode() -> None:
    x = torch.tensor([float("nan"), 1.0])
    theta = torch.tensor(1.0)
    assert OPS.fire(x, theta, 4, 2.0, False, True, False, "torch").isnan().tolist() == [True, False]
    assert OPS.encode(x, theta, 4, 2.0, False, True, "torch").tolist() == [0, 15]
    assert OPS.encode(x, theta, 16, 2.0, True, True, "torch").tolist() == [
        0,
        65535,
    ]  # int32 holds what NaN casts to


@pytest.mark.parametrize("steps", [1, 4, 8, 9, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_codes_are_those_of_numpy(steps: int, signed: bool) -> None:
    params = NeuronParameters(steps, signed=signed)
    x = membranes(4, 50).clamp(-3, 3)
    theta = torch.tensor(0.9)
    codes = OPS.encode(x, theta, *numbers(params), "torch")
    assert codes.dtype == functional.codes.code_dtype(steps, signed)
    assert torch.equal(codes.to(torch.int64), functional.spikepack_code(x, theta, params).to(torch.int64))
    digits = OPS.unpack(codes, steps, "torch")
    assert np.array_equal(digits.numpy(), bits.unpack(codes.to(torch.int64).numpy(), steps))
    back = OPS.pack(digits, signed, "torch")
    assert back.dtype == codes.dtype
    assert torch.equal(back.to(torch.int64), codes.to(torch.int64))
    values = OPS.decode(codes, steps, 2.0, torch.float64, "torch")
    assert torch.equal(values, functional.decode(codes, steps, dtype=torch.float64))


def test_vmap() -> None:
    x = membranes(3, 4, 2, 5).clamp(-2, 2)
    theta = torch.tensor([0.5, 1.0, 1.5, 2.0])

    def fire(u: Tensor, t: Tensor) -> Tensor:
        return OPS.fire(u, t, 4, 2.0, False, True, True, "torch")

    for dims, (u, t) in (
        ((0, None), (x, theta[0])),
        ((2, None), (x, theta[0])),
        ((1, 0), (x, theta)),
        ((None, 0), (x, theta)),
    ):
        batched = torch.vmap(fire, in_dims=dims)(u, t)
        size = x.shape[dims[0]] if dims[0] is not None else len(theta)
        for i in range(size):
            one = u if dims[0] is None else u.select(dims[0], i)
            assert torch.equal(batched[i], fire(one, t if dims[1] is None else t[i]))
    codes = torch.randint(0, 16, (3, 5), dtype=torch.uint8)
    digits = torch.vmap(lambda c: OPS.unpack(c, 4, "torch"), in_dims=1)(codes)
    assert torch.equal(digits.movedim(0, 2), OPS.unpack(codes, 4, "torch"))
    assert torch.equal(torch.vmap(lambda d: OPS.pack(d, False, "torch"))(digits), codes.t())
    values = torch.vmap(lambda c: OPS.decode(c, 4, 2.0, torch.float32, "torch"))(codes)
    assert torch.equal(values, OPS.decode(codes, 4, 2.0, torch.float32, "torch"))


def test_more_elements_than_32_bits_count() -> None:
    with FakeTensorMode():
        x = torch.empty(2**17, 2**15, device="cpu")
        theta = torch.ones(2**15)
        out = OPS.fire(x, theta, 8, 2.0, False, True, False, "torch")
        assert out.shape == x.shape
        codes = OPS.encode(x, theta, 8, 2.0, False, True, "torch")
        assert codes.dtype is torch.uint8
        assert OPS.unpack(codes, 8, "torch").numel() == 2**35


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match=r"theta must broadcast to start's shape \(2, 3\), got \(2,\)"):
        OPS.fire(torch.zeros(2, 3), torch.ones(2), 4, 2.0, False, True, False, "torch")
    with pytest.raises(ShapeError, match=r"got \(1, 2, 3\)"):
        OPS.encode(torch.zeros(2, 3), torch.ones(1, 2, 3), 4, 2.0, False, True, "torch")
    with pytest.raises(DtypeError, match=r"start must be floating point, got torch\.int64"):
        OPS.fire(torch.zeros(2, dtype=torch.int64), torch.ones(()), 4, 2.0, False, True, False, "torch")


def test_every_code_of_few_digits() -> None:
    for steps, signed in itertools.product((1, 3), (False, True)):
        top = 2**steps - 1
        codes = torch.arange(-top if signed else 0, top + 1)
        values = OPS.decode(codes.to(torch.int8), steps, 2.0, torch.float64, "torch")
        assert values.tolist() == [int(code) / top for code in codes]


def test_compile_through_a_node_is_plain_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """provider='torch' leaves no operator in the graph: the compiler sees arithmetic it can fuse."""
    from spikejelly_pack import SpikePackNode

    seen: list[Any] = []

    def backend(graph: torch.fx.GraphModule, _inputs: Any) -> Any:
        seen.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    torch._dynamo.reset()
    for form in ("packed", "serial"):
        node = SpikePackNode(3, form=form, step_mode="m")
        compiled = torch.compile(node, fullgraph=True, backend=backend)
        x = torch.rand(3, 2)
        assert torch.equal(compiled(x), SpikePackNode(3, form=form, step_mode="m")(x))
    torch._dynamo.reset()
    assert seen
    assert not [name for name in seen if "spikepack" in name]
