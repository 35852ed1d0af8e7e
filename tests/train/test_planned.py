"""A plan for a network that is trained: applied, trained on, stored and rebuilt."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikejelly_pack import cli
from spikejelly_pack.bit_budget.plan import BudgetPlan, Planner, write_plan
from spikejelly_pack.bit_budget.quantize import quantized_layers
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.spec.execute import encode, outputs, run_packed, run_serial_multi_step
from spikejelly_pack.train import Classifier, build_network, load_network, save_network, train_epochs
from spikejelly_pack.train.loop import materialize
from spikejelly_pack.train.module import DirectTraining
from spikejelly_pack.train.planned import planned

OPTIONS = {"width": 4, "encode": True}


def network() -> Classifier:
    torch.manual_seed(0)
    net = build_network("digits_cnn", time_steps=4, options=OPTIONS)
    materialize(net, images(2))
    return net.eval()


def images(samples: int) -> torch.Tensor:
    return torch.rand(samples, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def plan() -> BudgetPlan:
    planner = Planner(network(), [images(16)], steps=(1, 2, 4), bits=(2, 6), progress=False)
    return planner.plan(0.5 * planner.search.cost(planner.search.same(2, 1)))


def test_training_applies_the_plan(plan: BudgetPlan, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "plan.json")
    net = DirectTraining(network_args=OPTIONS, plan=str(tmp_path / "plan.json")).network
    steps = {p: m.time_steps for p, m in net.named_modules() if isinstance(m, SpikePackNode)}
    assert steps.items() >= plan.time_steps.items()
    assert {path: q.bits for path, q in quantized_layers(net).items()} == plan.weight_bits

    classes = torch.arange(64) % 4
    history = train_epochs(net, images(64), classes, epochs=3, batch=16, progress=False)
    assert history.loss[-1] < history.loss[0]
    save_network(net, tmp_path / "net.safetensors")
    again = load_network(tmp_path / "net.safetensors")
    with torch.no_grad():
        assert torch.equal(again(images(9)), net.eval()(images(9)))
    assert {path: q.bits for path, q in quantized_layers(again).items()} == plan.weight_bits


def test_plan_of_another_network(plan: BudgetPlan, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "plan.json")
    with pytest.raises(ParameterError, match="must have the nodes and layers the plan was made for"):
        DirectTraining(network_args={"width": 6, "encode": True}, plan=str(tmp_path / "plan.json"))


@pytest.fixture
def mixed(plan: BudgetPlan) -> BudgetPlan:
    """Every node another T, the skip connection's too."""
    given = zip(plan.time_steps, (2, 3, 1, 6, 5, 4), strict=False)
    return dataclasses.replace(plan, time_steps=dict(given))


def active(plan: BudgetPlan) -> Classifier:
    """A planned network with running statistics of its data, so that all nodes fire."""
    net = planned(network(), plan)
    train_epochs(net, images(64), torch.arange(64) % 4, epochs=8, batch=16, progress=False)
    return net.eval()


def test_nodes_of_different_time_steps_run_serial(mixed: BudgetPlan, tmp_path: Path) -> None:
    net = active(mixed).double()
    x = images(9).double()
    fired: list[int] = []
    for module in net.modules():
        if isinstance(module, SpikePackNode):
            module.register_forward_hook(lambda _module, _args, out: fired.append(out.unique().numel()))
    integers = {p: q.integers(_original(net, p))[0] for p, q in quantized_layers(net).items()}
    with torch.no_grad():
        packed = net(x)
        assert len(fired) == 5
        assert min(fired) > 1  # every node has something to pass on
        serial = net.set_form("serial")(x)
        assert net.time_steps == max(mixed.time_steps.values())
        torch.testing.assert_close(serial, packed, rtol=0, atol=1e-12)
        torch.testing.assert_close(net.set_form("packed")(x), packed, rtol=0, atol=1e-12)
    for path, quantizer in quantized_layers(net).items():
        assert torch.equal(quantizer.integers(_original(net, path))[0], integers[path]), path

    save_network(net, tmp_path / "net.safetensors")  # the joined windows are remembered
    again = load_network(tmp_path / "net.safetensors").double()
    with torch.no_grad():
        torch.testing.assert_close(again(x), packed, rtol=0, atol=1e-5)  # files hold float32 scales
        torch.testing.assert_close(
            again.set_form("serial")(x), again.set_form("packed")(x), rtol=0, atol=1e-12
        )


def _original(net: torch.nn.Module, path: str) -> torch.Tensor:
    chain: Any = net.get_submodule(path).parametrizations
    return chain["weight"].original


@pytest.mark.parametrize("joined", [False, True])
def test_nodes_of_different_time_steps_export(mixed: BudgetPlan, tmp_path: Path, joined: bool) -> None:
    net = active(mixed)
    if joined:
        net.set_form("serial")
    save_network(net, tmp_path / "net.safetensors")
    np.save(tmp_path / "x.npy", images(20).numpy())
    assert cli.main([
        "export", str(tmp_path / "net.safetensors"), "--data", str(tmp_path / "x.npy"), "--out",
        str(tmp_path / "net.spk"),
    ]) == 0  # fmt: skip
    found = exchange.load(tmp_path / "net.spk")
    assert found.time_steps == max(mixed.time_steps.values())
    assert [op.time_steps for op in (*found.inputs, *found.neurons)] == list(mixed.time_steps.values())
    codes = encode(found.inputs[0], images(20).numpy())
    packed, serial = run_packed(found, codes), run_serial_multi_step(found, codes)
    for name, value in outputs(found, packed).items():
        assert np.array_equal(value, outputs(found, serial)[name])
    with torch.no_grad():
        expected = load_network(tmp_path / "net.safetensors")(images(20)).numpy()
    (logits,) = outputs(found, packed).values()
    scale = np.abs(expected).max()
    assert np.abs(logits - expected).max() < 0.1 * scale


def test_export_applies_a_plan_to_a_trained_network(
    plan: BudgetPlan, mixed: BudgetPlan, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_plan(mixed, tmp_path / "plan.json")
    save_network(network(), tmp_path / "net.safetensors")
    save_network(planned(network(), plan), tmp_path / "planned.safetensors")
    command = ["--data", "digits", "--plan", str(tmp_path / "plan.json"), "--out", str(tmp_path / "net.spk")]
    assert cli.main(["export", str(tmp_path / "net.safetensors"), *command]) == 0
    found = exchange.load(tmp_path / "net.spk")
    assert [op.time_steps for op in (*found.inputs, *found.neurons)] == list(mixed.time_steps.values())
    capsys.readouterr()
    assert cli.main(["export", str(tmp_path / "planned.safetensors"), *command]) == 2
    assert "trained without a plan, got one whose file holds its own" in capsys.readouterr().err
