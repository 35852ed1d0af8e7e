"""Where a kernel runs: a backend, a device, a stream. The caller owns all three and every array."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from .variants import Variant

__all__ = ["Backend", "Kernel", "Queue"]

#: A loaded kernel: grid, block, arguments as numpy scalars (pointers as uint64), stream pointer.
Kernel = Callable[[tuple[int, int, int], tuple[int, int, int], tuple["np.generic", ...], int], None]


class Backend(Protocol):
    """Compiles and launches kernel variants: CuPy on a GPU, or the emulation on a CPU."""

    name: str
    #: Whether arrays lie in host memory.
    on_host: bool

    def kernel(self, variant: Variant, device: int | None) -> Kernel:
        """Return the loaded kernel, compiling it on first use; safe in threads."""
        ...


@dataclass(frozen=True)
class Queue:
    """A backend with the device and stream to launch on.

    Attributes:
        backend: :class:`.CupyBackend` or :class:`.EmulationBackend`.
        device: CUDA ordinal of every array; None for host memory.
        stream: ``cudaStream_t`` as an integer, 0 for the default stream: with torch,
            ``torch.cuda.current_stream(device).cuda_stream``.
        guard: Makes ``device`` current while it is entered: with torch,
            ``functools.partial(torch.cuda.device, device)``. CuPy's own guard would leave torch on another
            device in old versions.
    """

    backend: Backend
    device: int | None = None
    stream: int = 0
    guard: Callable[[], AbstractContextManager[object]] = nullcontext

    def launch(
        self, variant: Variant, blocks: tuple[int, int, int], threads: int, values: Mapping[str, object]
    ) -> None:
        """Launch one kernel; ``values`` by parameter name, as numpy scalars of exactly the declared types.

        CuPy would pass a Python int as 8 and a float as 8 bytes whatever the kernel declares.
        """
        arguments = variant.arguments(values)
        with self.guard():
            self.backend.kernel(variant, self.device)(blocks, (threads, 1, 1), arguments, self.stream)
