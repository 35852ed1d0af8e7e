"""Exact max-pooling of codes, of windows of digits and of one digit at a time, against torch's."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from cupy_kernels import launcher
from cupy_kernels.launcher import PoolGeometry
from spikejelly_pack import SpikePackNode, functional
from spikejelly_pack.layer import SpikePackMaxPool2d

GEOMETRIES = (
    PoolGeometry((2, 2), (2, 2)),
    PoolGeometry((3, 3), (2, 2), (1, 1)),
    PoolGeometry((3, 2), (1, 2), (1, 0), (2, 1)),
    PoolGeometry((7, 7), (3, 3), (3, 3)),
)


@dataclass(frozen=True)
class Pool:
    """One pooling of one image batch in its three forms."""

    time_steps: int
    signed: bool
    dtype: torch.dtype
    last: bool
    ceil: bool
    geometry: PoolGeometry
    nan: bool

    def __str__(self) -> str:
        g = self.geometry
        return (
            f"T{self.time_steps}{'-signed' * self.signed}-{self.dtype}{'-last' * self.last}"
            f"{'-ceil' * self.ceil}-k{g.kernel_size}-s{g.stride}-{g.padding}-{g.dilation}{'-nan' * self.nan}"
        )

    def layout(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.movedim(-3, -1).contiguous().movedim(-1, -3) if self.last else tensor.contiguous()

    def codes(self) -> torch.Tensor:
        """Few levels, so that many taps are tied."""
        generator = torch.Generator().manual_seed(self.time_steps)
        limit = (1 << self.time_steps) - 1
        low = -limit if self.signed else 0
        codes = torch.randint(low, limit + 1, (3, 4, 13, 11), generator=generator)
        return torch.where(
            torch.rand(codes.shape, generator=generator) < 0.4, codes.clamp(max=limit // 2), codes
        )

    def pooled(self, values: torch.Tensor) -> torch.Tensor:
        g = self.geometry
        return F.max_pool2d(values, g.kernel_size, g.stride, g.padding, g.dilation, self.ceil)

    def digits(self, codes: torch.Tensor) -> torch.Tensor:
        """Two windows of digits, the second one's codes reversed; perhaps some NaN."""
        both = [functional.unpack(c.to(torch.int32), self.time_steps) for c in (codes, codes.flip(-1))]
        train = torch.stack(both).to(self.dtype)
        if self.nan:
            train[:, :, 1, 2, 3:5, 6] = float("nan")
        return train

    def __call__(self, machine: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        codes = self.codes()
        words = self.layout(codes.to(functional.code_dtype(self.time_steps, self.signed)))
        expected = self.layout(self.pooled(codes.double()).to(words.dtype))
        pooled = machine.out(expected)
        launcher.pool_codes(machine.queue, machine.put(words), pooled, self.geometry)
        train = self.digits(codes)
        reference = self.reference(train)
        out = machine.out(self.layout(reference))
        launcher.pool_digits(machine.queue, machine.put(self.layout(train)), out, self.geometry)
        pairs = {"codes": (pooled, expected), "digits": (out, reference)}
        alive = machine.out(
            torch.empty(self.geometry.alive_words, reference[0, 0].numel(), dtype=torch.int32)
        )
        for window in range(2):
            for t in range(self.time_steps):
                digit = machine.out(self.layout(reference[window, t]))
                current = machine.put(self.layout(train[window, t]))
                launcher.pool_step(machine.queue, current, digit, alive, self.geometry, first=t == 0)
                pairs[f"step {window} {t}"] = (digit, reference[window, t])
        return pairs

    def reference(self, train: torch.Tensor) -> torch.Tensor:
        """The torch layer, one digit at a time, which keeps a mask of what is tied."""
        g = self.geometry
        layer = SpikePackMaxPool2d(
            g.kernel_size, g.stride, g.padding, g.dilation, ceil_mode=self.ceil, time_steps=self.time_steps
        )
        steps = [layer(x) for x in train.float().flatten(0, 1)]
        return torch.stack(steps).unflatten(0, (2, self.time_steps)).to(self.dtype)


def sample() -> list[Pool]:
    draw = random.Random(8)
    cases = []
    for index in range(20):
        dtype = (torch.float32, torch.float16, torch.bfloat16, torch.int8)[index % 4]
        nan = dtype.is_floating_point and draw.random() < 0.4
        steps, signed = draw.choice((1, 3, 4, 8)), draw.random() < 0.5
        layout = draw.random() < 0.5, draw.random() < 0.3
        cases.append(Pool(steps, signed, dtype, *layout, GEOMETRIES[index % 4], nan))
    return cases


CASES = sample()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_pooling_is_the_maximum_of_the_codes(
    case: Pool, machine: Any, assert_same: Callable[..., None]
) -> None:
    assert_same(case(machine))


@pytest.mark.parametrize("codes", [[65534, 65535], [65535, 65534], [32768, 32767], [1, 0], [-65535, -65534]])
def test_the_last_of_sixteen_digits_decides(codes: list[int], machine: Any) -> None:
    """Codes of most digits, which a float just holds: the larger one wins, whichever comes first."""
    words = torch.tensor(codes, dtype=torch.int32).reshape(1, 1, 1, 2)
    train = functional.unpack(words, 16).unsqueeze(0)
    geometry = PoolGeometry((1, 2), (1, 2))
    out = machine.out(train[..., :1].contiguous())
    launcher.pool_digits(machine.queue, machine.put(train), out, geometry)
    assert torch.equal(out[0].cpu(), functional.unpack(words.amax(-1, keepdim=True), 16))


def test_pooled_digits_of_a_node_decode_to_the_pooled_values(machine: Any) -> None:
    """What the kernel makes of a node's spikes is what pooling its decoded values makes."""
    node = SpikePackNode(4, form="packed", step_mode="s")
    values = node(torch.rand(2, 3, 6, 6, generator=torch.Generator().manual_seed(1)))
    codes = (values * 15).round().to(torch.uint8)
    train = machine.put(functional.unpack(codes, 4).unsqueeze(0))
    out = machine.out(train[..., :3, :3].contiguous())
    launcher.pool_digits(machine.queue, train, out, PoolGeometry((2, 2), (2, 2)))
    pooled = functional.decode(functional.pack(out[0].cpu()), 4)
    assert torch.equal(pooled, F.max_pool2d(values, 2))


@pytest.mark.parametrize("digits", [[0.0, -0.0], [-0.0, 0.0], [-1.0, -0.0, 0.0], [-1.0, 0.0, -0.0]])
def test_of_tied_digits_the_first_is_copied(
    digits: list[float], machine: Any, assert_same: Callable[..., None]
) -> None:
    """To the sign of a zero, which is all that may differ; signed codes have zeros of their sign."""
    train = torch.tensor(digits).reshape(1, 1, 1, -1)
    geometry = PoolGeometry((1, len(digits)), (1, 1))
    expected = torch.tensor(digits[digits.index(0.0)]).reshape(1, 1, 1, 1)
    out, step = machine.out(expected), machine.out(expected)
    alive = machine.out(torch.empty(1, 1, dtype=torch.int32))
    launcher.pool_digits(machine.queue, machine.put(train)[None, None], out[None, None], geometry)
    launcher.pool_step(machine.queue, machine.put(train), step, alive, geometry, first=True)
    assert_same({"digits": (out, expected), "step": (step, expected)})


def test_alive_holds_the_tied_taps_and_no_other_bit(machine: Any) -> None:
    digits = [[0, 1, 0, 0], [0, 0, 0, 0], [1, 1, 0, 1]]
    train = torch.tensor(digits, dtype=torch.int8)[None, None]
    out, alive = (
        machine.out(train[..., :2, :3].contiguous()),
        machine.out(torch.empty(1, 6, dtype=torch.int32)),
    )
    geometry = PoolGeometry((2, 2), (1, 1))
    launcher.pool_step(machine.queue, machine.put(train), out, alive, geometry, first=True)
    windows = [[digits[y + dy][x + dx] for dy in (0, 1) for dx in (0, 1)] for y in (0, 1) for x in (0, 1, 2)]
    assert out.flatten().tolist() == [max(taps) for taps in windows]
    expected = [sum(1 << tap for tap, digit in enumerate(taps) if digit == max(taps)) for taps in windows]
    assert alive[0].tolist() == expected


def test_more_windows_than_blocks(machine: Any) -> None:
    train = torch.tensor([[0, 1], [1, 0], [0, 0], [1, 1], [0, 1]], dtype=torch.int8).reshape(5, 1, 1, 1, 1, 2)
    out = machine.out(train[..., :1].contiguous())
    queue = machine.narrow(pool_digits=1)
    launcher.pool_digits(queue, machine.put(train), out, PoolGeometry((1, 2), (1, 2)))
    assert out.flatten().tolist() == [1, 1, 0, 1, 1]
