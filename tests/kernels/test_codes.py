"""Digits, codes, decoded values and integer fire equal the numpy reference, for every T and dtype."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from cupy_kernels import launcher
from spikejelly_pack import functional
from spikejelly_pack.functional import NeuronParameters
from spikejelly_pack.spec import bits, equations

DIGITS = (torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.uint8)
SHAPES = ((1021,), (3, 8, 11), (2, 264))


def all_codes(time_steps: int, signed: bool, seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    """Random codes, the largest and the smallest among them."""
    limit = (1 << time_steps) - 1
    low = -limit if signed else 0
    generator = torch.Generator().manual_seed(seed)
    codes = torch.randint(low, limit + 1, shape, generator=generator, dtype=torch.int32)
    codes.view(-1)[:2] = torch.tensor([low, limit])
    return codes.to(functional.code_dtype(time_steps, signed))


@dataclass(frozen=True)
class Codes:
    """Pack, unpack and decode one array of codes."""

    time_steps: int
    tau: float
    signed: bool
    digits: torch.dtype
    values: torch.dtype
    shape: tuple[int, ...]

    def __str__(self) -> str:
        return f"T{self.time_steps}-{self.tau}-{self.signed}-{self.digits}-{self.values}-{self.shape}"

    def __call__(self, machine: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        codes = all_codes(self.time_steps, self.signed, self.time_steps, self.shape)
        train = torch.from_numpy(bits.unpack(codes.numpy(), self.time_steps)).to(self.digits)
        params = NeuronParameters(self.time_steps, self.tau, signed=True)
        flag = torch.zeros(1, dtype=torch.int32, device=machine.device)
        digits, packed = machine.out(train), machine.out(codes)
        values = machine.out(codes, self.values)
        given = machine.put(codes)
        launcher.unpack(machine.queue, given, digits, time_steps=self.time_steps, invalid=flag)
        launcher.pack(
            machine.queue,
            machine.put(train),
            packed,
            time_steps=self.time_steps,
            signed=self.signed,
            invalid=flag,
        )
        launcher.decode(machine.queue, given, values, params, invalid=flag)
        return {
            "digits": (digits, train),
            "codes": (packed, codes),
            "values": (values, functional.decode(codes, self.time_steps, self.tau, self.values)),
            "invalid": (flag, torch.zeros(1, dtype=torch.int32)),
        }


@dataclass(frozen=True)
class Integer:
    """Integer fire at and beside every boundary."""

    time_steps: int
    signed: bool
    half: bool
    channels: int
    last: bool
    bias: bool
    long: bool = False

    def __str__(self) -> str:
        name = f"integer-T{self.time_steps}-{self.signed}-{self.half}-{self.channels}-{self.last}-{self.bias}"
        return name + "-long" * self.long

    def constants(self, draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Thresholds, ``long`` at and beyond the largest whose ``theta * 2^T`` has 31 bits, and biases."""
        theta = draw.integers(1, 2 ** (30 - self.time_steps), self.channels)
        bias = draw.integers(-(2**31), 2**31, self.channels)
        if self.long:
            edge = (2**31 - 1) >> self.time_steps
            theta = draw.integers(edge, 2**31, self.channels)
            theta[:4] = [edge, min(edge + 1, 2**31 - 1), 2**31 - 1, 1][: self.channels]
            bias[::3] = draw.choice([-(2**31), 1 - 2**31, 0, 2**31 - 1], len(bias[::3]))
        return theta.astype(np.int32), bias.astype(np.int32)

    def __call__(self, machine: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        draw = np.random.default_rng(self.time_steps)
        shape = (4, 16, 5, 8)
        theta, bias = self.constants(draw)
        bias = bias if self.bias else None
        spread = theta.astype(np.int64).reshape(-1, 1, 1)
        level = draw.integers(-2, 2**self.time_steps + 2, shape)
        start = level * spread - (spread // 2 if self.half else 0) + draw.integers(-1, 2, shape)
        offset = 0 if bias is None else bias.astype(np.int64).reshape(-1, 1, 1)
        anywhere = draw.integers(-(2**31), 2**31, shape)  # sums beyond 32 bits among them
        start = np.where(draw.random(shape) < 0.1, anywhere + offset, start)
        membrane = np.clip(start - offset, -(2**31), 2**31 - 1).astype(np.int32)
        total = membrane.astype(np.int64) + offset
        limit = (1 << self.time_steps) - 1
        code = equations.integer_code(np.abs(total) if self.signed else total, spread, limit, self.half)
        code = code * np.sign(total) if self.signed else code
        layout = torch.channels_last if self.last else torch.contiguous_format
        given = torch.from_numpy(membrane).to(memory_format=layout)
        codes = machine.out(given, functional.code_dtype(self.time_steps, self.signed))
        launcher.integer_fire(
            machine.queue,
            machine.put(given),
            machine.put(torch.from_numpy(theta)),
            codes,
            time_steps=self.time_steps,
            signed=self.signed,
            half=self.half,
            channel_axis=1,
            bias=None if bias is None else machine.put(torch.from_numpy(bias)),
        )
        return {"codes": (codes, torch.from_numpy(code).to(codes.dtype))}


def sample() -> list[Codes]:
    draw = random.Random(5)
    cases = []
    for index in range(32):
        signed = draw.random() < 0.5
        digits = draw.choice(DIGITS[:4] if signed else DIGITS)
        time_steps, tau = 1 + index % 16, draw.choice((2.0, 1.5))
        cases.append(Codes(time_steps, tau, signed, digits, DIGITS[index % 3], SHAPES[index % 3]))
    return cases


def integers() -> list[Integer]:
    draw = random.Random(6)
    return [
        Integer(
            steps,
            draw.random() < 0.5,
            draw.random() < 0.5,
            draw.choice((1, 16)),
            draw.random() < 0.5,
            steps % 3 > 0,
            long,
        )
        for steps in range(1, 17)
        for long in (False, True)
    ]


CASES = [*sample(), *integers()]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_codes_are_the_reference_s(case: Any, machine: Any, assert_same: Callable[..., None]) -> None:
    assert_same(case(machine))


@pytest.mark.parametrize("time_steps", [1, 2, 4, 8, 12, 16])
def test_every_code_decodes_as_numpy_divides(time_steps: int, machine: Any) -> None:
    """All codes of one T, decoded by one IEEE division."""
    codes = np.arange(1 << time_steps).astype(bits.code_dtype(time_steps))
    given = machine.put(torch.from_numpy(codes))
    values = machine.out(given, torch.float32)
    launcher.decode(machine.queue, given, values, NeuronParameters(time_steps))
    expected = codes.astype(np.float32) / np.float32(2**time_steps - 1)
    assert np.array_equal(values.cpu().numpy(), expected)


@pytest.mark.parametrize("value", [2.0, 0.5, float("nan"), -1.0])
def test_a_value_that_is_no_digit_raises_the_flag(value: float, machine: Any) -> None:
    digits = torch.ones(4, 37)
    digits[2, 30] = value
    flag = torch.zeros(1, dtype=torch.int32, device=machine.device)
    codes = machine.out(digits[0], torch.uint8)
    launcher.pack(machine.queue, machine.put(digits), codes, time_steps=4, invalid=flag)
    assert flag.item() == 1


def test_a_code_of_more_digits_raises_the_flag(machine: Any) -> None:
    codes = machine.put(torch.arange(17, dtype=torch.uint8))
    flags = torch.zeros(2, dtype=torch.int32, device=machine.device)
    digits, values = machine.out(torch.zeros(4, 17)), machine.out(torch.zeros(17))
    launcher.unpack(machine.queue, codes, digits, time_steps=4, invalid=flags[:1])
    launcher.decode(machine.queue, codes, values, NeuronParameters(4), invalid=flags[1:])
    assert flags.tolist() == [1, 1]


LIMITS = (1, 2, 3, 65537, 2**30 - 1, 2**30, 2**31 - 1)
EDGES = (-(2**31), 1 - 2**31, -(2**30), -1, 0, 1, 2**30, 2**31 - 2, 2**31 - 1)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("time_steps", [2, 16])
def test_integer_fire_at_the_ends_of_32_bits(time_steps: int, half: bool, signed: bool, machine: Any) -> None:
    """Sums of more than 32 bits below a limit of more than 32 bits; the oracle counts in Python.

    Where the threshold is 1, some biases put the ends of the window at the ends of 32 bits, and beside them.
    """
    ends = [side * (2**31 - 2**time_steps) + beside for side in (-1, 1) for beside in (-1, 0, 1)]
    pairs = list(itertools.product(LIMITS, (*EDGES, *ends)))
    theta, bias = (torch.tensor(column, dtype=torch.int32) for column in zip(*pairs, strict=True))
    membrane = torch.tensor([EDGES] * len(pairs), dtype=torch.int32)
    codes = machine.out(membrane, functional.code_dtype(time_steps, signed))
    launcher.integer_fire(
        machine.queue,
        machine.put(membrane),
        machine.put(theta),
        codes,
        time_steps=time_steps,
        signed=signed,
        half=half,
        channel_axis=0,
        bias=machine.put(bias),
    )
    expected: list[list[int]] = []
    for limit, offset in pairs:
        sums = [edge + offset for edge in EDGES]
        sizes = [(abs(total) if signed else total) + half * (limit // 2) for total in sums]
        words = [min(max(size // limit, 0), 2**time_steps - 1) for size in sizes]
        expected.append([-w if signed and total < 0 else w for w, total in zip(words, sums, strict=True)])
    assert codes.cpu().tolist() == expected


def test_integer_fire_of_a_rest(machine: Any) -> None:
    """Several elements a thread, and a rest: nothing is written behind the last one."""
    membrane = torch.arange(517, dtype=torch.int32)
    codes = machine.out(membrane, torch.uint8)
    limit = machine.put(torch.tensor(30, dtype=torch.int32))
    launcher.integer_fire(machine.queue, machine.put(membrane), limit, codes, time_steps=4, half=False)
    assert codes.cpu().tolist() == [min(number // 30, 15) for number in range(517)]
