"""Thresholds: constants, buffers, learned parameters; their gradient scale, positivity and state."""

from __future__ import annotations

import math

import pytest
import torch

from spikejelly_pack import SpikePackNode
from spikejelly_pack.functional import spikepack_packed
from spikejelly_pack.neuron.threshold import MIN_THRESHOLD, positive
from spikejelly_pack.spec.errors import ParameterError, ShapeError


def test_a_number_is_a_constant() -> None:
    node = SpikePackNode(4, v_threshold=0.7)
    assert node.state_dict() == {}
    assert node.threshold.item() == torch.tensor(0.7).item()
    node.v_threshold = 2
    assert node.threshold.item() == 2.0
    with pytest.raises(ParameterError, match="v_threshold must be positive and finite, got 0"):
        node.v_threshold = 0


@pytest.mark.parametrize(
    "value", [torch.tensor(0.5), torch.tensor([0.5, 1.0, 2.0]), [0.5, 1.0, 2.0], (1, 2, 3)]
)
def test_a_tensor_is_a_buffer(value: torch.Tensor | list[float]) -> None:
    node = SpikePackNode(4, v_threshold=value, form="packed")
    assert list(node.state_dict()) == ["theta"]
    assert not list(node.parameters())
    other = SpikePackNode(
        4, v_threshold=torch.ones_like(torch.as_tensor(value, dtype=torch.float32)), form="packed"
    )
    other.load_state_dict(node.state_dict())
    assert torch.equal(other.threshold, torch.as_tensor(value, dtype=torch.float32))
    u = torch.rand(4, 3)
    assert torch.equal(other(u), node(u))
    node.v_threshold = 4.0
    assert (node.threshold == 4.0).all()


@pytest.mark.parametrize(
    ("start", "entries", "value"),
    [(0.1, "one number", [1.0, 2.0]), ([1.0, 2.0], "one number or 2", [1.0, 2.0, 3.0])],
)
def test_a_replacement_must_fit(start: float | list[float], entries: str, value: list[float]) -> None:
    node = SpikePackNode(4, v_threshold=start)
    message = f"v_threshold must be {entries} in this node, got {len(value)}; build a node"
    with pytest.raises(ShapeError, match=message):
        node.v_threshold = value
    assert node.threshold.tolist() == torch.tensor(start).tolist()
    node.v_threshold = [3.0]
    assert (node.threshold == 3.0).all()
    node.v_threshold = 0.1  # not rounded to float32 where it is a constant
    assert start != 0.1 or node.v_threshold == 0.1


def test_channels_without_learning_make_a_buffer() -> None:
    node = SpikePackNode(4, v_threshold=0.5, channels=3)
    assert node.theta.tolist() == [0.5] * 3
    assert not list(node.parameters())


def test_thresholds_broadcast_along_channels() -> None:
    theta = torch.tensor([0.5, 1.0, 2.0])
    reference = SpikePackNode(4, form="packed", v_threshold=1.0)
    for shape in ((5, 3), (5, 3, 2), (5, 3, 4, 2)):
        u = torch.rand(shape)
        scale = theta.view((3,) + (1,) * (len(shape) - 2))
        node = SpikePackNode(4, v_threshold=theta, form="packed")
        # Powers of two: dividing by them is exact.
        assert torch.equal(node(u), reference(u / scale))
        node.step_mode = "m"
        assert torch.equal(node(u[None])[0], reference(u / scale))
    last = SpikePackNode(4, v_threshold=theta, form="packed", channel_dim=-1)
    u = torch.rand(5, 7, 3)
    assert torch.equal(last(u), reference(u / theta))
    last.step_mode = "m"
    assert torch.equal(last(u[None])[0], reference(u / theta))


def test_true_learns_per_tensor_or_channel() -> None:
    assert SpikePackNode(learnable_threshold=True).theta.shape == ()
    assert SpikePackNode(learnable_threshold=True, channels=3).theta.shape == (3,)
    assert SpikePackNode(learnable_threshold=True, v_threshold=[1.0, 2.0]).theta.shape == (2,)
    assert SpikePackNode(learnable_threshold="tensor").theta.shape == ()


def test_channels_are_inferred_and_the_optimizer_stays() -> None:
    node = SpikePackNode(4, v_threshold=0.5, learnable_threshold="channel", form="packed")
    optimizer = torch.optim.Adam(node.parameters(), lr=0.1)
    node(torch.rand(4, 3, 2)).sum().backward()
    assert node.channels == 3
    assert node.theta.shape == node.theta.grad.shape == (3,)
    optimizer.step()
    assert (node.threshold != 0.5).all()
    fresh = SpikePackNode(4, learnable_threshold="channel", form="packed")
    fresh.load_state_dict(node.state_dict())
    assert torch.equal(fresh.theta, node.theta)
    assert fresh.channels == 3


@pytest.mark.parametrize("scaled", [False, True])
def test_lsq_gradient_scale(scaled: bool) -> None:
    # n = 2 * 5 elements of one sample share a channel's threshold; Q = 15 at T = 4.
    u = torch.rand(7, 3, 2, 5, dtype=torch.float64) * 1.5
    node = SpikePackNode(4, learnable_threshold="channel", form="packed", scale_output=scaled).double()
    node(u).sum().backward()
    plain = torch.ones(3, dtype=torch.float64, requires_grad=True)
    out, _, _ = spikepack_packed(u, None, plain.view(3, 1, 1), node.params, scale_output=scaled)
    out.sum().backward()
    expected = plain.grad / math.sqrt(2 * 5 * 15)
    assert torch.allclose(node.theta.grad, expected, rtol=8 * torch.finfo(torch.float64).eps, atol=0)


def test_learned_threshold_stays_positive() -> None:
    raw = torch.tensor([1.0, -0.3, 0.0, 1e-9, -1e-9], requires_grad=True)
    theta = positive(raw)
    assert theta.tolist() == pytest.approx([1.0, 0.3, MIN_THRESHOLD, MIN_THRESHOLD, MIN_THRESHOLD])
    assert theta[0].item() == 1.0
    theta.sum().backward()
    assert raw.grad.tolist() == [1.0, -1.0, 1.0, 1.0, -1.0]
    node = SpikePackNode(16, learnable_threshold=True, form="packed")
    optimizer = torch.optim.SGD(node.parameters(), lr=1e3)
    for _ in range(20):
        optimizer.zero_grad()
        node(torch.rand(8, 8)).mean().neg().backward()
        optimizer.step()
        assert node.threshold > 0
        assert node(torch.rand(3)).isfinite().all()


def test_learning_a_threshold_lowers_the_loss() -> None:
    torch.manual_seed(0)
    u = torch.rand(256, 4)
    node = SpikePackNode(3, v_threshold=4.0, learnable_threshold="channel", form="packed", scale_output=True)
    optimizer = torch.optim.Adam(node.parameters(), lr=0.05)
    losses = []
    for _ in range(150):
        optimizer.zero_grad()
        loss = (node(u) - u).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
    assert ((node.threshold > 0.7) & (node.threshold < 1.3)).all()
