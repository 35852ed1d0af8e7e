"""Operators registered without ``custom_op``: gradients, refusals, and what torch makes of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from spikejelly_pack.ops import registration
from spikejelly_pack.ops.library import fire_backward


@registration.operator("test_double")
def double(x: Tensor, times: int) -> Tensor:
    """``x * times``."""
    return x * times


@double.register_fake
def _(x: Tensor, _times: int) -> Tensor:
    return torch.empty_like(x)


def _keep(ctx: Any, inputs: tuple[Any, ...], _output: Any) -> None:
    ctx.times = inputs[1]


double.register_autograd(
    lambda ctx, grad: (grad * ctx.times, None),
    setup_context=_keep,
)


def test_gradient_and_none_where_none_is_wanted() -> None:
    x = torch.rand(3, requires_grad=True)
    double(x, 3).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((3,), 3.0))
    assert not double(x.detach(), 3).requires_grad
    with torch.no_grad():
        assert not double(x, 3).requires_grad


def test_torch_s_own_checks() -> None:
    torch.library.opcheck(torch.ops.spikepack.test_double.default, (torch.rand(3, requires_grad=True), 2))


def test_compiled_it_is_one_node() -> None:
    def twice(x: Tensor) -> Tensor:
        return double(double(x, 2), 3)

    x = torch.rand(4, requires_grad=True)
    out = torch.compile(twice, fullgraph=True, backend="aot_eager")(x)
    assert torch.equal(out, 6 * x)
    out.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, torch.full((4,), 6.0))


def test_without_a_gradient_the_backward_pass_is_refused() -> None:
    grad, start, theta = (torch.rand(3, requires_grad=True) for _ in range(3))
    out, _ = fire_backward(grad, start, theta, 4, 2.0, False, True, False, False, "torch")
    with pytest.raises(RuntimeError, match="spikepack::fire_backward: it has no gradient; detach its inputs"):
        out.sum().backward()
