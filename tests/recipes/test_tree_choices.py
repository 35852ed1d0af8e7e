"""Decisions of the module route: T per layer, thresholds by search, repairs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spikejelly_pack import SpikePackNetwork
from spikejelly_pack import convert as convert_any
from spikejelly_pack.recipes.calibration.divergence import FACTORS
from spikejelly_pack.spec.errors import ParameterError, UnsupportedError

CLOSE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-9}


class Soft(nn.Module):
    """Convolutions with BatchNorm and SiLU, a layer called twice, a head: torch.fx has no rule."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(2, 5, 3, padding=1, bias=False), nn.BatchNorm2d(5)
        self.twice, self.after = nn.Conv2d(5, 5, 3, padding=1), nn.BatchNorm2d(5)
        self.head = nn.Linear(5, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(self.norm(self.stem(x)))
        x = F.silu(self.twice(x))
        x = F.silu(self.after(self.twice(x)))
        return self.head(x.mean((2, 3)))


class Boxes(Soft):
    """As many outputs as pass a test on the values: another number with and without codes."""

    def forward(self, x: Tensor) -> Tensor:
        scores = super().forward(x)
        return scores[scores > scores.median()] if bool((scores[0, 0] * 1e6).long() % 2) else scores


def soft(kind: Callable[[], nn.Module] = Soft, seed: int = 3) -> Any:
    torch.manual_seed(seed)
    net = kind()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.get_buffer("running_mean"), 0, 0.3)
            nn.init.uniform_(module.get_buffer("running_var"), 0.5, 2.0)
    return net.double().eval()


def quiet(model: nn.Module, *batches: Any, **options: Any) -> Any:
    return convert_any(model, list(batches), progress=False, route="module", **options)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(12, 2, 6, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(2))


def relative(got: Tensor, wanted: Tensor) -> float:
    return float(((got - wanted).square().sum() / wanted.square().sum()).sqrt())


def outputs_of(net: nn.Module, paths: list[str], x: Tensor) -> dict[str, list[Tensor]]:
    """Outputs of every call of layers, channels first: ``[C, M]``."""
    found: dict[str, list[Tensor]] = {path: [] for path in paths}
    tree: Any = net.model if isinstance(net, SpikePackNetwork) else net
    hooks = [
        tree.get_submodule(path).register_forward_hook(
            lambda _m, _x, y, to=found[path]: to.append(y.transpose(0, 1).flatten(1))
        )
        for path in paths
    ]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return found


def quantized(net: Any, snn: Any, x: Tensor) -> Tensor:
    """The network written out with numpy quantizers of each node's own T and threshold."""

    def code(name: str, values: Tensor) -> Tensor:
        node = snn.nodes[name]
        top = 2**node.time_steps - 1
        lsb = float(node.theta) / top
        low = -top if node.params.signed else 0
        codes = np.sign(values.numpy()) * np.floor(np.abs(values.numpy()) / lsb + 0.5)
        return torch.from_numpy(np.clip(codes, low, top) * lsb)

    x = F.silu(net.norm(net.stem(code("stem:conv2d0:0", x))))
    x = F.silu(net.twice(code("twice:conv2d0:0", x)))
    x = F.silu(net.after(net.twice(code("twice:conv2d1:0", x))))
    return net.head(code("head:linear0:0", x.mean((2, 3))))


@torch.no_grad()
def test_each_node_has_its_own_time_steps(x: Tensor) -> None:
    """Named by module, by place, by what it stands for and by path; thresholds are calibrated for that T."""
    net = soft()
    given = {"*": 7, "stem": 3, "twice:conv2d1": 2, "head:linear0:0": 5}
    snn = quiet(net, x, time_steps=given)
    steps = {entry.stands_for: entry.time_steps for entry in snn.report.layers}
    assert steps == {"stem:conv2d0:0": 3, "twice:conv2d0:0": 7, "twice:conv2d1:0": 2, "head:linear0:0": 5}
    assert [node.time_steps for node in snn.nodes.values()] == list(steps.values())
    assert snn.report.time_steps == snn.plan.time_steps == 7
    torch.testing.assert_close(snn(x), quantized(net, snn, x), **CLOSE)
    assert not torch.allclose(snn(x), net(x), atol=1e-4)
    alone = quiet(net, x, time_steps=2)
    assert float(snn.nodes["twice:conv2d1:0"].theta) == float(alone.nodes["twice:conv2d1:0"].theta)
    path = quiet(net, x, time_steps={"*": 7, "nodes.stem:conv2d0:0": 1, "stem": 3})
    assert path.nodes["stem:conv2d0:0"].time_steps == 1, "the most exact name counts"


def test_unknown_names_are_answered_by_near_ones(x: Tensor) -> None:
    with pytest.raises(ParameterError, match=r"must name nodes .* got \['twise'\]; .*'twice'"):
        quiet(soft(), x, time_steps={"*": 4, "twise": 2})


@pytest.mark.parametrize("bound", [0.2, 0.03])
@torch.no_grad()
def test_auto_keeps_the_bound_and_no_digit_too_many(bound: float, x: Tensor) -> None:
    net = soft()
    snn = quiet(net, x[:5], x[5:], time_steps="auto", error_bound=bound)
    error = relative(snn(x), net(x))
    assert error <= bound
    assert snn.report.output_error == pytest.approx(error, rel=1e-9)
    found = {entry.path: entry.time_steps for entry in snn.report.layers}
    assert snn.report.time_steps == snn.plan.time_steps == max(found.values())
    assert sum(found.values()) < 8 * len(found)
    for path, steps in found.items():
        if steps > 1:
            fewer = quiet(net, x[:5], x[5:], time_steps=found | {"*": 1, path: steps - 1})
            assert relative(fewer(x), net(x)) > bound, path


def test_bias_correction_restores_every_mean(x: Tensor) -> None:
    """Of every call: a layer called twice has two corrections, one without a bias too."""
    net = soft()
    layers = ["stem", "twice", "head"]
    source, plain = outputs_of(net, layers, x), outputs_of(quiet(net, x, time_steps=2), layers, x)
    coded = outputs_of(quiet(net, x[:4], x[4:], time_steps=2, improve=("bias_correction",)), layers, x)
    for path in layers:
        for wanted, before, got in zip(source[path], plain[path], coded[path], strict=True):
            torch.testing.assert_close(got.mean(1), wanted.mean(1), **CLOSE)
            assert float((before.mean(1) - wanted.mean(1)).abs().max()) > 1e-3


def test_batchnorm_is_reestimated(x: Tensor) -> None:
    """Outputs of the BatchNorms have the source's mean and variance; nothing else is corrected."""
    net = soft()
    snn = quiet(net, x[:4], x[4:], time_steps=2, improve=("batchnorm",))
    source, coded = (outputs_of(one, ["norm", "after"], x) for one in (net, snn))
    for path in ("norm", "after"):
        torch.testing.assert_close(coded[path][0].mean(1), source[path][0].mean(1), **CLOSE)
        torch.testing.assert_close(coded[path][0].var(1), source[path][0].var(1), rtol=1e-4, atol=0)
    assert sorted(snn.corrections) == ["after:batch_norm0", "norm:batch_norm0"]
    assert snn.report.improved == ["batchnorm"]
    assert snn.watched == {}


def test_corrections_follow_each_other(x: Tensor) -> None:
    """The second acts on what the first put out; channels on any axis."""
    snn = quiet(soft(), x)
    gain, shift = torch.tensor([2.0, 3.0]), torch.tensor([1.0, -1.0])
    snn.correct("norm:batch_norm0", gain, shift)
    snn.correct("norm:batch_norm0", torch.tensor([10.0, 5.0]), torch.tensor([0.5, 0.25]))
    y = torch.tensor([[1.0, 1.0], [2.0, 4.0]], dtype=torch.float64)
    correction = snn.corrections["norm:batch_norm0"]
    wanted = torch.tensor([[30.5, 10.25], [50.5, 55.25]], dtype=torch.float64)
    assert torch.equal(correction(y, -1), wanted)
    assert torch.equal(correction(y.T, 0), wanted.T)


@torch.no_grad()
def test_improvers_help_and_leave_the_source_alone(x: Tensor) -> None:
    net = soft()
    before = copy.deepcopy(net.state_dict())
    plain = quiet(net, x, time_steps=2)
    better = quiet(net, x, time_steps=2, improve=("bias_correction", "batchnorm"))
    assert better.report.improved == ["batchnorm", "bias_correction"]
    assert relative(better(x), net(x)) < relative(plain(x), net(x))
    assert better.report.output_error == pytest.approx(relative(better(x), net(x)), rel=1e-9)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    better.transparent = True
    torch.testing.assert_close(better(x), net(x), **CLOSE)


@torch.no_grad()
def test_divergence_is_no_larger_than_that_of_least_squares(x: Tensor) -> None:
    net = soft()
    net.head.weight.mul_(20.0)

    def divergence(snn: nn.Module) -> float:
        p, q = (torch.softmax(one(x), 1).numpy() for one in (net, snn))
        return float((p * np.log(p / q)).sum(1).mean())

    plain, tuned = (quiet(net, x, time_steps=1, calibrator=name) for name in ("mse", "divergence"))
    assert divergence(tuned) < divergence(plain)
    ratios = [float(tuned.nodes[name].theta / plain.nodes[name].theta) for name in plain.nodes]
    assert all(min(abs(ratio - factor) for factor in (1.0, *FACTORS)) < 1e-6 for ratio in ratios)
    assert any(abs(ratio - 1) > 0.05 for ratio in ratios)


@torch.no_grad()
@pytest.mark.parametrize("share_calls", [False, True])
def test_files_keep_time_steps_and_corrections(share_calls: bool, x: Tensor, tmp_path: Path) -> None:
    options: dict[str, Any] = {"time_steps": {"*": 5, "stem": 2}, "improve": ("batchnorm", "bias_correction")}
    snn = quiet(soft(), x, **options, share_calls=share_calls)
    snn.save(tmp_path / "net.safetensors")
    rebuilt = SpikePackNetwork.load(soft(seed=9), tmp_path / "net.safetensors")
    assert torch.equal(rebuilt(x), snn(x))
    assert torch.equal(copy.deepcopy(snn)(x), snn(x))
    assert len(snn.corrections) == (5 if share_calls else 6)


def test_outputs_of_varying_size_are_compared_inside(x: Tensor) -> None:
    net, found = soft(Boxes), None
    for seed in range(20):  # a network whose output has another size with codes than without
        net = soft(Boxes, seed)
        snn = quiet(net, x, time_steps=8)
        if snn(x).shape != net(x).shape:
            found = seed
            break
    assert found is not None
    auto: dict[str, Any] = {"time_steps": "auto", "error_bound": 0.1}
    with pytest.raises(UnsupportedError, match=r"same shapes to be compared, got .* by compare="):
        quiet(net, x, **auto)
    snn = convert_any(net, [x], progress=False, compare=("head",), **auto)
    assert snn.report.reason == "compare given"
    (wanted,), (got,) = (outputs_of(one, ["head"], x)["head"] for one in (net, snn))
    assert snn.report.output_error == pytest.approx(relative(got, wanted), rel=1e-9)
    with pytest.raises(ParameterError, match=r"compare must name modules of the network, got \['tail'\]"):
        quiet(net, x, compare=("tail",))
    with pytest.raises(ParameterError, match=r"compare must be a tuple of names, got 'head'"):
        quiet(net, x, compare="head")


def test_what_needs_a_graph_is_refused(x: Tensor) -> None:
    with pytest.raises(UnsupportedError, match=r"must do without \['equalization'\], which rewrites a graph"):
        quiet(soft(), x, improve=("equalization", "bias_correction"))
    with pytest.raises(ParameterError, match="must yield its batches again for a search or an improver"):
        convert_any(soft(), iter([x]), route="module", improve=("bias_correction",))
    with pytest.raises(ParameterError, match="error_bound must be at least"):
        quiet(soft(), x, time_steps="auto", error_bound=1e-7)


@torch.no_grad()
def test_own_forward_drives_the_searches(x: Tensor) -> None:
    """Batches that only ``forward`` can pass, in calibration and in every trial."""
    net = soft()

    def forward(model: Any, batch: dict[str, Tensor]) -> Tensor:
        return model(batch["a"] + batch["b"])

    snn = quiet(net, {"a": x * 0.5, "b": x * 0.5}, forward=forward, time_steps="auto", error_bound=0.1)
    same = quiet(net, x, time_steps="auto", error_bound=0.1)
    assert [e.time_steps for e in snn.report.layers] == [e.time_steps for e in same.report.layers]


@torch.no_grad()
def test_fx_route_takes_the_same_options(x: Tensor) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).double().eval()
    snn: Any = convert_any(
        net, [x], "auto", error_bound=0.05, improve=("equalization", "bias_correction"),
        calibrator="divergence", progress=False,
    )  # fmt: skip
    assert snn.report.route == "fx"
    assert snn.report.improved == ["equalization", "bias_correction"]
    assert snn.report.output_error == pytest.approx(relative(snn(x), net(x)), rel=1e-6)


def test_weights_made_from_data_have_no_bias_to_correct(x: Tensor) -> None:
    class Made(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.norm = nn.Linear(6, 6), nn.LayerNorm(6)

        def forward(self, x: Tensor) -> Tensor:
            y = self.norm(self.a(x))
            return F.linear(y, y.T @ y)

    snn = quiet(soft(Made), x[:, 0, 0], time_steps=2, improve=("bias_correction",))
    assert list(snn.corrections) == ["a:linear0"]
