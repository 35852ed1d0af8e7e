"""Serial windows and the pipelined step: spikes, codes, membranes and state equal torch's, bit for bit."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

from cupy_kernels import launcher
from spikejelly_pack import functional, ops
from spikejelly_pack.functional import SpikePackState
from spikejelly_pack.spec.parameters import NeuronParameters

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
SHAPES = (((517,), None), ((3, 8, 2, 4), 1), ((3, 5, 3, 3), 1), ((40, 8), 1), ((33, 5), 1))


@dataclass(frozen=True)
class Neuron:
    """One neuron and the shape of one window of its input."""

    time_steps: int
    tau: float
    signed: bool
    leak: float
    carry: str
    dtype: torch.dtype
    shape: tuple[int, ...]
    axis: int | None
    seed: int

    def __str__(self) -> str:
        sign = "signed" if self.signed else "unsigned"
        kind = str(self.dtype).removeprefix("torch.")
        size = "x".join(map(str, self.shape))
        return f"T{self.time_steps}-tau{self.tau}-{sign}-leak{self.leak}{self.carry}-{kind}-{size}"

    @property
    def params(self) -> NeuronParameters:
        return NeuronParameters(self.time_steps, self.tau, self.leak, self.carry, self.signed)

    def inputs(self, machine: Any, windows: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Currents ``[W * T, *]`` (constant in every other window: ties are met), thresholds, spread."""
        generator = torch.Generator().manual_seed(self.seed)
        count = 1 if self.axis is None else self.shape[self.axis]
        theta = torch.rand(count, generator=generator) + 0.25
        spread = theta if self.axis is None else theta.reshape(-1, *[1] * (len(self.shape) - self.axis - 1))
        held = machine.tricky((windows, 1, *self.shape), spread, self.params, self.seed)
        free = torch.randn(windows, self.time_steps, *self.shape, generator=generator)
        kept = torch.arange(windows).reshape(-1, *[1] * (len(self.shape) + 1)) % 2 == 0
        x = torch.where(kept, held.expand_as(free), free).flatten(0, 1)
        return x.to(self.dtype), theta, spread


@dataclass(frozen=True)
class Windows:
    """Three windows at once; with a leak, a carry comes into the first one where ``carried``."""

    neuron: Neuron
    carried: bool = True
    amplitude: str = "scaled"

    def __str__(self) -> str:
        return f"{self.neuron}{'' if self.carried else '-first'}-{self.amplitude}"

    def __call__(self, machine: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        n, params = self.neuron, self.neuron.params
        x, theta, spread = n.inputs(machine, 3)
        split = x.unflatten(0, (3, n.time_steps))
        window, first = (
            split[:, 0].contiguous(),
            torch.linspace(-1, 1, x[0].numel()).reshape(n.shape) * spread,
        )
        spikes, codes = machine.out(split), machine.out(window, functional.code_dtype(n.time_steps, n.signed))
        start, values = machine.out(window, torch.float32), machine.out(window)
        after = machine.out(x[0], torch.float32)
        carries = {"carry_out": after} if n.leak else {}
        if n.leak and self.carried:
            carries["carry_in"] = machine.put(first)
        nan = torch.zeros(1, dtype=torch.int32, device=machine.device)
        launcher.serial(
            machine.queue,
            machine.put(split),
            machine.put(theta),
            params,
            spikes=spikes,
            codes=codes,
            values=values,
            amplitude=self.amplitude,
            start=start,
            nan_seen=nan,
            channel_axis=None if n.axis is None else n.axis + 2,
            **carries,
        )
        before = first if n.leak and self.carried else None
        train, carry, membrane = functional.spikepack_multi_step(x, before, spread, params)
        code = ops.signed_code(membrane, spread, params)
        unit = ops.decode_code(code, params)
        worth = {"unit": unit, "scaled": spread * unit, "code": code}[self.amplitude]
        pairs = {
            "spikes": (spikes, train.unflatten(0, (3, n.time_steps))),
            "start": (start, membrane),
            "codes": (codes, code.nan_to_num(0).to(torch.int32).to(codes.dtype)),
            "values": (values, worth.to(n.dtype)),
            "nan_seen": (nan, code.isnan().any().reshape(1).to(torch.int32)),
        }
        return pairs | ({} if carry is None else {"carry": (after, carry)})


@dataclass(frozen=True)
class Pipeline:
    """Three windows step by step; every state array is written over its own input."""

    neuron: Neuron

    def __str__(self) -> str:
        return f"steps-{self.neuron}"

    def __call__(self, machine: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        n, params = self.neuron, self.neuron.params
        x, theta, spread = n.inputs(machine, 3)
        state, pairs = SpikePackState(), {}
        names = ("accumulator", "code", "start", "carry")
        held = {name: machine.out(x[0], torch.float32) for name in names}
        for index, current in enumerate(x):
            phase, window = index % n.time_steps, index // n.time_steps
            last = phase == n.time_steps - 1
            spikes, v = machine.out(current), machine.out(current, torch.float32)
            carries = {"carry_in": held["carry"] if window else None, "carry_out": held["carry"]}
            launcher.step(
                machine.queue,
                machine.put(current),
                machine.put(theta),
                params,
                phase=phase,
                spikes=spikes,
                v=v,
                accumulator=held["accumulator"] if phase else None,
                code=held["code"] if window else None,
                start=held["start"] if window else None,
                accumulator_out=None if last else held["accumulator"],
                code_out=held["code"] if last else None,
                start_out=held["start"] if last else None,
                channel_axis=n.axis,
                **(carries if n.leak else {}),
            )
            expected, state = functional.spikepack_step(current, state, spread, params)
            pairs[f"spikes {index}"] = (spikes, expected)
            pairs[f"v {index}"] = (v, state.v)
        pairs |= {name: (held[name], getattr(state, name)) for name in ("code", "start")}
        return pairs | ({"carry": (held["carry"], state.carry)} if n.leak else {})


def neurons(count: int, seed: int) -> list[Neuron]:
    """Every T, dtype and shape, the other parameters drawn."""
    draw = random.Random(seed)
    return [
        Neuron(
            1 + index % 16,
            draw.choice((2.0, 2.0, 1.5)),
            draw.random() < 0.5,
            draw.choice((0.0, 0.6)),
            draw.choice(("residual", "membrane")),
            DTYPES[index % 3],
            *SHAPES[index % len(SHAPES)],
            index,
        )
        for index in range(count)
    ]


CASES = [*map(Windows, neurons(40, 1)), *map(Pipeline, neurons(16, 2))]
# The same kernels where nothing comes before the first window, and with the other values.
CASES += [Windows(n, False, "unit") for n in neurons(40, 1) if n.leak][:6]
CASES += [Windows(n, amplitude="code") for n in neurons(40, 1)[:6]]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_serial_forms_are_torch_s(case: Any, machine: Any, assert_same: Callable[..., None]) -> None:
    assert_same(case(machine))


@pytest.mark.parametrize("dtype", DTYPES)
def test_groups_end_where_one_window_of_one_step_does(dtype: torch.dtype, machine: Any) -> None:
    """Several elements a thread, and a rest: nothing is written behind the last one."""
    params = NeuronParameters(1)
    x = torch.linspace(-1, 2, 517).to(dtype).reshape(1, 1, 517)
    given, spikes = machine.out(x).copy_(machine.put(x)), machine.out(x)
    launcher.serial(machine.queue, given, machine.put(torch.tensor(1.0)), params, spikes=spikes)
    # One binary digit, rounded half up: a spike from half the threshold on.
    assert torch.equal(spikes.cpu(), (x.float() >= 0.5).to(dtype))


def test_the_last_carry_may_be_unwanted(machine: Any) -> None:
    """With a leak, and nowhere to write what the last window leaves."""
    params = NeuronParameters(1, leak=0.5, carry="membrane")
    codes = machine.out(torch.zeros(2, 5), torch.uint8)
    given, theta = machine.put(torch.full((2, 1, 5), 0.4)), machine.put(torch.tensor(1.0))
    launcher.serial(machine.queue, given, theta, params, codes=codes)
    # 0.4 is below half the threshold; with half of what the first window left, 0.6 is not.
    assert codes.cpu().tolist() == [[0] * 5, [1] * 5]


def test_the_carry_of_a_step_may_be_unwanted(machine: Any) -> None:
    params = NeuronParameters(1, leak=0.5, carry="membrane")
    x, state = machine.put(torch.tensor([0.4, 0.6])), [machine.out(torch.zeros(2)) for _ in range(3)]
    outputs = {"spikes": state[0], "code_out": state[1], "start_out": state[2]}
    launcher.step(machine.queue, x, machine.put(torch.tensor(1.0)), params, phase=0, **outputs)
    assert [values.tolist() for values in state] == [[0.0, 0.0], [0.0, 1.0], x.tolist()]


def test_a_carry_is_written_over_its_own_input(machine: Any) -> None:
    """Several elements a thread, and a rest: each is read once, nothing is written behind the last one."""
    params = NeuronParameters(1, leak=0.5, carry="membrane")
    before = torch.linspace(-1, 1, 517)
    carry, codes = machine.out(before).copy_(machine.put(before)), machine.out(before[None], torch.uint8)
    given, theta = machine.put(torch.zeros(1, 1, 517)), machine.put(torch.tensor(1.0))
    options = {"codes": codes, "carry_in": carry, "carry_out": carry}
    launcher.serial(machine.queue, given, theta, params, **options)
    assert torch.equal(carry.cpu(), before * 0.5)
