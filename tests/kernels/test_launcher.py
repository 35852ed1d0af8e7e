"""What a launch refuses, and what it survives: empty arrays, threads, huge indices."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch

from cupy_kernels import EmulationBackend, KernelArgumentError, Queue, launcher
from cupy_kernels.launcher import PoolGeometry
from cupy_kernels.launcher.grid import index_type
from cupy_kernels.variants import Variant
from spikejelly_pack.spec.parameters import NeuronParameters

PARAMS = NeuronParameters(4)
LEAKY = NeuronParameters(4, leak=0.5)


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.zeros(shape, dtype=dtype)


U8 = torch.uint8
REFUSED: dict[str, tuple[Callable[[Queue], None], str]] = {
    "dtype of u": (
        lambda q: launcher.fire(q, zeros(8).double(), zeros(1), PARAMS, codes=zeros(8, dtype=U8)),
        r"u: dtype must be one of float32.*got float64",
    ),
    "integer u": (
        lambda q: launcher.fire(q, zeros(8, dtype=torch.int32), zeros(1), PARAMS, codes=zeros(8, dtype=U8)),
        r"u: dtype must be float32 or float16 or bfloat16, got int32",
    ),
    "dtype of codes": (
        lambda q: launcher.fire(q, zeros(8), zeros(1), PARAMS, codes=zeros(8, dtype=torch.int8)),
        "codes: dtype must be uint8, got int8",
    ),
    "shape of codes": (
        lambda q: launcher.fire(q, zeros(8), zeros(1), PARAMS, codes=zeros(9, dtype=U8)),
        r"codes: must have shape \[8\]",
    ),
    "layout of values": (
        lambda q: launcher.fire(q, zeros(4, 6), zeros(1), PARAMS, values=zeros(6, 4).t()),
        "values: must have shape .* and strides .* as u",
    ),
    "strided u": (
        lambda q: launcher.fire(q, zeros(4, 6)[:, ::2], zeros(1), PARAMS, values=zeros(4, 3)),
        "u: must be dense .* call contiguous",
    ),
    "number of thresholds": (
        lambda q: launcher.fire(q, zeros(4, 6), zeros(5), PARAMS, values=zeros(4, 6), channel_axis=1),
        "theta: must have 1 or 6 elements",
    ),
    "axis of thresholds": (
        lambda q: launcher.fire(q, zeros(4, 6), zeros(6), PARAMS, values=zeros(4, 6)),
        "channel_axis: must be an axis of u",
    ),
    "windows as channels": (
        lambda q: launcher.fire(q, zeros(4, 6), zeros(4), LEAKY, values=zeros(4, 6), channel_axis=0),
        "channel_axis: must be an axis",
    ),
    "nothing to write": (
        lambda q: launcher.fire(q, zeros(8), zeros(1), PARAMS),
        "codes and values: one of them must be given",
    ),
    "carry without leak": (
        lambda q: launcher.fire(q, zeros(8), zeros(1), PARAMS, values=zeros(8), carry_in=zeros(8)),
        "carry_in: needs a neuron with leak > 0",
    ),
    "shape of the carry": (
        lambda q: launcher.fire(q, zeros(2, 8), zeros(1), LEAKY, values=zeros(2, 8), carry_out=zeros(2, 8)),
        r"carry_out: must have shape \[8\]",
    ),
    "amplitude": (
        lambda q: launcher.fire(q, zeros(8), zeros(1), PARAMS, values=zeros(8), amplitude="half"),
        "amplitude: must be unit or scaled or code, got 'half'",
    ),
    "length of a window": (
        lambda q: launcher.serial(q, zeros(2, 3, 8), zeros(1), PARAMS, spikes=zeros(2, 3, 8)),
        r"x: must be \[W, T, \*\] with T = 4",
    ),
    "time steps not leading": (
        lambda q: launcher.serial(q, zeros(8, 4, 2).transpose(0, 2), zeros(1), PARAMS, spikes=zeros(2, 4, 8)),
        "x: its first 2 axes must come first in memory",
    ),
    "phase": (
        lambda q: launcher.step(q, zeros(8), zeros(1), PARAMS, phase=4, spikes=zeros(8)),
        r"phase: must be in 0..3, got 4",
    ),
    "accumulator missing": (
        lambda q: launcher.step(
            q, zeros(8), zeros(1), PARAMS, phase=1, spikes=zeros(8), accumulator_out=zeros(8)
        ),
        "accumulator: must be given at phase 1",
    ),
    "start missing": (
        lambda q: launcher.step(
            q,
            zeros(8),
            zeros(1),
            PARAMS,
            phase=0,
            spikes=zeros(8),
            accumulator_out=zeros(8),
            code=zeros(8),
            v=zeros(8),
        ),
        "start: must be given with code where v is wanted",
    ),
    "scratch": (
        lambda q: launcher.fire_backward(
            q, zeros(8), zeros(8), zeros(1), PARAMS, grad_u=zeros(8), grad_theta=zeros(1), scratch=zeros(4, 2)
        ),
        r"scratch: must be \[rows, 1\]",
    ),
    "sign of digits": (
        lambda q: launcher.unpack(q, zeros(8, dtype=torch.int8), zeros(4, 8, dtype=U8), time_steps=4),
        "digits: must be signed where codes are",
    ),
    "empty pooling window": (
        lambda q: launcher.pool_codes(
            q, zeros(1, 1, 4, 4, dtype=U8), zeros(1, 1, 9, 2, dtype=U8), PoolGeometry((2, 2), (2, 2))
        ),
        "geometry: every window must hold an input",
    ),
    "words of alive": (
        lambda q: launcher.pool_step(
            q,
            zeros(1, 1, 4, 4),
            zeros(1, 1, 2, 2),
            zeros(2, 4, dtype=torch.int32),
            PoolGeometry((2, 2), (2, 2)),
            first=True,
        ),
        r"alive: must be \[1, 4\]",
    ),
    "time steps": (
        lambda q: launcher.integer_fire(
            q, zeros(4, dtype=torch.int32), zeros(1, dtype=torch.int32), zeros(4, dtype=U8), time_steps=17
        ),
        "time_steps: must be in 1..16, got 17",
    ),
    "a list": (lambda q: launcher.fire(q, [1.0], zeros(1), PARAMS), "u: dtype must be .* got list"),
}


@pytest.fixture
def emulation(new_machine: Callable[..., Any]) -> Queue:
    return new_machine().queue


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_argument_is_named(name: str, emulation: Queue) -> None:
    call, words = REFUSED[name]
    with pytest.raises(KernelArgumentError, match=words):
        call(emulation)


def test_arrays_of_another_device_are_refused() -> None:
    """A queue on a GPU never gets a pointer into host memory."""
    queue = Queue(EmulationBackend(), device=1)
    with pytest.raises(KernelArgumentError, match="u: must lie in cuda:1, got host memory"):
        launcher.fire(queue, zeros(8), zeros(1), PARAMS, values=zeros(8))


def test_unaligned_elements_are_refused(emulation: Queue) -> None:
    raw = torch.zeros(37, dtype=U8).numpy()
    crooked = np.frombuffer(raw[1:33].data, dtype=np.float32)
    with pytest.raises(KernelArgumentError, match="u: must be aligned to its elements"):
        launcher.fire(emulation, crooked, zeros(1), PARAMS, values=zeros(8))


def test_empty_arrays_launch_nothing(recording: Callable[..., list[Variant]]) -> None:
    """CuPy would launch one block for an empty grid."""
    empty, codes = zeros(0, 4), zeros(0, 4, dtype=U8)

    def calls(machine: Any) -> None:
        q = machine.queue
        launcher.fire(q, empty, zeros(1), PARAMS, codes=codes, values=empty)
        launcher.fire(q, zeros(2, 0), zeros(1), LEAKY, values=zeros(2, 0), carry_out=zeros(0))
        launcher.serial(q, zeros(0, 4, 5), zeros(1), PARAMS, spikes=zeros(0, 4, 5))
        launcher.serial(q, zeros(2, 4, 0), zeros(1), PARAMS, spikes=zeros(2, 4, 0))
        launcher.step(q, empty, zeros(1), PARAMS, phase=0, spikes=empty, accumulator_out=empty)
        launcher.pack(q, zeros(4, 0), zeros(0, dtype=U8), time_steps=4)
        launcher.unpack(q, zeros(0, dtype=U8), zeros(4, 0), time_steps=4)
        launcher.decode(q, codes, empty, PARAMS)
        launcher.fire_backward(q, empty, empty, zeros(1), PARAMS, grad_u=empty)
        none = zeros(0, 1, 4, 4, dtype=U8)
        launcher.pool_codes(q, none, none[:, :, :2, :2], PoolGeometry((2, 2), (2, 2)))
        ints = zeros(0, dtype=torch.int32)
        launcher.integer_fire(q, ints, torch.ones(1, dtype=torch.int32), zeros(0, dtype=U8), time_steps=4)

    assert recording([calls]) == []


def test_gradient_of_an_empty_array_is_zero(emulation: Queue) -> None:
    total = torch.full((3,), 7.0)
    empty = zeros(0, 3)
    options = {"grad_u": empty, "grad_theta": total, "scratch": zeros(1, 3), "channel_axis": 1}
    launcher.fire_backward(emulation, empty, empty, torch.ones(3), PARAMS, **options)
    assert total.tolist() == [0, 0, 0]


def test_numpy_arrays_are_taken(emulation: Queue) -> None:
    codes = np.empty(3, np.uint8)
    u = np.array([0.0, 0.6, 2.0], np.float32)
    launcher.fire(emulation, u, np.ones(1, np.float32), PARAMS, codes=codes)
    assert codes.tolist() == [0, 9, 15]


def test_threads_share_a_backend(emulation: Queue) -> None:
    """Eight threads, one backend, first compile included."""
    u = torch.linspace(0, 1, 4096)
    results = [torch.empty(4096, dtype=U8) for _ in range(8)]

    def work(codes: torch.Tensor) -> None:
        for _ in range(3):
            launcher.fire(emulation, u, torch.ones(1), PARAMS, codes=codes)

    with ThreadPoolExecutor(len(results)) as pool:
        list(pool.map(work, results))  # raises what a thread raised
    assert all(torch.equal(codes, results[0]) for codes in results)


def test_index_type_grows_before_it_overflows() -> None:
    assert index_type(2**31) == "u32"
    assert index_type(2**32 - 2 * 32 * 256) == "u32"
    assert index_type(2**32 - 1) == "u64"


def sparse(elements: int, dtype: torch.dtype) -> torch.Tensor:
    """Memory that costs nothing where it is not touched."""
    size = elements * torch.empty((), dtype=dtype).element_size()
    return torch.frombuffer(mmap.mmap(-1, size), dtype=dtype)


def last_codes(edit: Callable[[str], str] | None, folder: Any) -> torch.Tensor:
    """Decode the end of 2^32 + 4096 codes, running only the last blocks of the grid."""
    n, group = 2**32 + 4096, 8
    codes, values = sparse(n, U8), sparse(n, torch.float16)
    codes[-8192:] = torch.arange(8192) % 16
    backend = EmulationBackend(edit=edit, folder=folder)
    blocks = n // (256 * group)
    backend.blocks = (blocks - 4, blocks)
    launcher.decode(Queue(backend), codes, values, PARAMS)
    return values[-8192:].clone()


def test_past_two_to_the_32_elements(build_folder: Any) -> None:
    expected = (torch.arange(8192) % 16).float() / 15
    assert torch.equal(last_codes(None, build_folder), expected.half())


def test_an_index_of_32_bits_would_be_seen(build_folder: Any) -> None:
    text = "((I)blockIdx.x * blockDim.x + threadIdx.x) * V"

    def narrow(source: str) -> str:
        assert text in source
        return source.replace(text, "(I)((blockIdx.x * blockDim.x + threadIdx.x) * V)")

    assert not last_codes(narrow, build_folder)[-4096:].any()
