"""The plain loop and the count of spikes."""

from __future__ import annotations

import math

import pytest
import torch
from spikingjelly.activation_based import neuron
from torch import nn

from spikejelly_pack.data import digits
from spikejelly_pack.spec.errors import ParameterError, UnsupportedError
from spikejelly_pack.train import NeuronFactory, build_network, count_spikes, evaluate, train_epochs
from spikejelly_pack.train.loop import cosine_factor, decay_groups


def test_it_learns_and_the_seed_decides() -> None:
    split = digits()
    runs = []
    for seed in (1, 1, 2):
        torch.manual_seed(0)
        net = build_network("digits_cnn", options={"width": 8})
        history = train_epochs(
            net,
            split.train_inputs[:640],
            split.train_classes[:640],
            epochs=3,
            batch=32,
            seed=seed,
            progress=False,
        )
        runs.append((history, net.state_dict()))
    (one, first), (again, second), (other, _) = runs
    assert one.loss == again.loss
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert one.loss != other.loss
    assert one.loss[-1] < one.loss[0]
    assert len(one.seconds) == 3
    found = evaluate(net, split.test_inputs, split.test_classes)
    assert found.accuracy > 0.3  # chance is 0.1
    assert found.samples == 450
    assert 0 < found.count.rate < 1
    assert net.training


def test_spikes_of_a_packed_network_are_those_of_its_serial_form() -> None:
    torch.manual_seed(0)
    for name, shape in (("digits_cnn", (3, 1, 8, 8)), ("events_cnn", (3, 4, 2, 16, 16))):
        args = {"SpikePackNode": {"leak": 0.5, "carry": "membrane"}} if len(shape) == 5 else None
        net = build_network(name, time_steps=5, options={"width": 4}, neuron_args=args).double().eval()
        x = torch.rand(shape).double()
        with torch.no_grad(), count_spikes(net) as packed:
            net(x)
        net.set_form("serial")
        with torch.no_grad(), count_spikes(net) as serial:
            net(x)
        assert packed.spikes > 0
        assert packed == serial


def test_spikes_counted_by_hand() -> None:
    """An IF neuron at half its threshold spikes every second step; a code of 5 of 4 digits is 0101."""
    node = neuron.IFNode(step_mode="m")
    with count_spikes(nn.Sequential(node)) as count:
        node(torch.full((6, 2), 0.5))
    assert (count.spikes, count.sites, count.rate) == (6.0, 12, 0.5)
    packed = NeuronFactory()()
    with count_spikes(packed) as count:
        packed(torch.full((1, 1, 3), 5 / 15))
    assert (count.spikes, count.sites) == (6.0, 12)
    fast = NeuronFactory(init_args={"tau": 1.5, "leak": 0.5})()
    with pytest.raises(UnsupportedError, match="tau=2"), count_spikes(fast):
        fast(torch.rand(1, 1, 3))


def test_schedule_by_hand() -> None:
    """Up to the peak in three steps, then half a cosine to zero."""
    assert [cosine_factor(step, 10, 3) for step in range(3)] == [0.25, 0.5, 0.75]
    assert cosine_factor(3, 11, 3) == 1.0
    assert cosine_factor(7, 11, 3) == pytest.approx(0.5)
    assert cosine_factor(5, 11, 3) == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert cosine_factor(11, 11, 3) == 0.0


def test_only_weights_decay() -> None:
    net = build_network("digits_cnn", options={"width": 4})
    decaying, other = decay_groups(net, 0.1)
    assert (decaying["weight_decay"], other["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    free = {names[id(p)].rpartition(".")[2] for p in other["params"]}  # pyright: ignore
    assert free == {"weight", "bias", "theta"}  # the weights are BatchNorm's
    assert all(p.ndim > 1 for p in decaying["params"])  # pyright: ignore


def test_a_batch_larger_than_the_data_is_refused() -> None:
    split = digits()
    net = build_network("digits_cnn", options={"width": 2})
    with pytest.raises(ParameterError, match="batch must be at most 10 samples, got 64"):
        train_epochs(net, split.train_inputs[:10], split.train_classes[:10], epochs=1)
