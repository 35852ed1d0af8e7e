"""Every network with every neuron: it runs, learns, and SpikePack's forms are one function."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import yaml
from spikingjelly.activation_based import functional
from spikingjelly.activation_based.neuron import LIFNode
from torch import Tensor, nn

from spikejelly_pack.spec.errors import ShapeError, UnsupportedError
from spikejelly_pack.train import NETWORKS, Classifier, build_network
from spikejelly_pack.train.firing import neurons_of
from spikejelly_pack.train.parsing import config_path, configs

HOME = "spikingjelly.activation_based.neuron"
SPIKEPACK = "spikejelly_pack.neuron.SpikePackNode"
# Inputs and options that make each one small; [N, *], windowed [N, W, *].
SMALL: dict[str, tuple[tuple[int, ...], dict[str, Any]]] = {
    "digits_cnn": ((2, 1, 8, 8), {"width": 6}),
    "digits_spikformer": ((2, 1, 8, 8), {"embed_dims": 16, "num_heads": 2}),
    "events_cnn": ((2, 3, 2, 16, 16), {"width": 6}),
    "cifar_sew_resnet18": ((2, 3, 16, 16), {}),
    "cifar_vgg": ((2, 3, 32, 32), {"width": 0.1}),
    "dvs_vgg": ((2, 3, 2, 32, 32), {"width": 0.1}),
    "dvs_gesture_net": ((1, 3, 2, 128, 128), {"channels": 4}),
    "imagenet_sew_resnet34": ((1, 3, 64, 64), {}),
}


def _network(name: str, neuron: str) -> tuple[Classifier, Tensor]:
    shape, options = SMALL[name]
    torch.manual_seed(0)
    by_class = {"PSN": {"T": shape[1]}, "SpikePackNode": {"leak": 0.5, "carry": "membrane"}}
    net = build_network(
        name, neuron, time_steps=3, options=options, neuron_args=by_class if NETWORKS[name][1] else None
    )
    return net, torch.rand(shape)


@pytest.mark.parametrize("name", NETWORKS)
def test_forms_are_one_function(name: str) -> None:
    """Float64, evaluation mode, every node awake; real time with leak and carried membranes included."""
    net, x = _network(name, SPIKEPACK)
    net.double()
    for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)):
        norm.momentum = 1.0  # so that one training pass leaves this input's statistics, and nodes awake
    net(x.double())
    net.eval()
    with torch.no_grad():
        packed = net(x.double())
        serial = net.set_form("serial")(x.double())
        again = net.set_form("packed")(x.double())
    assert float(packed.abs().max()) > 0
    assert torch.equal(packed, again)
    # As in tests/models: equal to 1e-9 in float64 unless a code flipped, and none does here.
    assert float((packed - serial).abs().max()) <= 1e-9


@pytest.mark.parametrize("kind", ["IFNode", "LIFNode", "ParametricLIFNode", "PSN", "ILIFNode"])
@pytest.mark.parametrize("name", ["digits_cnn", "digits_spikformer", "events_cnn", "dvs_vgg"])
def test_other_neurons_get_a_gradient(name: str, kind: str) -> None:
    net, x = _network(name, f"{HOME}.{kind}")
    assert {type(module).__name__ for module in neurons_of(net).values()} == {kind}
    logits = net(x)
    assert logits.shape == (2, 20 if name == "events_cnn" else 10)
    logits.square().sum().backward()
    first = next(net.parameters())
    assert first.grad is not None
    assert bool(first.grad.isfinite().all())


def test_static_input_is_repeated_for_neurons_without_codes() -> None:
    net, x = _network("digits_cnn", f"{HOME}.LIFNode")
    net.eval()
    with torch.no_grad():
        found = net(x)
        functional.reset_net(net.body)
        expected = torch.stack([net.body(x.unsqueeze(0))[0] for _ in range(3)]).mean(0)
    assert torch.equal(found, expected)


def test_real_time_stays_in_windows() -> None:
    """The order of windows matters where membranes are carried, and samples do not see each other."""
    net, x = _network("events_cnn", SPIKEPACK)
    net.eval()
    with torch.no_grad():
        forth, back = net(x), net(x.flip(1))
        alone = torch.cat([net(sample.unsqueeze(0)) for sample in x])
        independent, _ = _network("events_cnn", SPIKEPACK)
        independent.eval()
        for node in neurons_of(independent).values():
            node.params = type(node.params)(node.params.time_steps)  # no leak  # pyright: ignore
        without = [independent(x), independent(x.flip(1))]
    assert not torch.equal(forth, back)
    assert torch.allclose(forth, alone, atol=1e-5)
    assert torch.allclose(*without, atol=1e-5)


@pytest.mark.parametrize("name", configs())
def test_configurations_name_what_exists(name: str) -> None:
    """Each one: the network is built as written there, the neuron is one line, and its data module exists."""
    import spikejelly_pack.train.sources as sources

    with open(config_path(name)) as file:
        content = yaml.safe_load(file)
    model, data = content["model"], content["data"]
    assert model["neuron"] == {"class_path": SPIKEPACK}
    assert model["network"] in NETWORKS
    if not name.startswith(("imagenet", "cifar")):
        build_network(
            model["network"],
            model["neuron"],
            options=model.get("network_args"),
            neuron_args=model.get("neuron_args"),
        )
    kind = getattr(sources, data["class_path"].rpartition(".")[2])
    kind(**data["init_args"])
    windows = NETWORKS[model["network"]][1]
    assert ("neuron_args" in model) == windows
    if windows:
        assert model["neuron_args"]["SpikePackNode"]["carry"] == "membrane"


def test_all_configurations_are_there() -> None:
    assert configs() == [
        "cifar100_vgg",
        "cifar10_sew_resnet18",
        "cifar10dvs_vgg",
        "digits_cnn",
        "digits_spikformer",
        "dvs_gesture",
        "events_cnn",
        "imagenet_sew_resnet34",
    ]


def test_refusals() -> None:
    net, _ = _network("events_cnn", SPIKEPACK)
    with pytest.raises(ShapeError, match=r"must be \[N, W, \*\], got shape \(4,\)"):
        net(torch.rand(4))
    other, _ = _network("digits_cnn", f"{HOME}.LIFNode")
    with pytest.raises(UnsupportedError, match="neurons must be SpikePack's"):
        other.one_window()


def test_a_neuron_is_told_with_its_arguments_inside_or_beside() -> None:
    inside = {"class_path": f"{HOME}.LIFNode", "init_args": {"tau": 3.0}}
    beside = {"class_path": f"{HOME}.LIFNode", "tau": 3.0}
    for given in (inside, beside):
        net = build_network("digits_cnn", given)
        assert {node.tau for node in net.modules() if isinstance(node, LIFNode)} == {3.0}
    assert inside["init_args"] == {"tau": 3.0}
