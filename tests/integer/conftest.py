"""Random networks whose weights and thresholds an integer form can express exactly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import strategies as st
from spikingjelly.activation_based import layer as sj
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, set_form
from spikejelly_pack.layer.synaptic_scale import SynapticScale

BLOCKS = (
    "conv", "grouped", "depthwise", "residual", "concat", "pool", "strided_pool",
    "max_pool", "upsample", "upsampled_current", "transposed", "joined",
)  # fmt: skip

MAP_BLOCKS = ("max_pool", "upsample", "upsampled_current", "transposed", "joined")


def integers(rng: np.random.Generator, *shape: int) -> Tensor:
    return torch.from_numpy(rng.integers(-8, 9, shape)).double()


class ExactNet(nn.Module):
    """Encoder, blocks and a linear head. In units of one membrane step all weights are small integers.

    Thresholds are odd multiples of it, so that no sum lies on a tie of ``round_half_up``; with ``floor`` a
    quarter of a step in the bias does the same.
    """

    def __init__(self, blocks: list[str], seed: int, options: dict[str, Any]) -> None:
        super().__init__()
        self.rng = np.random.default_rng(seed)
        self.options, self.plan = options, blocks
        self.layers = nn.ModuleDict()
        steps, window = options["input_steps"], options.get("window")
        self.encoder = SpikePackNode(steps, v_threshold=float(2**steps - 1), window=window)
        unit = torch.full((4,), 1 / (2 ** (window or steps) - 1), dtype=torch.float64)
        for index, block in enumerate(blocks):
            unit = self._add(f"{index}", block, unit)
        self.pool = sj.AvgPool2d(3, 2, 1)
        self.flatten = sj.Flatten()
        set_form(self, "packed")
        probe = self.features(torch.zeros(1, 4, 6, 6, dtype=torch.float64))
        features = probe.shape[2] * probe.shape[3]
        self.head = self._layer(
            nn.Linear(features * len(unit), 5),
            unit.repeat_interleave(features),
            9 if options["pooled_head"] else 1,
        )

    def _node(self, channels: int) -> tuple[SpikePackNode, Tensor]:
        steps, window = int(self.rng.choice(self.options["steps"])), self.options.get("window")
        theta = torch.from_numpy(self.rng.integers(0, 15, channels) * 2 + 1).double()
        node = SpikePackNode(
            steps, v_threshold=theta * (2**steps - 1),
            signed=bool(self.rng.integers(2)) and self.options["signed"],
            rounding=self.options["rounding"], scale_output=self.options["scale_output"],
            window=window,
        )  # fmt: skip
        own = torch.full_like(theta, 1 / (2 ** (window or steps) - 1))
        unit = theta if self.options["scale_output"] else own
        return node, unit

    def _layer(self, module: Any, unit: Tensor, area: int = 1) -> nn.Module:
        """Integer weights, divided by what one LSB of their input is worth."""
        groups = getattr(module, "groups", 1)
        weight = integers(self.rng, *module.weight.shape)
        rows = unit.view(groups, 1, -1).expand(groups, len(weight) // groups, -1).reshape(len(weight), -1)
        module.weight = nn.Parameter(weight / rows.view(*rows.shape, *[1] * (weight.dim() - 2)) * area)
        if module.bias is not None:
            shift = 0.25 if self.options["rounding"] == "floor" else 0.0
            module.bias = nn.Parameter(integers(self.rng, len(weight)) + shift)
        return module

    def _transposed(self, unit: Tensor) -> nn.Module:
        """PyTorch keeps the inputs of a transposed convolution first."""
        channels = len(unit)
        groups = 2 if channels % 2 == 0 else 1
        layer = sj.ConvTranspose2d(
            channels, 4 // groups * groups, 3, (1, 2), 1, (0, 1), groups=groups, dilation=1
        )
        weight = integers(self.rng, *layer.weight.shape)
        layer.weight = nn.Parameter(weight / unit[:, None, None, None])
        shift = 0.25 if self.options["rounding"] == "floor" else 0.0
        layer.bias = nn.Parameter(integers(self.rng, layer.out_channels) + shift)
        return layer

    def _add_map(self, name: str, block: str, unit: Tensor) -> Tensor:
        """Blocks on maps: a layer that keeps channels and codes, or one in front of a node."""
        conv = self._layer(nn.Conv2d(len(unit), 4, 3, padding=1), unit)
        if block in ("max_pool", "upsample"):
            keep = sj.MaxPool2d(3, 1, 1) if block == "max_pool" else sj.Upsample(scale_factor=(1, 2))
            node, fresh = self._node(4)
            self.layers[name] = nn.ModuleList([keep, conv, node])
        elif block == "joined":
            node, fresh = self._node(8)
            other = self._layer(nn.Conv2d(len(unit), 4, 1), unit)
            self.layers[name] = nn.ModuleList([conv, other, node])
        else:
            node, fresh = self._node(4)
            first = self._transposed(unit) if block == "transposed" else conv
            second = sj.Upsample(scale_factor=(2, 1)) if block == "upsampled_current" else nn.Identity()
            self.layers[name] = nn.ModuleList([first, second, node])
        return fresh

    def _add(self, name: str, block: str, unit: Tensor) -> Tensor:
        channels = len(unit)
        if block in MAP_BLOCKS:
            return self._add_map(name, block, unit)
        if block.endswith("pool"):
            area = 4 if block == "pool" else 6
            pool = sj.AvgPool2d(2, 1) if block == "pool" else sj.AvgPool2d((3, 2), (2, 1), (1, 1))
            scale = torch.from_numpy(self.rng.integers(1, 5, channels)).double() / unit * area
            node, unit = self._node(channels)
            self.layers[name] = nn.ModuleList([pool, SynapticScale(scale), node])
            return unit
        groups = {"grouped": 2, "depthwise": channels}.get(block, 1)
        wide = channels if block in ("residual", "depthwise") else 4
        reach = 2 if block == "grouped" else 1
        conv = nn.Conv2d(channels, wide, 3, padding=reach, dilation=reach, groups=groups)
        node, fresh = self._node(wide)
        skip = SynapticScale(integers(self.rng, channels) / unit)
        self.layers[name] = nn.ModuleList([self._layer(conv, unit, 1), skip, node])
        return torch.cat([fresh, unit]) if block == "concat" else fresh

    def features(self, x: Tensor) -> Tensor:
        x = self.encoder(x)
        for index, block in enumerate(self.plan):
            first, second, node = self.layers[f"{index}"]
            if block.endswith("pool") or block in MAP_BLOCKS[:-1]:
                x = node(second(first(x)))
            elif block == "joined":
                x = node(torch.cat([first(x), second(x)], dim=1))
            elif block == "residual":
                x = node(first(x) + second(x))
            else:
                y = node(first(x))
                x = torch.cat([y, x], dim=1) if block == "concat" else y
        return self.pool(x) if self.options["pooled_head"] else x

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.flatten(self.features(x)))


@st.composite
def exact_nets(draw: st.DrawFn) -> tuple[nn.Module, Tensor]:
    """A network and codes of its input, as float64 values that the encoder maps to themselves."""
    options = {
        "input_steps": draw(st.integers(1, 5)),
        "window": draw(st.sampled_from([None, 5, 7])),
        "steps": draw(st.lists(st.integers(1, 5), min_size=1, max_size=2)),
        "signed": draw(st.booleans()),
        "rounding": draw(st.sampled_from(["round_half_up", "floor"])),
        "scale_output": draw(st.booleans()),
        "pooled_head": draw(st.booleans()),
    }
    blocks = draw(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=3))
    if options["rounding"] == "floor":  # a pool has no bias to keep its sums off the thresholds
        blocks = [block for block in blocks if block not in ("pool", "strided_pool")] or ["conv"]
    net = ExactNet(blocks, draw(st.integers(0, 2**16)), options)
    codes = net.rng.integers(0, 2 ** options["input_steps"], (3, 4, 6, 6))
    return net.eval(), torch.from_numpy(codes).double()


@pytest.fixture(scope="session", name="exact_nets")
def exact_nets_fixture() -> Callable[[], st.SearchStrategy[tuple[nn.Module, Tensor]]]:
    """Strategy of networks whose integer form is exact, with input codes."""
    return exact_nets


@pytest.fixture(params=BLOCKS)
def unequal_net(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor]:
    """Every block behind channels of unequal T and amplitude."""
    options = {
        "input_steps": 3, "steps": [2, 4], "signed": True, "rounding": "round_half_up", "scale_output": True,
        "pooled_head": True,
    }  # fmt: skip
    net = ExactNet(["concat", request.param, "conv"], 5, options)
    return net.eval(), torch.from_numpy(net.rng.integers(0, 8, (6, 4, 6, 6))).double()
