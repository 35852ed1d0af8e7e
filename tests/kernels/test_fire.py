"""Packed fire: codes, values, membranes and carry equal torch and the numpy equations, bit for bit."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

from cupy_kernels import launcher
from spikejelly_pack import functional, ops
from spikejelly_pack.spec import equations
from spikejelly_pack.spec.parameters import NeuronParameters

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# name: shape of one window, channel axis in it, whether channels lie last, elements off alignment
LAYOUTS = {
    "ragged": ((1021,), None, False, 0),
    "blocks": ((7, 1031), None, False, 0),
    "misaligned": ((2, 264), None, False, 1),
    "channels": ((3, 8, 5, 8), 1, False, 0),
    "channels ragged": ((3, 5, 3, 5), 1, False, 0),
    "channels last": ((3, 16, 4, 5), 1, True, 0),
    "channels last ragged": ((3, 5, 4, 5), 1, True, 0),
    "features": ((33, 24), 1, False, 0),
    "one": ((1,), None, False, 0),
}


@dataclass(frozen=True)
class Case:
    """One launch of fire with all outputs, and what they must be."""

    time_steps: int
    tau: float
    signed: bool
    dtype: torch.dtype
    layout: str
    leak: float
    carry: str
    rounding: str
    amplitude: str
    values_dtype: torch.dtype
    seed: int
    carried: bool = True  # with a leak: into the first window, too
    exponent: int = 0  # thresholds and membranes times 2 to this

    def __str__(self) -> str:
        kinds = f"{self.dtype}-{self.values_dtype}".replace("torch.", "")
        return f"theta{self.exponent:+}-" * bool(self.exponent) + (
            f"T{self.time_steps}-tau{self.tau}-{'signed' * self.signed}-{kinds}-{self.layout}"
            f"-leak{self.leak}{self.carry}-{self.rounding}-{self.amplitude}{'' if self.carried else '-first'}"
        )

    @property
    def params(self) -> NeuronParameters:
        return NeuronParameters(self.time_steps, self.tau, self.leak, self.carry, self.signed, self.rounding)

    def inputs(self, machine: Any) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int | None]:
        shape, axis, last, _ = LAYOUTS[self.layout]
        generator = torch.Generator().manual_seed(self.seed)
        count = 1 if axis is None else shape[axis]
        theta = (torch.rand(count, generator=generator) + 0.25) * 2.0**self.exponent
        spread = theta if axis is None else theta.reshape(-1, *[1] * (len(shape) - axis - 1))
        windows = 3 if self.leak else 1
        u = machine.tricky((windows, *shape), spread, self.params, self.seed).to(self.dtype)
        if self.exponent:  # those that are no tie would all lie far outside the window
            small = torch.randn(u.shape, generator=generator) * spread
            u = torch.where(torch.rand(u.shape, generator=generator) < 0.2, small.to(self.dtype), u)
        if last:
            u = u.permute(0, 1, 3, 4, 2).contiguous().permute(0, 1, 4, 2, 3)
        return u, theta, spread, None if axis is None else axis + 1

    def __call__(self, machine: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        u, theta, spread, axis = self.inputs(machine)
        params, shift = self.params, LAYOUTS[self.layout][3]
        given = machine.out(u, shift=shift).copy_(machine.put(u))
        code_dtype = functional.code_dtype(params.time_steps, params.signed)
        codes = machine.out(u, code_dtype, shift)
        values = machine.out(u, self.values_dtype, shift)
        start = machine.out(u, torch.float32, shift)
        carry_out = machine.out(u[0], torch.float32, shift)
        carry = torch.linspace(-1, 1, u[0].numel()).reshape(u[0].shape) * spread
        carry = machine.out(u[0], torch.float32, shift).copy_(machine.put(carry))
        nan = torch.zeros(1, dtype=torch.int32, device=machine.device)
        carries = (
            {"carry_out": carry_out} | ({"carry_in": carry} if self.carried else {}) if self.leak else {}
        )
        launcher.fire(
            machine.queue,
            given,
            machine.put(theta),
            params,
            codes=codes,
            values=values,
            amplitude=self.amplitude,
            channel_axis=axis,
            start=start,
            nan_seen=nan,
            **carries,
        )
        expected = self.expected(u, spread, carry.cpu())
        pairs = {
            "codes": (codes, expected["code"].nan_to_num(0).to(torch.int32).to(code_dtype)),
            "values": (values, expected["value"].to(self.values_dtype)),
            "start": (start, expected["start"]),
            "nan_seen": (nan, expected["code"].isnan().any().reshape(1).to(torch.int32)),
        }
        return pairs | ({"carry": (carry_out, expected["carry"])} if self.leak else {})

    def expected(self, u: torch.Tensor, theta: torch.Tensor, carry: torch.Tensor) -> dict[str, torch.Tensor]:
        """What torch makes of it."""
        params = self.params
        _, after, start = functional.spikepack_windows(
            u.float(), carry if self.leak and self.carried else None, theta, params
        )
        code = ops.signed_code(start, theta, params)
        value = {"code": code, "unit": ops.decode_code(code, params)}
        value["scaled"] = theta * value["unit"]
        result = {"code": code, "value": value[self.amplitude], "start": start}
        return result | ({} if after is None else {"carry": after})


def sample(count: int) -> list[Case]:
    """Every layout, dtype and number of time steps, the other parameters drawn."""
    draw = random.Random(7)
    layouts = itertools.cycle(LAYOUTS)
    cases = []
    for index in range(count):
        leak = draw.choice((0.0, 0.0, 0.7))
        cases.append(
            Case(
                1 + index % 16,
                draw.choice((2.0, 2.0, 1.5)),
                draw.random() < 0.5,
                DTYPES[index % 3],
                next(layouts),
                leak,
                draw.choice(("residual", "membrane")),
                draw.choice(("round_half_up", "floor")),
                draw.choice(("unit", "scaled", "code")),
                draw.choice(DTYPES),
                index,
            )
        )
    return cases


CASES = sample(56)
# The same kernels where nothing comes before the first window.
CASES += [replace(case, carried=False) for case in CASES if case.leak][:6]
EXPONENTS = (-145, -126, -100, -61, -60, -59, 58, 59, 60, 61, 100, 126, 127)
# Thresholds at and beyond the ends of where quotients are no divisions: 2^-60, 2^60, and those of float32.
PLAIN: dict[str, Any] = {"dtype": torch.float32, "values_dtype": torch.float32, "leak": 0.0, "tau": 2.0}
CASES += [
    replace(CASES[index], exponent=exponent, **PLAIN)
    for index, exponent in zip(range(3, 56, 4), EXPONENTS, strict=False)
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_fire_is_torch_s(case: Case, machine: Any, assert_same: Callable[..., None]) -> None:
    assert_same(case(machine))


@pytest.mark.parametrize("time_steps", range(1, 17))
def test_fire_is_numpy_s(time_steps: int, backend_machine: Any, machine: Any) -> None:
    """The equations in numpy, without torch's arithmetic: all ties, one above and one below."""
    params = NeuronParameters(time_steps)
    theta = np.float32(0.7)
    lsb = theta / np.float32(params.weight_sum)
    levels = np.arange(min(params.max_code + 2, 3000), dtype=np.float32) + np.float32(0.5)
    tie = levels * lsb
    u = np.concatenate([np.nextafter(tie, np.float32(-1)), tie, np.nextafter(tie, np.float32(9))])
    code = equations.nearest_code(u, lsb, params.max_code, params.half, np.floor)
    given = machine.put(torch.from_numpy(u))
    codes = machine.out(given, functional.code_dtype(time_steps))
    launcher.fire(machine.queue, given, machine.put(torch.tensor(theta)), params, codes=codes)
    assert np.array_equal(codes.cpu().numpy().astype(np.float32), code)


# Threshold, membrane, code of 8 digits: membrane / lsb lies so near the middle between a tie and the float
# below that only a correctly rounded quotient gets there.
NEAR = (
    ("0x1.26dc4ap-1", "0x1.7fe594p-4", 42),
    ("0x1.fe05fap-1", "0x1.1f035cp-1", 144),
    ("0x1.7e81aep-1", "0x1.560180p-4", 29),
    ("0x1.e819eap+0", "0x1.6311d8p+0", 186),
)


def test_a_quotient_beside_a_tie_is_the_division_s(machine: Any) -> None:
    theta, u, codes = zip(*NEAR, strict=True)
    limits, starts = (np.array([float.fromhex(word) for word in words], np.float32) for words in (theta, u))
    levels = starts / (limits / np.float32(255))
    assert np.floor(levels + np.float32(0.5)).tolist() == list(codes)
    given = machine.put(torch.from_numpy(np.stack([starts, starts])))
    out = machine.out(given, torch.uint8)
    options = {"codes": out, "channel_axis": 1}
    launcher.fire(machine.queue, given, machine.put(torch.from_numpy(limits)), NeuronParameters(8), **options)
    assert out.cpu().tolist() == [list(codes)] * 2


def test_the_last_carry_may_be_unwanted(machine: Any) -> None:
    """With a leak, and nowhere to write what the last window leaves."""
    params = NeuronParameters(1, leak=0.5, carry="membrane")
    codes = machine.out(torch.zeros(2, 5), torch.uint8)
    given, theta = machine.put(torch.full((2, 5), 0.4)), machine.put(torch.tensor(1.0))
    launcher.fire(machine.queue, given, theta, params, codes=codes)
    # 0.4 is below half the threshold; with half of what the first window left, 0.6 is not.
    assert codes.cpu().tolist() == [[0] * 5, [1] * 5]


def test_a_carry_is_written_over_its_own_input(machine: Any) -> None:
    """Several elements a thread, and a rest: each is read once, nothing is written behind the last one."""
    params = NeuronParameters(1, leak=0.5, carry="membrane")
    before = torch.linspace(-1, 1, 517)
    carry, codes = machine.out(before).copy_(machine.put(before)), machine.out(before[None], torch.uint8)
    given, theta = machine.put(torch.zeros(1, 517)), machine.put(torch.tensor(1.0))
    options = {"codes": codes, "carry_in": carry, "carry_out": carry}
    launcher.fire(machine.queue, given, theta, params, **options)
    assert torch.equal(carry.cpu(), before * 0.5)
