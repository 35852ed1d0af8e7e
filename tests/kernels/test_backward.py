"""Gradients: of membranes and currents torch's, bit for bit; of thresholds within the rounding of a sum."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch

from cupy_kernels import launcher
from spikejelly_pack import functional
from spikejelly_pack.spec.parameters import NeuronParameters

DTYPES = (torch.float32, torch.float16, torch.bfloat16)
# Shape of one window, channel axis, channels last; large enough for several blocks of each kernel.
LAYOUTS = (
    ((1021,), None, False),
    ((9, 1024), None, False),
    ((5, 8, 9, 8), 1, False),
    ((5, 3, 5, 5), 1, False),
    ((5, 16, 7, 6), 1, True),
    ((60, 40), 1, False),
    ((60, 5), 1, False),
    ((2, 264, 2, 2), 1, True),
)


@dataclass(frozen=True)
class Case:
    """Gradient of packed or serial windows with given gradients of outputs and carry."""

    serial: bool
    scaled: bool
    time_steps: int
    tau: float
    signed: bool
    leak: float
    carry: str
    dtype: torch.dtype
    layout: int
    learnable: bool
    rows: int
    seed: int
    carried: bool = True  # with a leak: gradients of the carry come in, and are wanted

    def __str__(self) -> str:
        return (
            f"{'serial' if self.serial else 'packed'}{'-scaled' * self.scaled}-T{self.time_steps}-{self.tau}"
            f"{'-signed' * self.signed}-leak{self.leak}{self.carry}-{self.dtype}-{LAYOUTS[self.layout][0]}"
            f"{'-theta' * self.learnable}{self.rows}{'' if self.carried else '-alone'}"
        )

    @property
    def params(self) -> NeuronParameters:
        return NeuronParameters(self.time_steps, self.tau, self.leak, self.carry, self.signed)

    def inputs(self, machine: Any) -> dict[str, torch.Tensor]:
        shape, axis, last = LAYOUTS[self.layout]
        generator = torch.Generator().manual_seed(self.seed)
        theta = torch.rand(1 if axis is None else shape[axis], generator=generator) + 0.25
        spread = theta if axis is None else theta.reshape(-1, *[1] * (len(shape) - axis - 1))
        windows = 2 if self.serial or self.leak else 1
        u = machine.tricky((windows, *shape), spread, self.params, self.seed)
        u = torch.where(u.isfinite() & (u.abs() < 1e30), u, torch.zeros(()))
        if self.serial:
            u = u.unsqueeze(1) + 0.1 * torch.randn(windows, self.time_steps, *shape, generator=generator)
            u = u.flatten(0, 1)
        carry = torch.rand(shape, generator=generator) * spread
        grads = torch.randn(u.shape, generator=generator), torch.randn(shape, generator=generator)
        found = {
            "u": u.to(self.dtype),
            "carry": carry,
            "grad": grads[0].to(self.dtype),
            "grad_carry": grads[1],
        }
        if last:
            found = {name: _last(tensor) for name, tensor in found.items()}
        return found | {"theta": theta}

    def reference(self, given: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Autograd's gradients, and the membranes."""
        shape, axis, _ = LAYOUTS[self.layout]
        u, theta, carry = (given[name].clone().requires_grad_() for name in ("u", "theta", "carry"))
        spread = theta if axis is None else theta.reshape(-1, *[1] * (len(shape) - axis - 1))
        before = carry if self.leak else None
        if self.serial:
            out, after, start = functional.spikepack_multi_step(u, before, spread, self.params)
        else:
            options = {"scale_output": self.scaled}
            out, after, start = functional.spikepack_windows(u, before, spread, self.params, **options)
        outputs = [out] if after is None else [out, after]
        wanted = {"u": u, "theta": theta} | ({"carry": carry} if self.leak else {})
        last = given["grad_carry"] if self.carried else torch.zeros(shape)
        flowing = [given["grad"], last][: len(outputs)]
        grads = torch.autograd.grad(outputs, list(wanted.values()), flowing)
        return dict(zip(wanted, grads, strict=True)), start.detach()

    def __call__(self, machine: Any) -> dict[str, Any]:
        _, axis, last = LAYOUTS[self.layout]
        given = self.inputs(machine)
        expected, start = self.reference(given)
        start = _last(start) if last else start.contiguous()
        out = machine.out(given["u"])
        theta = given["theta"]
        total = machine.out(theta) if self.learnable else None
        scratch = machine.out(torch.empty(self.rows, theta.numel())) if self.learnable else None
        first = machine.out(given["carry"]) if self.leak and self.carried else None
        options: dict[str, Any] = {"grad_theta": total, "scratch": scratch}
        if self.leak and self.carried:
            options |= {"grad_carry": machine.put(given["grad_carry"]), "grad_carry_in": first}
        grad, begin, limit = machine.put(given["grad"]), machine.put(start), machine.put(theta)
        if self.serial:
            split = [t.unflatten(0, (2, self.time_steps)) for t in (grad, out)]
            options["channel_axis"] = None if axis is None else axis + 2
            launcher.serial_backward(
                machine.queue, split[0], begin, limit, self.params, grad_x=split[1], **options
            )
        else:
            if not self.leak and self.dtype != torch.float32:
                begin = machine.put(given["u"])  # the membrane itself, in its own dtype
            options |= {"channel_axis": None if axis is None else axis + 1, "scaled": self.scaled}
            launcher.fire_backward(machine.queue, grad, begin, limit, self.params, grad_u=out, **options)
        pairs = {"u": (out, expected["u"])}
        if first is not None:
            pairs["carry"] = (first, expected["carry"])
        elif self.leak:
            # Autograd adds no zero where nothing comes in, so its zeros keep another sign.
            pairs = {"u": (out + 0.0, expected["u"] + 0.0)}
        return {"exact": pairs, "theta": (total, expected["theta"]), "given": given}


def _last(tensor: torch.Tensor) -> torch.Tensor:
    """Channels last in memory, whatever leads."""
    return tensor.movedim(-3, -1).contiguous().movedim(-1, -3)


def sample(count: int) -> list[Case]:
    draw = random.Random(3)
    cases = []
    for index in range(count):
        serial = draw.random() < 0.4
        leak = draw.choice((0.0, 0.0, 0.6))
        layout = index % len(LAYOUTS)
        if serial and LAYOUTS[layout][2]:
            serial = False
        cases.append(
            Case(
                serial,
                not serial and draw.random() < 0.5,
                draw.choice((1, 3, 4, 8, 16)),
                draw.choice((2.0, 2.0, 1.5)),
                draw.random() < 0.4,
                leak,
                draw.choice(("residual", "membrane")),
                DTYPES[draw.randrange(3)],
                layout,
                draw.random() < 0.7,
                draw.choice((1, 3, 40)),
                index,
            )
        )
    return cases


CASES = sample(48)
# The same kernels where nothing comes after the last window.
CASES += [replace(case, carried=False) for case in CASES if case.leak][:6]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_gradients_are_autograd_s(
    case: Case, machine: Any, assert_same: Callable[..., None], tolerance: Callable[[Any], Any]
) -> None:
    result = case(machine)
    assert_same(result["exact"])
    if case.learnable:
        got, expected = (t.cpu() for t in result["theta"])
        # The same float32 terms in another order: twice the bound of a sum of n terms (Higham, section 4.2),
        # times a bound of the sum of their magnitudes. Eight operations make a term.
        given, theta = result["given"], result["given"]["theta"]
        magnitude = _magnitude(case, given)
        terms = given["u"].numel() // theta.numel() + 8
        bound = tolerance(torch.float32).between(terms, 1.0) * magnitude
        assert bool(((got - expected).abs() <= bound).all()), ((got - expected).abs() / bound).max()


def _magnitude(case: Case, given: dict[str, torch.Tensor]) -> torch.Tensor:
    """Sum over each channel of bounds of the terms: every slope is at most 2 / theta (scaled: 2), carry 3."""
    shape, axis, _ = LAYOUTS[case.layout]
    grads = given["grad"].double().abs()
    if case.serial:
        params = case.params
        weights = torch.tensor(params.weights, dtype=torch.float64)
        factor = params.weight_sum / float((weights**2).sum())
        split = grads.unflatten(0, (2, case.time_steps))
        grads = factor * torch.einsum("wt...,t->w...", split, weights)
    total = grads.sum(0)
    if case.leak:
        total = total + 8 * (given["grad_carry"].double().abs() + grads.sum(0) / given["theta"].min())
    axes = [a for a in range(len(shape)) if a != axis]
    summed = total.sum(axes) if axis is not None else total.sum().reshape(1)
    return 2 * summed / given["theta"].double().clamp(max=1.0)


@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("start", [-3.0, 3.0])
def test_a_saturated_output_is_its_threshold_exactly(start: float, signed: bool, machine: Any) -> None:
    """One element: no sum whose rounding could hide a slope of almost one."""
    theta, out = torch.tensor([1.5]), machine.out(torch.zeros(1))
    total, scratch = machine.out(theta), machine.out(torch.empty(1, 1))
    given = (machine.put(torch.ones(1)), machine.put(torch.tensor([start])), machine.put(theta))
    params = NeuronParameters(4, signed=signed)
    options = {"grad_u": out, "grad_theta": total, "scratch": scratch, "scaled": True}
    launcher.fire_backward(machine.queue, *given, params, **options)
    assert total.item() == (1.0 if start > 0 else -1.0 if signed else 0.0)
    assert out.item() == 0.0


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_rest_in_place_without_gradient_of_the_threshold(dtype: torch.dtype, machine: Any) -> None:
    """Several elements a thread, and a rest: each is read once, nothing is written behind the last one."""
    start, grad = torch.linspace(-1, 3, 517).to(dtype), torch.linspace(-2, 2, 517).to(dtype)
    theta, out = torch.tensor([1.5]), machine.out(grad).copy_(machine.put(grad))
    given = (out, machine.put(start), machine.put(theta))
    launcher.fire_backward(machine.queue, *given, NeuronParameters(4), grad_u=out)
    inside = (start.float() >= 0.0) & (start.float() <= 1.5)
    assert torch.equal(out.cpu(), (inside * grad.float() / 1.5).to(dtype))


def test_more_channels_than_blocks(machine: Any) -> None:
    """A saturated output is its threshold: each channel sums its gradients, whole numbers."""
    theta = torch.full((7,), 1.5)
    grad = torch.arange(1.0, 8.0).reshape(7, 1).expand(3, 7, 5).contiguous()
    total, scratch, out = machine.out(theta), machine.out(torch.empty(1, 7)), machine.out(grad)
    given = (machine.put(grad), machine.put(torch.full_like(grad, 3.0)), machine.put(theta))
    options = {"grad_u": out, "grad_theta": total, "scratch": scratch, "scaled": True, "channel_axis": 1}
    queue = machine.narrow(backward_runs=1, sum_partials=0)
    launcher.fire_backward(queue, *given, NeuronParameters(4), **options)
    assert total.tolist() == [15.0 * (channel + 1) for channel in range(7)]
