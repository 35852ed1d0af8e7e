"""SpikingJelly's habits: functional form, reset, detach, monitors, checkpointing, configs, builders."""

from __future__ import annotations

import copy
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from spikingjelly.activation_based import base, layer, memopt, monitor, surrogate
from spikingjelly.activation_based import functional as sj
from spikingjelly.activation_based.distributed import vision
from spikingjelly.activation_based.model import spiking_resnet
from spikingjelly.activation_based.neuron import BaseNode
from torch import nn

from spikejelly_pack import SpikePackNode, set_form
from spikejelly_pack.spec.errors import ParameterError, ShapeError, UnsupportedError

FORMS = [("packed", "s"), ("packed", "m"), ("serial", "s"), ("serial", "m")]


def test_contract() -> None:
    node = SpikePackNode()
    assert isinstance(node, BaseNode)
    assert node.supported_step_mode() == ("s", "m")
    assert next(iter(dict(node.named_memories()))) == "v"
    assert node.v_reset is None
    assert "time_steps=4" in repr(node)


def test_repr_shows_no_surrogate_that_is_never_used() -> None:
    node = SpikePackNode(surrogate_function=surrogate.ATan())
    assert "ATan" not in repr(node)
    assert "\n" not in repr(node)
    for kept in (node, copy.deepcopy(node), pickle.loads(pickle.dumps(node))):
        assert isinstance(kept.surrogate_function, surrogate.ATan)


@pytest.mark.parametrize(("form", "step_mode"), FORMS)
def test_time_steps_change_after_construction(form: str, step_mode: str) -> None:
    node, wanted = (SpikePackNode(t, form=form, step_mode=step_mode, leak=0.5) for t in (4, 6))
    x = torch.randn(12 if step_mode == "m" else 2, 5)
    for _ in range(4):
        node(x)  # a whole window in single-step form
    sj.reset_net(node)
    node.time_steps = 6
    for _ in range(12):
        assert torch.equal(node(x), wanted(x))


def test_time_steps_change_refused() -> None:
    node = SpikePackNode(4)
    node(torch.rand(2, 3))
    with pytest.raises(UnsupportedError, match="time_steps must not change inside a window"):
        node.time_steps = 6
    with pytest.raises(ParameterError, match=r"time_steps must be an integer in 1\.\.16, got 17"):
        SpikePackNode(4).time_steps = 17
    with pytest.raises(ParameterError, match="window must be an integer in 7"):
        SpikePackNode(4, window=6).time_steps = 7


def test_ddp_around_unknown_channels_is_refused(tmp_path: Path) -> None:
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    try:
        net = nn.Sequential(nn.Linear(3, 5), SpikePackNode(4, learnable_threshold="channel", form="packed"))
        with pytest.raises(ShapeError, match="before DistributedDataParallel wraps"):
            nn.parallel.DistributedDataParallel(net)(torch.rand(2, 3))
        net(torch.rand(2, 3))
        nn.parallel.DistributedDataParallel(net)(torch.rand(2, 3)).sum().backward()
        assert net[1].theta.grad.shape == (5,)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(("form", "step_mode"), FORMS)
@pytest.mark.parametrize("carry", ["residual", "membrane"])
def test_functional_forward_is_the_forward(form: str, step_mode: str, carry: str) -> None:
    def build() -> nn.Sequential:
        return nn.Sequential(SpikePackNode(2, leak=0.7, carry=carry, form=form, step_mode=step_mode))

    pure, stateful = build(), build()
    function, states = base.to_functional_forward(pure), tuple(base.extract_memories(pure))
    for _ in range(5):
        x = torch.randn(4, 2, 3)
        before = [value.clone() if isinstance(value, torch.Tensor) else value for value in states]
        (out,), new_states = function((x,), states)
        assert torch.equal(out, stateful(x))
        for kept, value in zip(before, states, strict=True):
            same = torch.equal(kept, value) if isinstance(kept, torch.Tensor) else kept == value
            assert same, "the given states were changed"
        states = new_states
    assert pure[0].v == 0.0
    for ours, theirs in zip(states, base.extract_memories(stateful), strict=True):
        assert (
            torch.equal(torch.as_tensor(ours or 0.0), torch.as_tensor(theirs or 0.0))
            if not isinstance(ours, torch.Tensor)
            else torch.equal(ours, theirs)
        )


@pytest.mark.parametrize(("form", "step_mode"), FORMS)
def test_reset_restores_the_beginning(form: str, step_mode: str) -> None:
    node = SpikePackNode(2, leak=1.0, carry="membrane", form=form, step_mode=step_mode, store_v_seq=True)
    net = nn.Sequential(node)
    x = torch.randn(6, 4, 3)
    inputs = [x] if step_mode == "m" else list(x)
    first = [net(value) for value in inputs]
    sj.reset_net(net)
    assert node.v_seq is None
    assert list(node.memories()) == [0.0, None, None, None, 0, 0, None]
    second = [net(value) for value in inputs]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize(("form", "step_mode"), FORMS)
def test_detach_cuts_the_carry(form: str, step_mode: str) -> None:
    node = SpikePackNode(2, leak=1.0, carry="membrane", form=form, step_mode=step_mode, store_v_seq=True)
    x = torch.rand(2, 3, requires_grad=True)
    call = (lambda value: node(value.expand(2, 2, 3))) if step_mode == "m" else node
    for _ in range(4):
        call(x)
    if (form, step_mode) != ("serial", "s"):
        assert node.carry.requires_grad
    sj.detach_net(node)
    assert not any(value.requires_grad for value in node.memories() if isinstance(value, torch.Tensor))
    later = torch.rand(2, 3, requires_grad=True)
    if (form, step_mode) != ("serial", "s"):
        call(later).sum().backward()
        assert x.grad is None
        assert later.grad is not None


def test_memories_follow_the_module() -> None:
    node = SpikePackNode(2, leak=0.5)
    for _ in range(3):
        node(torch.rand(2, 3))
    node.double()
    assert node.carry.dtype == torch.float64
    assert node(torch.rand(2, 3, dtype=torch.float64)).dtype == torch.float64


def test_monitors() -> None:
    net = nn.Sequential(layer.Linear(3, 3), SpikePackNode(2, store_v_seq=True))
    sj.set_step_mode(net, "m")
    x = torch.randn(4, 2, 3)
    with (
        monitor.OutputMonitor(net, SpikePackNode) as spikes,
        monitor.AttributeMonitor("v_seq", False, net, SpikePackNode) as membranes,
    ):
        out = net(x)
        assert torch.equal(spikes["1"][0], out)
        assert torch.equal(membranes["1"][0], net[1].v_seq)
        assert membranes["1"][0].shape == (4, 2, 3)


@pytest.mark.parametrize(
    ("form", "leak"), [("packed", 0.0), ("serial", 0.0), ("serial", 0.5), ("packed", 0.5)]
)
def test_checkpointing_gives_the_same_gradients(form: str, leak: float) -> None:
    torch.manual_seed(0)

    def build() -> nn.Sequential:
        torch.manual_seed(3)
        return nn.Sequential(
            layer.Linear(3, 4),
            SpikePackNode(2, form=form, leak=leak, step_mode="m", learnable_threshold=True),
        )

    x = torch.randn(4, 2, 3)
    plain, saved = build(), build()
    sj.set_step_mode(plain, "m")
    sj.set_step_mode(saved, "m")
    wrapped = memopt.checkpoint_module(saved)
    for _ in range(2):
        expected, out = plain(x), wrapped(x)
        assert torch.equal(out, expected)
        (expected * expected).sum().backward()
        (out * out).sum().backward()
        sj.detach_net(plain)
        sj.detach_net(wrapped)
    for ours, theirs in zip(wrapped.parameters(), plain.parameters(), strict=True):
        assert torch.equal(ours.grad, theirs.grad)


def test_neuron_config_round_trip() -> None:
    arguments: dict[str, Any] = {"time_steps": 6, "leak": 0.5, "carry": "membrane", "v_threshold": [0.5, 1.0]}
    path = "spikejelly_pack.neuron.spikepack.SpikePackNode"
    config = vision.NeuronConfig(path, arguments)
    text = json.dumps({"class_path": config.class_path, "kwargs": config.kwargs})
    again = vision.NeuronConfig(**json.loads(text))
    assert again == config
    cls, kwargs = vision.config._resolve_neuron_config(again)
    assert cls is SpikePackNode
    node = cls(**kwargs)
    assert (node.time_steps, node.params.leak, node.threshold.tolist()) == (6, 0.5, [0.5, 1.0])
    training = vision.TrainingConfig if hasattr(vision, "TrainingConfig") else None
    assert training is not None


def test_resnet_builder_runs_in_every_form() -> None:
    torch.manual_seed(0)
    net = spiking_resnet.spiking_resnet18(spiking_neuron=SpikePackNode, time_steps=4, num_classes=10)
    assert sum(isinstance(module, SpikePackNode) for module in net.modules()) == 17
    sj.set_step_mode(net, "m")
    for form, length in (("packed", 1), ("serial", 4)):
        set_form(net, form)
        sj.reset_net(net)
        x = torch.rand(length, 2, 3, 32, 32, requires_grad=True)
        out = net(x)
        assert out.shape == (length, 2, 10)
        out.square().sum().backward()
        assert x.grad.abs().sum() > 0
    sj.reset_net(net)
    sj.set_step_mode(net, "s")
    out = net(torch.rand(2, 3, 32, 32))
    assert out.shape == (2, 10)
    with pytest.raises(UnsupportedError, match="single-step serial form has no gradient"):
        out.sum().backward()
