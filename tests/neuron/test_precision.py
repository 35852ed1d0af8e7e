"""Dtypes, autocast, memory layouts, odd shapes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from spikejelly_pack import SpikePackNode
from spikejelly_pack.functional import code_dtype

FORMS = [("packed", "s"), ("packed", "m"), ("serial", "s"), ("serial", "m")]
HALVES = [torch.bfloat16, torch.float16]


def shape_for(step_mode: str, *shape: int) -> tuple[int, ...]:
    return (8, *shape) if step_mode == "m" else shape


@pytest.mark.parametrize(("form", "step_mode"), FORMS)
@pytest.mark.parametrize("dtype", [torch.float64, *HALVES])
def test_output_has_the_input_s_dtype(form: str, step_mode: str, dtype: torch.dtype) -> None:
    node = SpikePackNode(
        4, form=form, step_mode=step_mode, leak=0.5, learnable_threshold="channel", channels=3
    )
    x = torch.randn(shape_for(step_mode, 2, 3), dtype=dtype)
    outs = [node(x) for _ in range(8)]
    assert {out.dtype for out in outs} == {dtype}
    state = torch.float64 if dtype == torch.float64 else torch.float32
    assert node.carry.dtype == state


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("steps", [8, 16])
def test_half_precision_input_fires_the_float32_code(dtype: torch.dtype, steps: int) -> None:
    # 16 digits do not fit a half-precision number: the state must be float32.
    u = (torch.rand(1000) * 1.2 - 0.1).to(dtype)
    node = SpikePackNode(steps, v_threshold=0.9)
    assert torch.equal(node.encode(u), node.encode(u.float()))
    assert node.encode(u).dtype == code_dtype(steps)
    x = torch.randn(steps, 100).to(dtype)
    serial = SpikePackNode(steps, v_threshold=0.9, step_mode="m")
    assert torch.equal(serial(x), serial(x.float()).to(dtype))
    packed = SpikePackNode(steps, v_threshold=0.9, form="packed")
    assert torch.equal(packed(u), packed(u.float()).to(dtype))


@pytest.mark.parametrize("dtype", HALVES)
def test_autocast_trains(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Linear(8, 8), SpikePackNode(8, form="packed", learnable_threshold=True), nn.Linear(8, 2)
    )
    x = torch.randn(16, 8)
    with torch.autocast("cpu", dtype=dtype):
        hidden = net[1](net[0](x))
        out = net[2](hidden)
    assert hidden.dtype == out.dtype == dtype
    out.float().square().sum().backward()
    for parameter in net.parameters():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    assert net[0].weight.grad.abs().sum() > 0


def test_gradient_has_the_input_s_dtype() -> None:
    for dtype in (torch.float64, torch.float32, *HALVES):
        u = torch.rand(4, 4, dtype=dtype, requires_grad=True)
        SpikePackNode(4, form="packed")(u).sum().backward()
        assert u.grad.dtype == dtype


@pytest.mark.parametrize(("form", "step_mode"), FORMS)
@pytest.mark.parametrize("leak", [0.0, 0.5])
def test_channels_last_is_kept(form: str, step_mode: str, leak: float) -> None:
    node = SpikePackNode(4, form=form, step_mode=step_mode, leak=leak, v_threshold=[0.5, 1.0, 2.0])
    flat = torch.randn(16, 3, 4, 5)
    batch = flat.to(memory_format=torch.channels_last)
    if step_mode == "m":
        flat, batch = flat.unflatten(0, (8, 2)), batch.unflatten(0, (8, 2))
    batch = batch.detach().requires_grad_()
    for _ in range(8 if step_mode == "s" else 1):
        out = node(batch)
    result = out.flatten(0, -4)
    assert result.is_contiguous(memory_format=torch.channels_last)
    if not (form == "serial" and step_mode == "s"):
        out.sum().backward()
        assert batch.grad.flatten(0, -4).is_contiguous(memory_format=torch.channels_last)
    node.reset()
    for _ in range(8 if step_mode == "s" else 1):
        plain = node(flat)
    assert torch.equal(plain, out)


@pytest.mark.parametrize(("form", "step_mode"), FORMS)
def test_empty_batches(form: str, step_mode: str) -> None:
    node = SpikePackNode(
        4, form=form, step_mode=step_mode, leak=0.5, learnable_threshold=True, channels=3, store_v_seq=True
    )
    x = torch.zeros(shape_for(step_mode, 0, 3, 2), requires_grad=True)
    out = node(x)
    assert out.shape == x.shape
    if not (form == "serial" and step_mode == "s"):
        out.sum().backward()
        assert node.theta.grad.tolist() == [0.0] * 3


@pytest.mark.parametrize(("form", "step_mode"), FORMS)
def test_strided_inputs(form: str, step_mode: str) -> None:
    node = SpikePackNode(4, form=form, step_mode=step_mode, v_threshold=[0.5, 1.0, 2.0])
    dense = torch.randn(shape_for(step_mode, 6, 6, 4))[..., ::2, :]
    expanded = torch.randn(4, 1, 1).expand(shape_for(step_mode, 4, 3, 2))
    for x in (dense, expanded, dense.transpose(-1, -3)[..., :3, :]):
        first = [node(x) for _ in range(8)][-1]
        node.reset()
        assert torch.equal(first, [node(x.contiguous()) for _ in range(8)][-1])
        node.reset()


def test_no_data_dimension() -> None:
    # A single neuron: [] per step, [T] per window.
    node = SpikePackNode(4, step_mode="m")
    digits = node(torch.ones(4))
    assert digits.tolist() == [1.0] * 4
