"""Products of codes and 8-bit weights with the fire fused: exact in integers, against 64-bit sums."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from cupy_kernels import KernelArgumentError, Queue, launcher
from cupy_kernels.execution import Kernel
from cupy_kernels.launcher import product
from cupy_kernels.variants import Variant
from spikejelly_pack import functional
from spikejelly_pack.spec import equations

# Rows, depth, columns: one block, several blocks both ways, ragged in all three, 16-byte rows or not.
MATRICES = ((5, 32, 8), (130, 96, 70), (37, 45, 9), (129, 64, 64), (140, 272, 136))
# Channels, outputs, kernel, stride, padding, dilation
CONVOLUTIONS = (
    (16, 20, 3, 1, 1, 1), (3, 5, 3, 2, 1, 1), (32, 66, 1, 1, 0, 1), (16, 7, 3, 1, 2, 2), (16, 8, 1, 2, 1, 1),
    (80, 9, 2, 1, 1, 3),
)  # fmt: skip


@dataclass(frozen=True)
class Product:
    """One layer in integers."""

    shape: tuple[int, ...]
    signed_input: bool
    signed: bool
    time_steps: int | None
    half: bool
    channels: bool
    seed: int
    wide: bool = False
    biased: bool = True
    shift: int = 0  # elements that the outputs lie off alignment

    def __str__(self) -> str:
        return (
            f"{self.shape}{'-s8' if self.signed_input else '-u8'}-T{self.time_steps}{'-signed' * self.signed}"
            f"{'-half' * self.half}{'-channels' * self.channels}{'-wide' * self.wide}"
            f"{'' if self.biased else '-plain'}{'-shifted' * bool(self.shift)}"
        )

    def operands(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[int, int, int]]:
        """Codes, weights and exact sums; extremes included."""
        generator = torch.Generator().manual_seed(self.seed)
        low, high, dtype = (-127, 128, torch.int8) if self.signed_input else (0, 256, torch.uint8)

        def draw(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
            left = torch.randint(low, high, shape, generator=generator)
            return left.to(dtype), left.double()

        if len(self.shape) == 3:
            rows, depth, columns = self.shape
            codes, wide = draw(rows, depth)
            weight = torch.randint(-128, 128, (columns, depth), generator=generator)
            return codes, weight.to(torch.int8), wide @ weight.double().t(), (1, 0, 1)
        inputs, outputs, kernel, stride, padding, dilation = self.shape
        codes, wide = draw(2, inputs, 9, 7)
        weight = torch.randint(-128, 128, (outputs, inputs, kernel, kernel), generator=generator)
        sums = F.conv2d(wide, weight.double(), None, stride, padding, dilation)
        last = torch.channels_last
        weight = weight.to(torch.int8).contiguous(memory_format=last)
        return codes.contiguous(memory_format=last), weight, sums, (stride, padding, dilation)

    def __call__(self, machine: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        codes, weight, sums, (stride, padding, dilation) = self.operands()
        outputs = weight.shape[0]
        draw = np.random.default_rng(self.seed)
        bias = torch.from_numpy(draw.integers(-5000, 5000, outputs).astype(np.int32))
        spread = (-1,) if sums.ndim == 2 else (-1, 1, 1)
        total = sums.to(torch.int64) + (bias.reshape(spread) if self.biased else 0)
        options: dict[str, Any] = {"bias": machine.put(bias) if self.biased else None}
        expected = total.to(torch.int32)
        if self.time_steps is not None:
            scale = max(1, int(total.abs().max()) >> self.time_steps)
            count = outputs if self.channels else 1
            theta = draw.integers(scale, 2 * scale + 1, count).astype(np.int32)
            code = self.fired(total.numpy(), theta.astype(np.int64).reshape(spread))
            expected = torch.from_numpy(code).to(functional.code_dtype(self.time_steps, self.signed))
            options |= {"theta": machine.put(torch.from_numpy(theta)), "time_steps": self.time_steps}
            options |= {"signed": self.signed, "half": self.half}
        if sums.ndim == 4:
            expected = expected.contiguous(memory_format=torch.channels_last)
            options |= {"stride": (stride,) * 2, "padding": (padding,) * 2, "dilation": (dilation,) * 2}
        out = machine.out(expected, shift=self.shift)
        launch = launcher.linear if sums.ndim == 2 else launcher.conv2d
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(product, "_is_wide", lambda *_: self.wide)  # else only for more than tests can run
            launch(machine.queue, machine.put(codes), machine.put(weight), out, **options)
        return {"out": (out, expected)}

    def fired(self, total: np.ndarray, theta: np.ndarray) -> np.ndarray:
        assert self.time_steps is not None
        limit = (1 << self.time_steps) - 1
        size = np.abs(total) if self.signed else total
        code = equations.integer_code(size, theta, limit, self.half)
        return code * np.sign(total) if self.signed else code


def sample() -> list[Product]:
    draw = random.Random(4)
    cases = []
    for index, shape in enumerate((*MATRICES, *CONVOLUTIONS)):
        cases.append(Product(shape, index % 2 == 1, False, None, True, False, index))
        signed = draw.random() < 0.5
        steps = draw.choice((1, 4, 7, 8, 10))
        rest = (draw.random() < 0.5, draw.random() < 0.5)
        cases.append(Product(shape, draw.random() < 0.5, signed, steps, *rest, index))
        wide = (draw.random() < 0.5, draw.choice((False, True)), draw.choice((None, 3, 8, 11)))
        cases.append(Product(shape, *wide, *rest, index, True))
    return cases


CASES = sample()
# One term more than a step, and one column less or more than codes are written at once; eight steps, so that
# every buffer is used again, and again; no bias; outputs where neither pairs nor whole chunks can be written.
LONG, FLAT = (20, 464, 24), (130, 48, 32)
CASES += [
    Product((9, 65, 15), False, False, 8, True, True, 20),
    Product((9, 65, 17), True, True, 7, False, False, 21, wide=True),
    Product(LONG, False, False, 8, True, True, 22, biased=False),
    Product(LONG, True, False, None, True, False, 23, biased=False),
    Product(FLAT, False, False, None, True, False, 24, shift=1),
    Product(FLAT, False, True, 6, True, True, 25, shift=1),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_product_is_exact(case: Product, machine: Any, assert_same: Callable[..., None]) -> None:
    assert_same(case(machine))


def test_a_block_writes_its_own_rows(
    new_machine: Callable[..., Any], assert_same: Callable[..., None]
) -> None:
    """What a block writes into the rows of the next one would be written over where that runs later."""
    machine = new_machine()
    emulation = machine.queue.backend

    def descending(_variant: Variant, kernel: Kernel) -> Kernel:
        """The blocks of the first axis one at a time, the last one first."""

        def launch(blocks: tuple[int, int, int], *rest: Any) -> None:
            for index in reversed(range(blocks[0])):
                emulation.blocks = (index, index + 1)
                kernel(blocks, *rest)

        return launch

    machine.queue = machine.altered(descending)
    assert_same(Product((260, 32, 16), False, False, 8, True, False, 26)(machine))
    machine.check_guards()


def ints(*shape: int, dtype: torch.dtype = torch.int8) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


U8, I32 = torch.uint8, torch.int32
LAST = torch.channels_last
REFUSED: dict[str, tuple[Callable[[Queue], None], str]] = {
    "depths": (
        lambda q: launcher.linear(q, ints(4, 16), ints(8, 17), ints(4, 8, dtype=I32)),
        r"weight: must be \[N, K\] beside codes",
    ),
    "out": (
        lambda q: launcher.linear(q, ints(4, 16), ints(8, 16), ints(8, 4, dtype=I32)),
        r"out: must have shape \[4, 8\]",
    ),
    "dtype of out": (
        lambda q: launcher.linear(q, ints(4, 16), ints(8, 16), ints(4, 8, dtype=U8)),
        "out: dtype must be int32, got uint8",
    ),
    "thresholds": (
        lambda q: launcher.linear(
            q, ints(4, 16), ints(8, 16), ints(4, 8, dtype=U8), theta=torch.ones(3, dtype=I32)
        ),
        "theta: must have 1 or 8 elements",
    ),
    "depth beyond 32 bits": (
        lambda q: launcher.linear(q, ints(1, 65795), ints(1, 65795), ints(1, 1, dtype=I32)),
        "weight: at most 65793 terms",
    ),
    "layout of images": (
        lambda q: launcher.conv2d(q, ints(1, 4, 5, 5), ints(2, 4, 1, 1), ints(1, 2, 5, 5, dtype=I32)),
        "codes: must have shape .* channels last",
    ),
    "groups": (
        lambda q: launcher.conv2d(q, ints(1, 4, 5, 5), ints(4, 1, 3, 3), ints(1, 4, 3, 3, dtype=I32)),
        "grouped convolutions have no kernel",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_argument_is_named(name: str, new_machine: Callable[..., Any]) -> None:
    call, words = REFUSED[name]
    with pytest.raises(KernelArgumentError, match=words):
        call(new_machine().queue)
