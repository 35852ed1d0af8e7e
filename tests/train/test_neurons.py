"""The neuron by its class path: every kind, its defaults, and what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import neuron, surrogate

from spikejelly_pack import SpikePackNode
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.train import NeuronFactory, build_network

HOME = "spikingjelly.activation_based.neuron"
KINDS = ("IFNode", "LIFNode", "ParametricLIFNode", "PSN", "ILIFNode", "KLIFNode")


@pytest.mark.parametrize("kind", KINDS)
def test_neurons_of_spikingjelly(kind: str) -> None:
    """In multi-step mode, each call a new one, with a gradient."""
    factory = NeuronFactory(f"{HOME}.{kind}", time_steps=5)
    one, two = factory(), factory()
    assert type(one) is getattr(neuron, kind)
    assert one is not two
    assert one.step_mode == "m"
    assert not factory.is_spikepack
    x = torch.linspace(-1, 3, 20).reshape(5, 4).requires_grad_()
    one(x).sum().backward()
    assert x.grad is not None
    assert float(x.grad.abs().sum()) > 0


def test_spikepack_is_packed_and_learns_its_threshold() -> None:
    node = NeuronFactory(time_steps=6)()
    assert isinstance(node, SpikePackNode)
    assert (node.form, node.step_mode, node.time_steps) == ("packed", "m", 6)
    assert isinstance(node.theta, torch.nn.Parameter)


def test_defaults_and_arguments() -> None:
    """The field's settings, then those by class, then the neuron's own; a nested class path is an object."""
    plain = NeuronFactory(f"{HOME}.LIFNode")()
    assert plain.detach_reset
    assert isinstance(plain.surrogate_function, surrogate.ATan)
    by_class = {"LIFNode": {"tau": 3.0, "v_threshold": 0.5}, "PSN": {"T": 9}}
    chosen = NeuronFactory(
        f"{HOME}.LIFNode",
        {
            "tau": 4.0,
            "surrogate_function": {
                "class_path": "spikingjelly.activation_based.surrogate.Sigmoid",
                "init_args": {"alpha": 2.5},
            },
        },
        by_class=by_class,
    )()
    assert (chosen.tau, chosen.v_threshold) == (4.0, 0.5)
    assert isinstance(chosen.surrogate_function, surrogate.Sigmoid)
    assert chosen.surrogate_function.alpha == 2.5
    assert NeuronFactory(f"{HOME}.PSN", by_class=by_class)().T == 9


def test_a_builder_may_set_what_nobody_else_set() -> None:
    assert NeuronFactory(f"{HOME}.LIFNode")(v_threshold=0.25, unknown=1).v_threshold == 0.25
    assert NeuronFactory(f"{HOME}.LIFNode", {"v_threshold": 2.0})(v_threshold=0.25).v_threshold == 2.0


def test_factory_describes_itself() -> None:
    factory = NeuronFactory(f"{HOME}.LIFNode", {"tau": 4.0}, time_steps=7)
    config = factory.config()
    again = NeuronFactory(config.pop("class_path"), config.pop("init_args"), **config)
    assert again.config() == factory.config()
    assert again().tau == 4.0


@pytest.mark.parametrize(
    ("path", "arguments", "sentence"),
    [
        ("spikejelly_pack.neuron.Nope", {}, "must be importable, got 'spikejelly_pack.neuron.Nope'"),
        ("no_such_package.Node", {}, "class_path must be importable, got 'no_such_package.Node'"),
        ("Node", {}, "class_path must be importable, got 'Node'"),
        ("torch.nn.ReLU", {}, "class_path must be a spiking neuron"),
        ("math.sqrt", {}, "class_path must name a class, got 'math.sqrt'"),
        (f"{HOME}.LIFNode", {"taau": 2.0}, "neuron LIFNode: init_args must be among"),
        (f"{HOME}.LIFNode", {"tau": 0.5}, "neuron LIFNode: must accept"),
        (f"{HOME}.IFNode", {"v_threshold": 1}, "neuron IFNode: must accept"),
        ("spikejelly_pack.neuron.SpikePackNode", {"v_threshold": -1.0}, "v_threshold must be positive"),
        ("spikejelly_pack.neuron.SpikePackNode", {"tau": 3.0}, "neuron SpikePackNode: must accept"),
    ],
)
def test_refused(path: str, arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(sentence)) as caught:
        NeuronFactory(path, arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "neuron_spec", "options", "sentence"),
    [
        ("digits_cn", {"class_path": f"{HOME}.IFNode"}, {}, "got 'digits_cn'; did you mean digits_cnn?"),
        ("digits_cnn", {"init_args": {}}, {}, "neuron: must have a class_path"),
        ("digits_cnn", {"class_path": f"{HOME}.IFNode"}, {"widht": 3}, "options must be among width,"),
        ("digits_cnn", {"class_path": f"{HOME}.IFNode"}, {"width": -3}, "options must be accepted"),
        ("cifar_vgg", {"class_path": f"{HOME}.IFNode"}, {"depth": "Z"}, "must be A, B, D or E, got 'Z'"),
    ],
)
def test_networks_refuse(name: str, neuron_spec: Any, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(sentence)):
        build_network(name, neuron_spec, options=options)


def test_arguments_may_stand_beside_the_class_path() -> None:
    """What a dotted option of the command line makes."""
    net = build_network("digits_cnn", {"class_path": f"{HOME}.LIFNode", "tau": 5.0}, options={"width": 2})
    assert {m.tau for m in net.modules() if isinstance(m, neuron.LIFNode)} == {5.0}
