"""Where CuPy cannot run, the message holds the real cause and the line that mends it."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, ClassVar

import numpy as np
import pytest

from cupy_kernels import CupyBackend, KernelEnvironmentError, Queue, launcher, load_cupy
from cupy_kernels.variants import Variant
from spikejelly_pack.spec.parameters import NeuronParameters


class NoDriverError(RuntimeError):
    """As CuPy raises it."""


def fails(error: Exception) -> Any:
    def call(*_: object) -> Any:
        raise error

    return call


class Stream:
    """CuPy's stream as far as the backend uses it."""

    null: Stream

    def __init__(self, pointer: int = 0) -> None:
        self.pointer = pointer

    @staticmethod
    def from_external(stream: Any) -> Stream:
        return Stream(stream.__cuda_stream__()[1])


Stream.null = Stream(0)


class Device:
    """A device of compute capability 9.0."""

    compute_capability = "90"

    def __init__(self, _ordinal: int) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...


class RawModule:
    """Counts what is compiled and keeps what is launched."""

    compiled = 0
    launched: ClassVar[list[tuple[tuple[int, ...], tuple[np.generic, ...], int]]] = []

    def __init__(self, code: str, options: tuple[str, ...], backend: str) -> None:
        assert backend == "nvrtc"
        assert 'extern "C"' in code
        assert "-std=c++17" in options

    def get_function(self, _name: str) -> Any:
        type(self).compiled += 1

        def function(grid: Any, _block: Any, arguments: Any, _shared: int, stream: Stream) -> None:
            RawModule.launched.append((grid, arguments, stream.pointer))

        return SimpleNamespace(kernel=function)


def cupy_module(**changes: Any) -> ModuleType:
    """A CuPy that works, but for the changes."""
    module = ModuleType("cupy")
    runtime = SimpleNamespace(runtimeGetVersion=lambda: 13020, getDeviceCount=changes.get("count", lambda: 1))
    module.__version__ = changes.get("version", "14.2.0")  # type: ignore[attr-defined]
    module.RawModule = RawModule  # type: ignore[attr-defined]
    module.cuda = SimpleNamespace(  # type: ignore[attr-defined]
        runtime=runtime,
        nvrtc=SimpleNamespace(getVersion=changes.get("nvrtc", lambda: (13, 2))),
        Device=changes.get("device", Device),
        Stream=Stream,
    )
    return module


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Put a module, or nothing, in CuPy's place."""
    RawModule.compiled = 0
    RawModule.launched.clear()

    def put(module: ModuleType | None) -> None:
        monkeypatch.setitem(sys.modules, "cupy", module)

    return put


def old_card() -> type:
    return type("OldDevice", (Device,), {"compute_capability": "70"})


BROKEN: dict[str, tuple[dict[str, Any], int | None, str]] = {
    "another CUDA major": (
        {},
        12,
        r"for CUDA 12 as torch is, got one for CUDA 13; run: .* && pip install 'cupy-cuda12x>=13'",
    ),
    "too old a CuPy": (
        {"version": "12.3.0"},
        13,
        r"version 13 or newer, got 12.3.0; run: pip install 'cupy-cuda13x>=13'",
    ),
    "no NVRTC": (
        {"nvrtc": fails(RuntimeError('Failure finding "libnvrtc.so.13"'))},
        13,
        r"\(RuntimeError: Failure finding .libnvrtc.so.13.\); run: pip install .cuda-toolkit.nvrtc.==13",
    ),
    "no driver": (
        {"count": fails(NoDriverError("cudaErrorInsufficientDriver: CUDA driver version is insufficient"))},
        13,
        r"no CUDA device can be used \(NoDriverError: cudaErrorInsuff.*install an NVIDIA driver for CUDA 13",
    ),
    "no such device": ({"count": lambda: 0}, 13, "one of the 0 CUDA devices present, got cuda:0"),
    "an old card": ({"device": old_card()}, None, "compute capability 7.5 or newer .Turing., got 7.0"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_cause_and_remedy_are_said(name: str, install: Any) -> None:
    changes, major, words = BROKEN[name]
    install(cupy_module(**changes))
    with pytest.raises(KernelEnvironmentError, match=words):
        load_cupy(major)


def test_absent_cupy_is_said(install: Any) -> None:
    install(None)  # importing it raises ModuleNotFoundError
    with pytest.raises(KernelEnvironmentError, match=r"not installed.*run: pip install 'cupy-cuda12x>=13'"):
        load_cupy(12)


def test_a_broken_cupy_shows_its_own_error(tmp_path: Path) -> None:
    """An import that fails inside CuPy is not reported as an absent CuPy."""
    (tmp_path / "cupy.py").write_text("raise ImportError('libcublas.so.13: cannot open shared object file')")
    program = "from cupy_kernels import load_cupy; load_cupy(13)"
    command = [sys.executable, "-c", program]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        cwd=Path(__file__).parents[2],
    )
    assert "installed but cannot be imported (ImportError: libcublas.so.13: cannot open" in done.stderr
    assert "pip install 'cupy-cuda13x>=13'" in done.stderr


def test_launch_uses_the_caller_s_stream_and_numpy_scalars(install: Any) -> None:
    install(cupy_module())
    backend = CupyBackend(13)
    entered = []

    class Guard:
        def __enter__(self) -> None:
            entered.append(True)

        def __exit__(self, *_: object) -> None: ...

    variant = Variant("sum_partials", ())
    values = {"partial": 1 << 40, "total": 64, "rows": 3, "channels": 5}
    Queue(backend, 0, 4711, Guard).launch(variant, (5, 1, 1), 256, values)
    Queue(backend, 0, 0, Guard).launch(variant, (5, 1, 1), 256, values)
    (grid, arguments, stream), (_, _, second) = RawModule.launched
    assert (grid, stream, second, entered, RawModule.compiled) == ((5, 1, 1), 4711, 0, [True, True], 1)
    assert [type(a) for a in arguments] == [np.uint64, np.uint64, np.uint32, np.uint32]


def test_a_kernel_is_compiled_once_by_many_threads(install: Any) -> None:
    install(cupy_module())
    backend = CupyBackend()
    variant = Variant("sum_partials", ())
    barrier = threading.Barrier(8, timeout=120)

    def work(_number: int) -> None:
        barrier.wait()
        backend.kernel(variant, 0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))  # raises what a thread raised
    assert RawModule.compiled == 1


def test_nothing_is_compiled_or_imported_before_the_first_launch() -> None:
    program = (
        "import sys; import cupy_kernels; from cupy_kernels import CupyBackend, Queue, launcher; "
        "q = Queue(CupyBackend(), 0); "
        "print([m for m in ('cupy', 'torch', 'spikejelly_pack', 'spikingjelly') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_real_cause_reaches_the_caller(install: Any) -> None:
    """A launch, not only the check, says why it cannot run."""
    install(None)
    values = np.zeros(4, np.float32)
    with pytest.raises(KernelEnvironmentError, match="CuPy is not installed"):
        launcher.fire(Queue(CupyBackend(13)), values, values[:1], NeuronParameters(4), values=values.copy())
