"""convert by the module tree, against the same mathematics written out with numpy quantizers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spikejelly_pack import SpikePackNetwork
from spikejelly_pack import convert as convert_any

# Two float64 computations of one value; a wrong or missing code is an LSB off, above 1e-3 here.
CLOSE = {"rtol": 0.0, "atol": 1e-6}
Coder = Callable[..., Tensor]


def coder(snn: Any) -> Coder:
    """``code(name, x, axis)``: numpy's nearest multiple of theta / (2^T - 1), clipped."""

    def code(name: str, x: Tensor, axis: int | None = None) -> Tensor:
        node = snn.nodes[name]
        top = 2**node.time_steps - 1
        lsb = node.theta.double().numpy() / top
        values = x.numpy() if axis is None else np.moveaxis(x.numpy(), axis, -1)
        codes = np.clip(
            np.sign(values) * np.floor(np.abs(values) / lsb + 0.5), -top if node.params.signed else 0, top
        )
        return torch.from_numpy(codes * lsb if axis is None else np.moveaxis(codes * lsb, -1, axis))

    return code


class Wired(nn.Module):
    """Shared module, functional and in-place activations, python control flow, dropout, dict of a tuple."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.shared, self.drop = nn.Conv2d(4, 4, 3, padding=1, groups=2), nn.Dropout(0.5)
        self.up, self.head, self.deep = nn.ConvTranspose2d(4, 2, 2, 2), nn.Linear(4, 5), True

    def forward(self, batch: dict[str, list[Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
        x = F.silu(self.norm(self.conv(batch["images"][0])))
        for _ in range(2 if self.deep else 1):
            x = x + F.relu_(self.shared(x))
        x = F.dropout(self.drop(x), 0.3, self.training)
        return {"both": (self.up(x), self.head(x.mean((2, 3))))}

    def coded(self, x: Tensor, code: Coder) -> tuple[Tensor, Tensor]:
        x = F.silu(self.norm(self.conv(code("conv:conv2d0:0", x))))
        for call in range(2):
            x = x + F.relu(self.shared(code(f"shared:conv2d{call}:0", x)))
        flat = code("head:linear0:0", x.mean((2, 3)))
        return self.up(code("up:conv_transpose2d0:0", x)), self.head(flat)


class Products(nn.Module):
    """Every way to multiply two activations, and weights that are no module's."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k = nn.Linear(6, 6), nn.Parameter(torch.randn(6, 6))
        self.register_buffer("gain", torch.rand(6, 1))
        self.bias = nn.Bilinear(6, 6, 3)

    def forward(self, x: Tensor) -> Tensor:
        q, k = self.q(x), F.gelu(x @ (self.k * self.gain))
        scores = torch.softmax(torch.bmm(q, k.transpose(1, 2)), -1)
        y = torch.einsum("bij,bjd->bid", scores, x)
        y = torch.baddbmm(y, scores, k)
        return self.bias(y, F.scaled_dot_product_attention(q, k, y, is_causal=True))

    def coded(self, x: Tensor, code: Coder) -> Tensor:
        q, k = self.q(code("q:linear0:0", x)), F.gelu(code(":matmul0:0", x) @ (self.k * self.gain))
        scores = torch.softmax(code(":bmm0:0", q) @ code(":bmm0:1", k.transpose(1, 2)), -1)
        y = code(":einsum0:0", scores) @ code(":einsum0:1", x)
        y = y + code(":baddbmm0:1", scores) @ code(":baddbmm0:2", k)
        look = code(":matmul1:0", q) @ code(":matmul1:1", k.transpose(1, 2)) / math.sqrt(6)
        look = look + torch.full(look.shape[1:], -math.inf, dtype=look.dtype).triu(1)
        z = code(":matmul2:0", torch.softmax(look, -1)) @ code(":matmul2:1", y)
        return self.bias(code("bias:bilinear0:0", y), code("bias:bilinear0:1", z))


def ready(model: nn.Module, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    for tensor in model.parameters():
        nn.init.normal_(tensor, 0, 0.4)
    return model.double().eval()


@pytest.mark.parametrize("time_steps", [1, 3, 8])
@pytest.mark.parametrize("channel_wise", [False, True])
def test_wired_network_is_the_quantized_one(time_steps: int, channel_wise: bool) -> None:
    model = ready(Wired())
    data, x = (torch.randn(n, 3, 6, 6, dtype=torch.float64) for n in (16, 5))
    batches = [({"batch": {"images": [part]}}, None) for part in data.split(4)]
    snn: Any = convert_any(model, batches, time_steps, channel_wise=channel_wise, progress=False)
    assert snn.report.route == "module"
    code = coder(snn)
    if channel_wise:  # axes by hand: channels of images, features of vectors
        plain = code
        code = lambda name, x: plain(name, x, 1)  # noqa: E731
        assert {node.theta.numel() for node in snn.nodes.values()} == {3, 4}
    with torch.no_grad():
        got, wanted = snn({"images": [x]})["both"], model.coded(x, code)
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)
    with torch.no_grad():
        assert not torch.allclose(got[0], model({"images": [x]})["both"][0], atol=1e-5), (
            "nothing was quantized"
        )


@pytest.mark.parametrize("time_steps", [2, 8])
def test_products_are_of_quantized_values(time_steps: int) -> None:
    model = ready(Products())
    x = torch.randn(3, 5, 6, dtype=torch.float64)
    snn: Any = convert_any(model, [x], time_steps, progress=False)
    with torch.no_grad():
        torch.testing.assert_close(snn(x), model.coded(x, coder(snn)), **CLOSE)
    assert snn.report.coverage == 1.0
    assert not snn.nodes[":bmm0:0".replace("bmm0:0", "einsum0:0")].params.signed, "softmax is never negative"
    assert snn.nodes["q:linear0:0"].params.signed


@pytest.mark.parametrize("need_weights", [False, True])
@pytest.mark.parametrize("mask", ["none", "bool", "float", "causal"])
def test_attention_without_codes_is_the_source(need_weights: bool, mask: str) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mha = nn.MultiheadAttention(8, 2, batch_first=True, dropout=0.2)

        def forward(self, x: Tensor) -> Any:
            size = x.size(1)
            upper = torch.ones(size, size, dtype=torch.bool).triu(1)
            given = {"bool": upper, "float": upper.double() * -2.0, "causal": upper}.get(mask)
            return self.mha(
                x, x, x.flip(1), attn_mask=given, need_weights=need_weights, is_causal=mask == "causal"
            )

    model = ready(Block())
    x = torch.randn(3, 5, 8, dtype=torch.float64)
    snn: Any = convert_any(model, [x], progress=False)
    # query, key and value projections, two products, output projection
    assert [entry.kind for entry in snn.report.synapses].count("linear") == 4
    assert len(snn.report.synapses) == 6
    assert snn.report.coverage == 1.0
    with torch.no_grad():
        assert not torch.allclose(snn(x)[0], model(x)[0], **CLOSE)
        snn.transparent = True
        torch.testing.assert_close(snn(x), model(x), **CLOSE)


@pytest.mark.parametrize("heads", [(4, 4), (4, 2)])
@pytest.mark.parametrize("mask", [None, "bool", "float", "causal", "blind"])
def test_decomposed_attention(heads: tuple[int, int], mask: str | None) -> None:
    class Attention(nn.Module):
        def forward(self, q: Tensor) -> Tensor:
            k, v = q[:, : heads[1], :4] * 0.5, q[:, : heads[1], :4].cos()
            options: dict[str, Any] = {"enable_gqa": heads[0] != heads[1], "scale": 0.3}
            if mask in {"bool", "float"}:
                allowed = torch.ones(q.size(-2), 4, dtype=torch.bool).tril(1)
                options["attn_mask"] = allowed if mask == "bool" else allowed.double() - 1.5
            if mask == "blind":
                options["attn_mask"] = torch.zeros(q.size(-2), 4, dtype=torch.bool)
            return F.scaled_dot_product_attention(q, k, v, is_causal=mask == "causal", **options)

    model = Attention()
    q = torch.randn(2, 4, 6, 5, dtype=torch.float64)
    snn: Any = convert_any(model, [q], progress=False)
    assert [entry.kind for entry in snn.report.synapses] == ["matmul", "matmul"]
    snn.transparent = True
    torch.testing.assert_close(snn(q), model(q), **CLOSE)


class Everything(nn.Module):
    """One of each synapse that torch's own counter knows too."""

    def __init__(self) -> None:
        super().__init__()
        self.lines = nn.Sequential(
            nn.Conv1d(2, 4, 3, groups=2), nn.ConvTranspose1d(4, 6, 3, 2), nn.Linear(17, 5)
        )
        self.planes = nn.Sequential(nn.Conv2d(6, 6, (1, 3), groups=6), nn.Flatten(2), nn.Linear(15, 4))
        self.mha = nn.MultiheadAttention(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lines(x).unsqueeze(2)
        x = self.planes(x.expand(-1, -1, 5, -1))
        x = self.mha(x, x, x, need_weights=False)[0]
        return torch.addmm(x[0], x[0] @ x[0].T, x[1]) + torch.mm(x[0], torch.ones(4, 4, dtype=x.dtype))


def test_multiply_accumulates_are_those_of_torch_s_counter() -> None:
    model = ready(Everything())
    x = torch.randn(6, 2, 10, dtype=torch.float64)
    # Written out as products: older releases do not count the CPU's attention kernel.
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(x)
    snn: Any = convert_any(model, [x], progress=False)
    assert 2 * sum(entry.macs for entry in snn.report.synapses) == counter.get_total_flops()


class Weights(nn.Module):
    """Weights that are computed: from parameters (constant), by a hook, from the data, through a cache."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.normed = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))
        self.register_buffer("cache", torch.zeros(4, 4))

    def forward(self, x: Tensor) -> Tensor:
        standard = (self.weight - self.weight.mean((1, 2, 3), keepdim=True)) / self.weight.std()
        y = self.normed(F.conv2d(x, standard.type_as(x)).mean((2, 3)))
        made = torch.sigmoid(y)
        z = F.linear(y, made.T @ made)
        self.cache[:] = made.T @ y
        return z @ self.cache


def test_only_weights_made_from_data_get_a_node() -> None:
    model = ready(Weights())
    x = torch.randn(4, 3, 5, 5, dtype=torch.float64)
    before = model.cache.clone()
    snn: Any = convert_any(model, [x], progress=False)
    nodes = sorted(snn.nodes)
    assert [name for name in nodes if "conv2d" in name] == [":conv2d0:0"]
    assert [name for name in nodes if name.startswith("normed")] == ["normed:linear0:0"]
    assert [name for name in nodes if name.startswith(":linear0")] == [":linear0:0", ":linear0:1"]
    assert sorted(name for name in nodes if "matmul2" in name) == [":matmul2:0", ":matmul2:1"]
    assert torch.equal(model.cache, before), "the source was changed"
    assert torch.equal(snn.model.cache, before), "calibration left its traces in the copy"


def test_gradients_reach_the_weights_straight_through() -> None:
    model = ready(Products())
    x = torch.randn(2, 5, 6, dtype=torch.float64)
    snn: Any = convert_any(model, [x], progress=False)
    assert isinstance(snn, SpikePackNetwork)
    snn(x).square().sum().backward()
    assert all(p.grad is not None and bool(p.grad.any()) for p in snn.model.parameters())
