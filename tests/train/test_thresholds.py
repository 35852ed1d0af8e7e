"""Where learned thresholds start: at the least coding error, found here by brute force."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.train import Classifier, build_network, load_network, save_network, train_epochs
from spikejelly_pack.train.loop import materialize
from spikejelly_pack.train.thresholds import fit_thresholds


def images(samples: int) -> torch.Tensor:
    return torch.rand(samples, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def nodes(net: torch.nn.Module) -> list[SpikePackNode]:
    return [module for module in net.modules() if isinstance(module, SpikePackNode)]


def fresh(**init_args: object) -> Classifier:
    torch.manual_seed(0)
    given = {"class_path": "spikejelly_pack.neuron.SpikePackNode", "init_args": init_args}
    net = build_network("digits_cnn", given, time_steps=3, options={"width": 4, "encode": True})
    materialize(net, images(2))
    return net


def test_fitting_leaves_frozen_parts_frozen() -> None:
    net = fresh(learnable_threshold=True).train()
    frozen = next(module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d)).eval()
    before = {name: module.training for name, module in net.named_modules()}
    fit_thresholds(net, images(8))
    assert not frozen.training
    assert {name: module.training for name, module in net.named_modules()} == before


def coding_error(values: np.ndarray, theta: float, digits: int) -> float:
    """Mean square of what is lost, every code tried."""
    codes = np.arange(2**digits) * theta / (2**digits - 1)
    return float(np.mean(np.min((values[:, None] - codes) ** 2, axis=1)))


def test_a_frozen_layer_stays_frozen() -> None:
    net = fresh(learnable_threshold=True)
    frozen = next(module for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d))
    frozen.eval()
    fit_thresholds(net, images(8))
    assert net.training
    assert not frozen.training


@pytest.mark.parametrize("kind", [True, "channel"])
def test_every_node_starts_at_its_least_error(kind: bool | str) -> None:
    net = fresh(learnable_threshold=kind)
    before = {name: x.clone() for name, x in net.state_dict().items()}
    x = images(64)
    state = torch.random.get_rng_state()
    fit_thresholds(net, x)
    assert torch.equal(torch.random.get_rng_state(), state)
    seen: list[torch.Tensor] = []
    for node in nodes(net):
        node.register_forward_pre_hook(lambda _, args: seen.append(args[0].detach()))
    net.train()(x)  # batch statistics, as when they were fitted
    for node, values in zip(nodes(net), seen, strict=True):
        for channel, theta in enumerate(node.threshold.reshape(-1).tolist()):
            part = (values[:, :, channel] if kind == "channel" else values).clamp(min=0).flatten().numpy()
            shares = np.linspace(0.05, 1.05, 81) * part.max()
            best = min(coding_error(part, share, 3) for share in shares)
            assert coding_error(part, theta, 3) <= 1.02 * best
    for name, value in net.state_dict().items():
        if not name.endswith(("theta", "running_mean", "running_var", "num_batches_tracked")):
            assert torch.equal(value, before[name]), name


def test_statistics_stay() -> None:
    net = fresh().eval()
    before = {name: x.clone() for name, x in net.named_buffers()}
    fit_thresholds(net, images(64))
    assert not net.training
    assert all(torch.equal(x, before[name]) for name, x in net.named_buffers())


def test_training_starts_there_once(tmp_path: Path) -> None:
    net = fresh()
    classes = torch.arange(64) % 4
    train_epochs(net, images(64), classes, epochs=1, batch=64, learning_rate=1e-9, progress=False)
    reference = fresh()
    fit_thresholds(reference, images(64))
    wanted = [float(node.threshold.detach()) for node in nodes(reference)]
    assert [float(node.threshold.detach()) for node in nodes(net)] == pytest.approx(wanted, abs=1e-6)
    assert len({round(theta, 3) for theta in wanted}) > 1
    with torch.no_grad():
        for node in nodes(net):
            node.theta.fill_(0.7)
    fit_thresholds(net, images(64))  # trained: its thresholds stay
    save_network(net, tmp_path / "net.safetensors")
    again = load_network(tmp_path / "net.safetensors")
    fit_thresholds(again, images(64))
    for one in (net, again):
        assert [float(node.threshold.detach()) for node in nodes(one)] == pytest.approx([0.7] * 5)


def test_given_thresholds_and_membranes_stay() -> None:
    for init_args in (
        {"v_threshold": 1.5},
        {"leak": 0.5, "carry": "membrane"},
        {"learnable_threshold": False},
    ):
        net = fresh(**init_args)
        before = [float(node.threshold.detach()) for node in nodes(net)]
        fit_thresholds(net, images(64))
        assert [float(node.threshold.detach()) for node in nodes(net)] == before
