"""The machines that run the kernels: the emulation on the CPU, and CuPy where there is a GPU.

A test module lists its ``CASES``; its machine first records which variants they ask for, then builds all.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cupy_kernels import CupyBackend, EmulationBackend, KernelEnvironmentError, Queue
from cupy_kernels.emulation.backend import compiler
from cupy_kernels.execution import Backend, Kernel
from cupy_kernels.variants import Variant
from spikejelly_pack.spec.parameters import NeuronParameters

HERE = Path(__file__).parent
GUARD = 64  # bytes on either side of every output


def tricky(shape: tuple[int, ...], theta: torch.Tensor, params: NeuronParameters, seed: int) -> torch.Tensor:
    """Membranes with exact ties, their neighbours, the ends of the window, zeros, subnormals, inf and NaN."""
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(shape, generator=generator)
    level = torch.randint(-2, params.max_code + 3, shape, generator=generator) + params.half
    lsb = theta / params.weight_sum
    tie = lsb * level
    pick = torch.randint(0, 8, shape, generator=generator)
    u = torch.where(pick == 0, tie, u)
    u = torch.where(pick == 1, torch.nextafter(tie, tie + 1), u)
    u = torch.where(pick == 2, torch.nextafter(tie, tie - 1), u)
    u = torch.where(pick == 3, theta * torch.randint(-1, 2, shape, generator=generator), u)
    special = torch.tensor([float("nan"), float("inf"), -float("inf"), 0.0, -0.0, 1e-40, -1e-40, 3e38, -3e38])
    # GPUs make a NaN of ones; rounded to fewer bits like a number it would become a zero or an infinity.
    special = torch.cat(
        [special, torch.tensor([0x7FFFFFFF, -1, 0x7F800001], dtype=torch.int32).view(torch.float32)]
    )
    where = torch.rand(shape, generator=generator) < 0.05
    drawn = special[torch.randint(0, len(special), shape, generator=generator)]
    return torch.where(where, drawn, u)


@dataclass
class Machine:
    """Where a case runs, and memory with guards around it."""

    queue: Queue
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    outputs: list[tuple[torch.Tensor, int, int]] = field(default_factory=list)

    def put(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor on the machine, layout kept."""
        return tensor.detach().to(self.device, memory_format=torch.preserve_format)

    def out(self, like: torch.Tensor, dtype: torch.dtype | None = None, shift: int = 0) -> torch.Tensor:
        """Return guarded memory of the shape and layout of ``like``, ``shift`` elements off alignment."""
        dtype = dtype or like.dtype
        size = torch.empty((), dtype=dtype).element_size()
        data, before = like.numel() * size, GUARD + shift * size
        raw = torch.full((before + data + GUARD,), 0xA5, dtype=torch.uint8, device=self.device)
        self.outputs.append((raw, before, before + data))
        flat = raw[before : before + data].view(dtype) if data else raw[:0].view(dtype)
        return flat.as_strided(like.shape, like.stride())

    @staticmethod
    def tricky(
        shape: tuple[int, ...], theta: torch.Tensor, params: NeuronParameters, seed: int
    ) -> torch.Tensor:
        """See :func:`tricky`."""
        return tricky(shape, theta, params, seed)

    def narrow(self, **axes: int) -> Queue:
        """Return the queue with at most two blocks along an axis of the kernels named."""

        def cut(variant: Variant, kernel: Kernel) -> Kernel:
            axis = axes[variant.kernel]

            def launch(blocks: tuple[int, int, int], *rest: Any) -> None:
                assert blocks[axis] > 2
                few = [min(count, 2) if at == axis else count for at, count in enumerate(blocks)]
                kernel((few[0], few[1], few[2]), *rest)

            return launch

        return self.altered(cut)

    def altered(self, change: Callable[[Variant, Kernel], Kernel]) -> Queue:
        """Return the queue with every kernel replaced by what ``change`` makes of it."""
        return replace(self.queue, backend=Altered(self.queue.backend, change))

    def check_guards(self) -> None:
        """Nothing was written beside the outputs."""
        for raw, start, end in self.outputs:
            assert bool((raw[:start] == 0xA5).all()), "written before an output"
            assert bool((raw[end:] == 0xA5).all()), "written behind an output"
        self.outputs.clear()


@dataclass(frozen=True)
class Altered:
    """A backend whose kernels are launched in another way."""

    backend: Backend
    change: Callable[[Variant, Kernel], Kernel]

    @property
    def name(self) -> str:
        return self.backend.name

    @property
    def on_host(self) -> bool:
        return self.backend.on_host

    def kernel(self, variant: Variant, device: int | None) -> Kernel:
        return self.change(variant, self.backend.kernel(variant, device))


class Recorder:
    """A backend that runs nothing and remembers what it was asked for."""

    name = "recorder"
    on_host = True

    def __init__(self) -> None:
        self.variants: dict[str, Variant] = {}

    def kernel(self, variant: Variant, device: int | None) -> Kernel:
        self.variants[variant.entry] = variant
        return lambda *_: None


def record(cases: list[Callable[[Machine], Any]]) -> list[Variant]:
    """Variants that the cases launch."""
    recorder = Recorder()
    for case in cases:
        case(Machine(Queue(recorder)))
    return list(recorder.variants.values())


def gpu_machine() -> Machine:
    """Return the first CUDA device; a missing one is a failure where SPIKEPACK_REQUIRE_GPU is set."""
    try:
        if not torch.cuda.is_available():
            raise KernelEnvironmentError(f"torch {torch.__version__} finds no CUDA device")
        backend = CupyBackend(int(str(torch.version.cuda).split(".")[0]))
        backend.check(0)
    except KernelEnvironmentError as reason:
        if os.environ.get("SPIKEPACK_REQUIRE_GPU"):
            pytest.fail(f"a GPU is required here: {reason}")
        pytest.skip(f"no GPU: {reason}")
    device = torch.device("cuda", 0)
    stream = torch.cuda.Stream(device)
    stream.wait_stream(torch.cuda.current_stream(device))
    torch.cuda.set_stream(stream)  # not the default stream: a launch on the wrong one is then a race
    guard = functools.partial(torch.cuda.device, device)
    return Machine(Queue(backend, 0, stream.cuda_stream, guard), device)


@pytest.fixture(scope="session")
def build_folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where built kernels are kept between runs; without a compiler there is nothing to test."""
    try:
        compiler()
    except KernelEnvironmentError as error:
        pytest.skip(str(error))
    cache = getattr(request.config, "cache", None)  # None with -p no:cacheprovider
    name = "spikepack-kernels"
    return tmp_path_factory.mktemp(name) if cache is None else Path(cache.mkdir(name))


@pytest.fixture(scope="module", params=["emulation", pytest.param("cupy", marks=pytest.mark.gpu)])
def backend_machine(request: pytest.FixtureRequest) -> Machine:
    """The machine of this module, its kernels built."""
    if request.param == "cupy":
        return gpu_machine()
    backend = EmulationBackend(folder=request.getfixturevalue("build_folder"))
    backend.build(record(getattr(request.module, "CASES", [])))
    return Machine(Queue(backend))


@pytest.fixture
def machine(backend_machine: Machine) -> Iterator[Machine]:
    """The module's machine; guards are checked after the test."""
    yield backend_machine
    if backend_machine.queue.backend.on_host is False:
        torch.cuda.synchronize()
    backend_machine.check_guards()


@pytest.fixture(scope="session")
def recording() -> Callable[[list[Callable[[Machine], Any]]], list[Variant]]:
    """Return :func:`record`."""
    return record


@pytest.fixture(scope="session")
def new_machine(build_folder: Path) -> Callable[..., Machine]:
    """Return a function that makes an emulation machine with its own settings."""
    return lambda **settings: Machine(Queue(EmulationBackend(folder=build_folder, **settings)))


def same_bits(got: torch.Tensor, expected: torch.Tensor) -> bool:
    """Whether all numbers agree bit for bit; every NaN is like every other."""
    assert got.shape == expected.shape, f"shapes {tuple(got.shape)} and {tuple(expected.shape)}"
    assert got.dtype == expected.dtype, f"dtypes {got.dtype} and {expected.dtype}"
    mine, theirs = (t.detach().cpu().contiguous() for t in (got, expected))
    if mine.is_floating_point():
        if not torch.equal(mine.isnan(), theirs.isnan()):
            return False
        mine, theirs = (torch.where(t.isnan(), torch.zeros((), dtype=t.dtype), t) for t in (mine, theirs))
    return np.array_equal(
        mine.reshape(-1).view(torch.uint8).numpy(), theirs.reshape(-1).view(torch.uint8).numpy()
    )


@pytest.fixture(scope="session")
def assert_same() -> Callable[[dict[str, tuple[torch.Tensor, torch.Tensor]]], None]:
    """Return a function that compares pairs of results by name, bit for bit."""

    def check(pairs: dict[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        for name, (got, expected) in pairs.items():
            wrong = (got.detach().cpu().double() != expected.double()).sum()
            assert same_bits(got, expected), f"{name}: {int(wrong)} of {expected.numel()} differ"

    return check
