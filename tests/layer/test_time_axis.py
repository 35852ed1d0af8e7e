"""Layers that need the time axis: what adapt does where a container or a forward hides it from them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from spikingjelly.activation_based import functional, layer
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, adapt, decode_output, set_form

T = 4


class Block(nn.Module):
    """A residual branch with an activation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        return x + self.act(self.conv(x))


class Folding(nn.Module):
    """A forward that folds time into the batch around one layer, in one of the usual ways."""

    def __init__(self, member: nn.Module, how: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.head = nn.Sequential(layer.Conv2d(2, 4, 3, padding=1), SpikePackNode(T))
        self.member, self.how = member, how
        self.tail = nn.Sequential(layer.Conv2d(4, 4, 1), SpikePackNode(T), layer.Flatten())

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(self.how(self.member, self.head(x)))


def behind_a_node(*members: nn.Module) -> nn.Module:
    return nn.Sequential(layer.Conv2d(2, 4, 3, padding=1), SpikePackNode(T), *members, layer.Flatten())


def forms_apart(net: nn.Module) -> float:
    """Largest difference of the decoded serial and the packed output on three samples."""
    functional.set_step_mode(net, "m")
    x = torch.rand(3, 2, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        serial = decode_output(net(x.repeat(T, 1, 1, 1, 1)), T)[0]
        functional.reset_net(net)
        packed = set_form(net, "packed")(x[None])[0]
    return float((serial - packed).abs().max())


def built(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build().eval()


@pytest.mark.parametrize(
    "members",
    [
        lambda: [nn.MaxPool2d(2)],
        lambda: [nn.Conv2d(4, 4, 1), nn.GELU(), nn.AvgPool2d(2)],
        lambda: [nn.AdaptiveMaxPool2d(2), nn.Softmax(1)],
        lambda: [
            nn.Sequential(nn.Conv2d(4, 4, 1), nn.Sequential(nn.MaxPool2d(2), nn.ReLU())),
            nn.BatchNorm2d(4),
        ],
    ],
)
def test_a_container_of_a_sequence_shows_it_to_exact_members(members: Callable[[], list[nn.Module]]) -> None:
    net = built(lambda: behind_a_node(layer.SeqToANNContainer(*members())))
    keys = list(net.state_dict())
    report = adapt(net)
    assert report.exact
    assert report.replaced
    assert list(net.state_dict()) == keys
    assert forms_apart(net) < 1e-6
    assert adapt(set_form(net, "serial")).exact


@pytest.mark.parametrize(
    "container",
    [
        lambda: layer.SeqToANNContainer(Block()),
        lambda: layer.SeqToANNContainer(nn.Conv2d(4, 4, 1), SpikePackNode(T)),
        lambda: layer.SeqToANNContainer(nn.Sequential(SpikePackNode(T), nn.Identity())),
        lambda: layer.StepModeContainer(False, "s", nn.MaxPool2d(2)),
        lambda: layer.StepModeContainer(True, "m", nn.Sequential(nn.Conv2d(4, 4, 1), nn.GELU())),
        lambda: layer.MultiStepContainer(nn.Conv2d(4, 4, 1), nn.MaxPool2d(2)),
    ],
)
def test_a_member_that_does_not_see_time_is_named(container: Callable[[], nn.Module]) -> None:
    net = built(lambda: behind_a_node(container()))
    report = adapt(net)
    assert not report.exact
    assert report.named[0].name.startswith("2")
    assert "time axis" in report.named[0].reason
    assert "Sequential" in report.named[0].remedy
    assert forms_apart(net) > 1e-3  # and rightly so; it still runs


@pytest.mark.parametrize(
    "how",
    [
        lambda member, x: functional.seq_to_ann_forward(x, member),
        lambda member, x: member(x.flatten(0, 1)).unflatten(0, x.shape[:2]),
        lambda member, x: member(x.reshape(x.shape[0] * x.shape[1], 4, 8, 8)).view(
            x.shape[0], x.shape[1], 4, 4, 4
        ),
        lambda member, x: member(x.reshape(-1, 4, 8, 8)).view(x.shape[0], x.shape[1], 4, 4, 4),
    ],
)
def test_a_forward_that_folds_time_into_the_batch_is_named(how: Callable[..., Tensor]) -> None:
    net = built(lambda: Folding(nn.MaxPool2d(2), how))
    report = adapt(net)
    assert [(finding.name, "time axis" in finding.reason) for finding in report.named] == [("member", True)]
    assert "layer." in report.named[0].remedy
    affine = built(lambda: Folding(nn.AvgPool2d(2), how))
    assert adapt(affine).exact
    assert forms_apart(affine) < 1e-6


def test_a_pool_behind_a_moved_time_axis_is_named() -> None:
    net = built(
        lambda: Folding(layer.MaxPool2d(2), lambda member, x: member(x.transpose(0, 1)).transpose(0, 1))
    )
    assert [finding.name for finding in adapt(net).named] == ["member"]


def test_a_node_behind_a_folded_time_axis_is_named() -> None:
    net = built(lambda: Folding(nn.Identity(), lambda member, x: member(x).flatten(0, 1)))
    assert [finding.name for finding in adapt(net).named] == ["tail.1"]


@pytest.mark.parametrize(
    "how",
    [
        lambda member, x: member(x.flatten(3).transpose(-1, -2).permute(0, 1, 3, 2).reshape(x.shape)),
        lambda member, x: member(x.transpose(0, 1).transpose(0, 1)),
        lambda member, x: member(torch.stack([x, x]).movedim(0, 1)[:, 0]),
        lambda member, x: member(torch.stack([x, x])[0]),
        lambda member, x: member(x.unsqueeze(0).squeeze(0)),
        lambda member, x: member(torch.cat(x.chunk(2, 2), 2)),
        lambda member, x: member(x.flatten(0, 1).view(x.shape[0], x.shape[1], 4, 8, 8)),
    ],
)
def test_a_time_axis_that_comes_back_is_followed(how: Callable[..., Tensor]) -> None:
    net = built(lambda: Folding(nn.MaxPool2d(2), how))
    assert adapt(net).exact
    assert forms_apart(net) < 1e-6
