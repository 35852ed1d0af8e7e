"""Searches and repairs: divergence of logits, bias correction, BatchNorm re-estimation, equalization."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, fx, nn

from spikejelly_pack import SpikePackRecipe
from spikejelly_pack.recipes.calibration.divergence import FACTORS
from spikejelly_pack.recipes.canonical import canonicalize
from spikejelly_pack.recipes.improve import IMPROVERS
from spikejelly_pack.recipes.improve.equalization import equalize
from spikejelly_pack.spec.errors import ParameterError, UnsupportedError


def divergence(source: Tensor, coded: Tensor) -> float:
    """Mean of sum p log(p / q), by numpy."""
    y, z = source.double().numpy(), coded.double().numpy()
    p = np.exp(y) / np.exp(y).sum(1, keepdims=True)
    q = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    return float((p * np.log(p / q)).sum(1).mean())


@pytest.mark.parametrize("time_steps", [1, 2])
def test_divergence_is_no_larger_than_that_of_least_squares(
    time_steps: int, digits_net: nn.Module, digits: Any, convert: Any
) -> None:
    """On calibration data; and every threshold is a tried multiple of the least-squares one, not all by 1."""
    images = digits[0][:256]
    plain = convert(digits_net, images, time_steps=time_steps)
    tuned = convert(digits_net, images[:100], images[100:], time_steps=time_steps, calibrator="divergence")
    with torch.no_grad():
        source = digits_net(images)
        assert divergence(source, tuned(images)) < 0.8 * divergence(source, plain(images))
    ratios = [
        a.threshold[1] / b.threshold[1] for a, b in zip(tuned.report.layers, plain.report.layers, strict=True)
    ]
    assert all(min(abs(ratio - factor) for factor in (1.0, *FACTORS)) < 1e-5 for ratio in ratios)
    assert any(abs(ratio - 1) > 0.05 for ratio in ratios)


def test_divergence_never_ends_above_any_single_step(
    digits_net: nn.Module, digits: Any, convert: Any
) -> None:
    """The first layer's factor is the best of those tried with the others at 1."""
    images = digits[0][:128]
    tuned = convert(digits_net, images, time_steps=2, calibrator="divergence")
    plain = convert(digits_net, images, time_steps=2)
    first = tuned.report.layers[0]
    chosen = first.threshold[1] / plain.report.layers[0].threshold[1]
    found = {}
    with torch.no_grad():
        for factor in (1.0, *FACTORS):
            trial = copy.deepcopy(plain)
            trial.get_submodule(first.path).theta.mul_(factor)
            weight = trial.get_submodule("0").weight
            weight.mul_(factor)  # the amplitude is folded into the layer behind
            found[factor] = divergence(digits_net(images), trial(images))
    assert chosen == pytest.approx(min(found, key=found.__getitem__), rel=1e-5)


def test_divergence_needs_classes(convert: Any) -> None:
    net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
    with pytest.raises(UnsupportedError, match="two classes or more, got shape"):
        convert(net, torch.rand(8, 4), calibrator="divergence")


def outputs_of(net: nn.Module, paths: list[str], x: Tensor) -> dict[str, Tensor]:
    """Outputs of layers, channels first: ``[C, M]``."""
    found: dict[str, Tensor] = {}
    hooks = [
        net.get_submodule(path).register_forward_hook(
            lambda _m, _x, y, path=path: found.__setitem__(path, y.transpose(0, 1).flatten(1))
        )
        for path in paths
    ]
    with torch.no_grad():
        net(x)
    for hook in hooks:
        hook.remove()
    return found


def test_bias_correction_restores_every_mean(make: Any, convert: Any, images: Tensor, tolerance: Any) -> None:
    """Means of every synapse of the finished network against the source's, BatchNorm included."""
    ann = make("residual")
    snn = convert(ann, images[:10], images[10:], time_steps=2, improve=("bias_correction",))
    source = outputs_of(ann, ["bn1", "bn2", "conv3", "fc"], images)
    coded = outputs_of(snn, ["conv1", "conv2", "conv3", "fc"], images)
    plain = outputs_of(convert(ann, images, time_steps=2), ["conv1", "conv2", "conv3", "fc"], images)
    for (wanted, got), before in zip(
        zip(source.values(), coded.values(), strict=True), plain.values(), strict=True
    ):
        bound = tolerance(torch.float64).between(10_000, 10 * float(wanted.abs().max()))
        assert float((wanted.mean(1) - got.mean(1)).abs().max()) <= bound
        assert float((wanted.mean(1) - before.mean(1)).abs().max()) > 1e-4
    assert snn.report.improved == ["bias_correction"]


def test_batchnorm_is_reestimated(make: Any, convert: Any, images: Tensor) -> None:
    """Mean and variance of the normalized synapses are the source's; the others keep their weights."""
    ann = make("residual")
    snn = convert(ann, images, time_steps=2, improve=("batchnorm",))
    plain = convert(ann, images, time_steps=2)
    source = outputs_of(ann, ["bn1", "bn2"], images)
    coded = outputs_of(snn, ["conv1", "conv2"], images)
    for wanted, got in zip(source.values(), coded.values(), strict=True):
        torch.testing.assert_close(wanted.mean(1), got.mean(1), rtol=0, atol=1e-9)
        torch.testing.assert_close(wanted.var(1), got.var(1), rtol=1e-4, atol=0)
    for path in ("conv3", "fc"):
        assert torch.equal(snn.get_submodule(path).weight, plain.get_submodule(path).weight)
    assert not torch.equal(snn.get_submodule("conv1").weight, plain.get_submodule("conv1").weight)


class Chain(nn.Module):
    """Chains of every kind; the last conv is read twice and stays, as does what a ReLU6 follows."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Conv2d(2, 6, 3), nn.Conv2d(6, 6, 3, groups=6, bias=False)
        self.c, self.d = nn.Conv2d(6, 4, 1), nn.ConvTranspose2d(4, 4, 2, groups=2)
        self.e, self.f, self.g = nn.Conv2d(4, 4, 1), nn.Linear(16, 8), nn.Linear(8, 5)
        self.pool = nn.AvgPool2d(2)
        with torch.no_grad():
            for index, layer in enumerate((self.a, self.b, self.c, self.e, self.f)):
                layer.weight.mul_(
                    torch.logspace(-2, 2, len(layer.weight))
                    .roll(index)
                    .view(-1, *[1] * (layer.weight.dim() - 1))
                )

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.b(torch.relu(self.a(x))))
        x = nn.functional.relu6(self.d(torch.relu(self.c(x))))
        x = torch.relu(self.e(x))
        return self.g(torch.relu(self.f(self.pool(x).flatten(1))))


def test_equalization_changes_no_bit_of_the_function() -> None:
    torch.manual_seed(4)
    net = Chain().double().eval()
    x = torch.randn(16, 2, 8, 8, dtype=torch.float64)
    model = canonicalize(fx.symbolic_trace(copy.deepcopy(net)))
    equalize(model)
    with torch.no_grad():
        assert torch.equal(model(x), net(x))
    for path in ("a", "b", "c", "e", "f"):
        before, after = net.get_submodule(path).weight, model.get_submodule(path).weight
        ranges = [weight.detach().abs().flatten(1).amax(1) for weight in (before, after)]
        assert float(ranges[1].max() / ranges[1].min()) < 0.1 * float(ranges[0].max() / ranges[0].min()), path


def test_equalization_helps_one_threshold_per_tensor(convert: Any) -> None:
    torch.manual_seed(4)
    net, x = Chain().eval(), torch.randn(64, 2, 8, 8)
    with torch.no_grad():
        wanted = net(x)
        errors = [
            float((convert(net, x, time_steps=6, channel_wise=False, improve=improve)(x) - wanted).norm())
            for improve in ((), ("equalization",))
        ]
    assert errors[1] < errors[0]


def test_equalization_leaves_skips_alone(make: Any) -> None:
    """A channel that is also read around the second layer is not scaled."""
    net = make("residual")
    model = canonicalize(fx.symbolic_trace(copy.deepcopy(net)))
    equalize(model)
    for path in ("conv1", "conv2"):
        assert torch.equal(model.get_submodule(path).weight, net.get_submodule(path).weight)


def test_improvers_are_checked_and_ordered(make: Any, convert: Any, images: Tensor) -> None:
    for wrong, got in (("bias_correction", "'bias_correction'"), (("bias", "equalization"), r"\['bias'\]")):
        with pytest.raises(ParameterError, match=f"improve must be a tuple of .* got {got}"):
            SpikePackRecipe([images], improve=wrong)  # type: ignore[arg-type]
    snn = convert(make("mlp"), images, improve=tuple(reversed(IMPROVERS)))
    assert snn.report.improved == list(IMPROVERS)
    assert 0 < snn.report.output_error < 1


def test_tied_layers_and_the_source_stay_untouched(convert: Any) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 3)
            self.b.weight = self.a.weight

        def forward(self, x: Tensor) -> Tensor:
            return self.head(torch.relu(self.b(torch.relu(self.a(x)))))

    torch.manual_seed(0)
    net, x = Tied(), torch.rand(64, 6)
    before = copy.deepcopy(net.state_dict())
    with torch.no_grad():
        wanted = net(x)
        got = convert(net, x, time_steps=10, improve=tuple(IMPROVERS))(x)
    assert float((got - wanted).norm() / wanted.norm()) < 0.02
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
