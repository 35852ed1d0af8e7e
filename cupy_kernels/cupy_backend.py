"""The kernels on a GPU through CuPy: compiled by NVRTC on first use, kept on disk by CuPy.

Nothing is imported before the first kernel is asked for: CuPy after a fork, or before torch, can bind the
wrong libraries.
"""

from __future__ import annotations

import threading
from functools import lru_cache
from typing import Any

import numpy as np

from .environment import load_cupy
from .execution import Kernel
from .variants import Variant

__all__ = ["CupyBackend"]


class _TorchStream:
    """A stream by its pointer, in the protocol ``cupy.cuda.Stream.from_external`` takes."""

    def __init__(self, pointer: int) -> None:
        self.pointer = pointer

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.pointer


class CupyBackend:
    """Compiles and launches through CuPy 13 or newer.

    Args:
        cuda_major: CUDA major of the torch in use, so that a CuPy for another one is refused.
    """

    name = "cupy"
    on_host = False

    def __init__(self, cuda_major: int | None = None) -> None:
        self._cuda_major = cuda_major
        self._cupy: dict[int, Any] = {}
        self._kernels: dict[tuple[str, int], Kernel] = {}
        # One lock for compiling: CuPy's own module cache is not safe in threads.
        self._lock = threading.RLock()

    def check(self, device: int = 0) -> Any:
        """Return the module ``cupy`` if it can run on ``device``.

        Raises:
            KernelEnvironmentError: It cannot; the message holds the cause.
        """
        with self._lock:
            if device not in self._cupy:
                self._cupy[device] = load_cupy(self._cuda_major, device)
            return self._cupy[device]

    def kernel(self, variant: Variant, device: int | None) -> Kernel:
        """Return a loaded kernel; the first call for a variant and device compiles it (0.2 to 0.4 s)."""
        ordinal = 0 if device is None else device
        found = self._kernels.get((variant.entry, ordinal))
        if found is not None:
            return found
        cupy = self.check(ordinal)
        with self._lock:
            if (variant.entry, ordinal) not in self._kernels:
                self._kernels[variant.entry, ordinal] = _load(cupy, variant, ordinal)
            return self._kernels[variant.entry, ordinal]


def _load(cupy: Any, variant: Variant, device: int) -> Kernel:
    module = cupy.RawModule(code=variant.source, options=("-std=c++17",), backend="nvrtc")
    with cupy.cuda.Device(device):
        # Compiled and loaded now: neither can happen while a graph is captured.
        function = module.get_function(variant.entry).kernel

    def launch(
        grid: tuple[int, int, int],
        block: tuple[int, int, int],
        arguments: tuple[np.generic, ...],
        stream: int,
    ) -> None:
        function(grid, block, arguments, 0, _stream(cupy, stream, device))

    return launch


@lru_cache(256)
def _stream(cupy: Any, pointer: int, device: int) -> Any:
    """The caller's stream; without one CuPy would take its own current stream, which is not torch's."""
    if pointer == 0:
        return cupy.cuda.Stream.null
    if hasattr(cupy.cuda.Stream, "from_external"):
        return cupy.cuda.Stream.from_external(_TorchStream(pointer))
    return cupy.cuda.ExternalStream(pointer, device)  # CuPy 13; deprecated since 14
