"""Plans: measured, allocated, applied; against the networks they stand for and against brute force."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn

from spikejelly_pack.bit_budget import measure
from spikejelly_pack.bit_budget.plan import (
    BudgetPlan,
    Planner,
    apply_plan,
    convert_with_plan,
    fingerprint,
    read_plan,
    write_plan,
)
from spikejelly_pack.bit_budget.plan.bank import set_time_steps
from spikejelly_pack.bit_budget.plan.planner import Checked
from spikejelly_pack.bit_budget.quantize import quantize_weights, quantized_layers
from spikejelly_pack.integer import build_integer
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.recipes import convert, finetune
from spikejelly_pack.recipes.finetune import distillation
from spikejelly_pack.spec.errors import DtypeError, ExchangeFileError, ParameterError, UnsupportedError


class Net(nn.Module):
    """A skip connection and a concatenation: two codes meet in the last layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.inner = nn.Conv2d(4, 4, 3, padding=1)
        self.side = nn.Conv2d(1, 2, 3, padding=1)
        self.head = nn.Linear(6 * 16, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.stem(x))
        y = torch.relu(self.inner(y) + y)
        z = torch.relu(self.side(x))
        return self.head(torch.flatten(torch.cat([y, z], 1), 1))


def data(seed: int = 0, samples: int = 24) -> Tensor:
    return torch.rand(samples, 1, 4, 4, generator=torch.Generator().manual_seed(seed))


def model(seed: int = 3) -> nn.Module:
    torch.manual_seed(seed)
    net = Net()
    with torch.no_grad():
        net.head.weight.mul_(4)
    return net.eval()


def planner(**options: Any) -> Planner:
    wanted = {"steps": (1, 2, 4), "bits": (1, 3, 6), "progress": False, "channel_wise": True, **options}
    return Planner(model(), [data()], **wanted)


@pytest.fixture(scope="module")
def shared() -> Planner:
    return planner(held_out=[data(9)])


MACS = {"stem": 16 * 4 * 9, "inner": 16 * 4 * 4 * 9, "side": 16 * 2 * 9, "head": 96 * 3}


def s_ace_by_hand(steps: dict[str, int], bits: dict[str, int]) -> int:
    """The sum of n T b_w: which node each layer reads is known here."""
    encoder = next(path for path in steps if path.startswith("encoder"))
    stem, joined = "relu_node", "relu_1_node"
    read = {"stem": encoder, "side": encoder, "inner": stem, "head": joined}
    return sum(MACS[layer] * steps[node] * bits[layer] for layer, node in read.items())


def test_structure(shared: Planner) -> None:
    groups = [set(group.nodes) for group in shared.structure.groups]
    assert {"relu_1_node", "relu_2_node"} in groups  # they meet in the head
    assert len(groups) == 3
    assert {place.path: place.macs for place in shared.structure.layers} == MACS
    assert shared.route == "fx"


def test_cost_is_s_ace(shared: Planner) -> None:
    for steps, bits in itertools.product(range(3), range(3)):
        plan = shared.uniform_plan(
            next(u for u in shared.search.uniform() if (u.time_steps, u.weight_bits)
                 == (shared.steps[steps], shared.bits[bits])), 1e9,
        )  # fmt: skip
        assert plan.cost == s_ace_by_hand(plan.time_steps, plan.weight_bits)
    plan = shared.plan(40_000)
    assert plan.cost == s_ace_by_hand(plan.time_steps, plan.weight_bits) <= 40_000
    report = measure(shared.network(plan), data()[:4])
    assert report.s_ace == plan.cost


@pytest.fixture(scope="module")
def double() -> Planner:
    """In float64 no code lies within rounding of a threshold, so that networks can be compared by value."""
    return Planner(model().double(), [data().double()], steps=(1, 2, 4), bits=(1, 3, 6), progress=False)


def test_trial_is_the_network_that_convert_makes(double: Planner, tolerance: Callable[..., Any]) -> None:
    """Mixed T and widths; one threshold per node, so that the grids of the weights agree too."""
    choices = [((0, 2, 1), (2, 1, 0, 2)), ((2, 1, 0), (0, 2, 2, 1)), ((1, 1, 1), (1, 1, 1, 1))]
    x = data(4).double()
    for steps, widths in choices:
        found = dataclasses.replace(double.find(1e9), choice=(steps, widths))
        plan = double.as_plan(found, 1e9, None)
        real = convert(model().double(), [data().double()], plan.steps_by_name, progress=False)
        quantize_weights(real, plan.weight_bits)
        with torch.no_grad():
            got, wanted = double.trial.set((steps, widths))(x), real(x)
        terms = float(wanted.abs().max()) * 100
        assert float((got - wanted).abs().max()) <= tolerance(torch.float64).between(500, terms)
        assert len(set(plan.time_steps.values())) == len(set(steps))


def test_loss_is_the_divergence_of_the_real_network(double: Planner, tolerance: Callable[..., Any]) -> None:
    teacher, x = model().double(), data().double()
    for one in double.search.uniform():
        net = convert(teacher, [x], one.time_steps, progress=False)
        quantize_weights(net, one.weight_bits)
        with torch.no_grad():
            real = float(distillation(net(x), teacher(x)))
        assert abs(one.loss - real) <= tolerance(torch.float64).between(2000, 100.0)


def test_plans_are_never_worse_than_uniform(shared: Planner) -> None:
    for budget in (5_000, 12_000, 30_000, 80_000):
        plan = shared.plan(budget)
        assert plan.cost <= budget
        assert plan.uniform is not None
        real = shared._checked(shared.uniform_plan(shared.uniform(budget), budget))  # type: ignore[arg-type]
        assert plan.loss["planned"] <= real.loss
        assert plan.loss["held_out"] > 0


def test_uniform_takes_part(shared: Planner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Should the program, or the real network of its choice, do worse, the uniform choice is the plan."""
    budget = 30_000
    best = shared.uniform(budget)
    assert best is not None
    with monkeypatch.context() as patch:
        cheapest = shared.search.same(0, 0)
        bad = dataclasses.replace(shared.find(budget), choice=cheapest, loss=1e9)
        patch.setattr(shared.search, "_solved", lambda *_: bad)
        assert shared.search.plan(budget).loss == best.loss
    uniform = shared.uniform_plan(best, budget)

    def checked(plan: BudgetPlan) -> Checked:
        same = (plan.time_steps, plan.weight_bits) == (uniform.time_steps, uniform.weight_bits)
        return Checked(1.0 if same else 2.0, None, 1.0)

    monkeypatch.setattr(shared, "_checked", checked)
    plan = shared.plan(budget)
    assert (plan.time_steps, plan.weight_bits) == (uniform.time_steps, uniform.weight_bits)
    assert plan.loss["planned"] == 1.0


def test_search_against_every_choice() -> None:
    """Small enough to try everything: the plan is within the best tenth of what fits."""
    found = planner(steps=(1, 3), bits=(2, 5))
    groups, layers = len(found.structure.groups), len(found.structure.layers)
    budget = 0.5 * found.search.cost(found.search.same(1, 1))
    losses = sorted(
        found.search.loss((t, b))
        for t in itertools.product(range(2), repeat=groups)
        for b in itertools.product(range(2), repeat=layers)
        if found.search.cost((t, b)) <= budget
    )
    assert len(losses) > 20
    assert found.find(budget).loss <= losses[len(losses) // 10]


def test_more_budget_is_never_worse(shared: Planner) -> None:
    losses = [point["loss"] for point in shared.pareto([4_000, 20_000, 100_000])]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("resource", ["memory", "energy"])
def test_other_resources(resource: str) -> None:
    found = planner(resource=resource, steps=(1, 2, 4), bits=(2, 6))
    least = found.search.smallest
    most = found.search.cost(found.search.same(2, 1))
    budget = (least + most) / 2
    plan = found.plan(budget)
    assert least <= plan.cost <= budget < most
    if resource == "memory":
        weights = {"stem": 36, "inner": 144, "side": 18, "head": 288}
        values = {"encoder": 16, "relu_n": 64, "relu_1": 64, "relu_2": 32}
        held = sum(n * plan.weight_bits[path] for path, n in weights.items())
        held += sum(n * plan.time_steps[path] for path in plan.time_steps for key, n in values.items()
                    if path.startswith(key))  # fmt: skip
        assert plan.cost == held


def test_module_route() -> None:
    found = planner(route="module", steps=(2, 4), bits=(3, 6), channel_wise=False)
    plan = found.plan(0.6 * found.search.cost(found.search.same(1, 1)))
    assert found.route == plan.route == "module"
    net = found.network(plan)
    assert set(quantized_layers(net)) == {f"model.{path}" for path in MACS}
    assert measure(net, data()[:4]).s_ace == plan.cost


def test_network_of_nodes() -> None:
    """Trained directly: no conversion, T is set in place, then it is trained on."""
    torch.manual_seed(0)
    net = nn.Sequential(
        SpikePackNode(4, form="packed"), sj.Conv2d(1, 4, 3), SpikePackNode(4, form="packed"), sj.Flatten(),
        sj.Linear(16, 3),
    )  # fmt: skip
    found = Planner(net, [data()], steps=(1, 2, 4), bits=(2, 8), progress=False)
    plan = found.plan(0.4 * found.search.cost(found.search.same(2, 1)))
    assert plan.route == "spiking"
    applied = apply_plan(net, plan, training=True)
    assert applied is net
    assert {path: net.get_submodule(path).time_steps for path in plan.time_steps} == plan.time_steps
    assert {path: q.bits for path, q in quantized_layers(net).items()} == plan.weight_bits
    loss = net(data()).square().sum()
    loss.backward()
    assert all(q.scale.grad is not None for q in quantized_layers(net).values())


def test_the_plan_trains_and_exports(shared: Planner) -> None:
    plan = shared.plan(20_000)
    net = convert_with_plan(model(), [data()], plan, training=True, progress=False)
    history = finetune(net, [data()], teacher=model(), epochs=15, progress=False)
    assert history[-1].loss < history[0].loss
    network = build_integer(net, data()[:2])
    assert {op.name: op.time_steps for op in (*network.inputs, *network.neurons)} == plan.time_steps


# -- files ------------------------------------------------------------------------------------------


def test_file_round_trip(shared: Planner, tmp_path: Path) -> None:
    plan = shared.plan(20_000)
    write_plan(plan, tmp_path / "plan.json")
    assert read_plan(tmp_path / "plan.json") == plan
    net = convert_with_plan(model(), [data()], read_plan(tmp_path / "plan.json"), progress=False)
    x = data(8)
    with torch.no_grad():
        assert torch.equal(net(x), shared.network(plan)(x))


def test_fingerprint_knows_names_and_shapes() -> None:
    quantized = model()
    quantize_weights(quantized, 4)
    assert fingerprint(quantized) == fingerprint(model()) == fingerprint(model(seed=8))
    other = model()
    other.head = nn.Linear(96, 4)
    assert fingerprint(other) != fingerprint(model())


def test_plan_for_another_model(shared: Planner) -> None:
    plan = shared.plan(20_000)
    other = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    with pytest.raises(ParameterError, match=r"must be applied to the network it was made for, 'Net', got a"):
        convert_with_plan(other, [data()], plan)
    snn = convert(other, [data()], 2, progress=False)
    with pytest.raises(ParameterError, match=r"must have the nodes and layers the plan was made for"):
        apply_plan(snn, plan)
    wider = model()
    wider.head = nn.Linear(96, 5)
    snn = convert(wider, [data()], plan.steps_by_name, progress=False)
    with pytest.raises(ParameterError, match=r"got none that fits 'head' and 0 more; make a plan for it"):
        apply_plan(snn, plan)
    same = convert(model(), [data()], 8, progress=False)
    with pytest.raises(ParameterError, match=r"must have T = \d, got 8, which its threshold is calibrated"):
        apply_plan(same, plan)


def test_unreachable_budget(shared: Planner) -> None:
    least = sum(MACS.values())  # one digit, one bit
    with pytest.raises(
        ParameterError, match=f"budget must be at least {least}, .* got {least - 1}; raise it"
    ):
        shared.plan(least - 1)
    assert shared.plan(least).cost == least


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": (0, 4)}, r"weight bits must be an integer in 1\.\.16, got 0"),
        ({"bits": (17,)}, r"weight bits must be an integer in 1\.\.16, got 17"),
        ({"steps": (0,)}, r"time_steps must be an integer in 1\.\.16, got 0"),
        ({"steps": ()}, "time steps must offer at least one value"),
        ({"resource": "money"}, "resource must be 'sace' or 'memory' or 'energy', got 'money'"),
        ({"loss": "none"}, "loss must be 'divergence' or 'error'"),
    ],
)
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        planner(**options)


def test_no_data_and_nothing_to_plan() -> None:
    with pytest.raises(DtypeError, match="must hold at least one batch"):
        Planner(model(), [])
    alone = nn.Sequential(sj.Linear(4, 4), SpikePackNode(2, form="packed"))
    with pytest.raises(UnsupportedError, match="must hold SpikePack nodes that synapses read"):
        Planner(alone, [torch.rand(3, 4)], progress=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "must be of version 1, got 2"),
        ({"format": "other"}, "must be written by spikepack budget plan"),
        ({"surprise": 1}, "must be written by spikepack budget plan, got TypeError"),
        ({"time_steps": {"relu_node": 17}}, r"time_steps must be an integer in 1\.\.16, got 17"),
        ({"weight_bits": {"stem": 0}}, r"weight bits must be an integer in 1\.\.16, got 0"),
        ({"route": "road"}, "route 'road'"),
    ],
)
def test_damaged_files(shared: Planner, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "plan.json"
    write_plan(shared.plan(20_000), path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ExchangeFileError, match=message):
        read_plan(path)


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(ExchangeFileError, match="must be a plan file that exists"):
        read_plan(tmp_path / "none.json")
    (tmp_path / "half.json").write_text('{"format": "spikepack-plan", ')
    with pytest.raises(ExchangeFileError, match="must be written by spikepack budget plan"):
        read_plan(tmp_path / "half.json")


def test_plan_is_readable_as_json(shared: Planner, tmp_path: Path) -> None:
    write_plan(shared.plan(20_000), tmp_path / "plan.json")
    content = json.loads((tmp_path / "plan.json").read_text())
    assert content["format"] == "spikepack-plan"
    assert BudgetPlan(**{k: v for k, v in content.items() if k not in ("format", "version")}).model == "Net"


def test_nodes_in_longer_windows_are_refused() -> None:
    node = SpikePackNode(2, window=4, form="packed")
    with pytest.raises(ParameterError, match="T = 2 in a window of 4"):
        set_time_steps(node, 3)
    assert (node.time_steps, node.window) == (2, 4)
