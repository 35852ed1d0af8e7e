"""CUDA kernels of SpikePack, launched through CuPy, and the same kernels on a CPU for checking them.

A leaf: it imports no sibling, and nothing heavy when it is imported. Names:

* :class:`CupyBackend` launches on a GPU; :class:`EmulationBackend` runs the same source on a CPU.
* :class:`Queue` is a backend with a device and a stream.
* :mod:`cupy_kernels.launcher` holds one validated function per kernel.
* :func:`load_cupy` says whether CuPy can run here, and why not.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cupy_backend import CupyBackend
    from .emulation import EmulationBackend
    from .environment import load_cupy
    from .errors import KernelArgumentError, KernelEnvironmentError, KernelError
    from .execution import Queue

__all__ = [
    "CupyBackend",
    "EmulationBackend",
    "KernelArgumentError",
    "KernelEnvironmentError",
    "KernelError",
    "Queue",
    "load_cupy",
]

_HOMES = {
    "CupyBackend": ".cupy_backend",
    "EmulationBackend": ".emulation",
    "KernelArgumentError": ".errors",
    "KernelEnvironmentError": ".errors",
    "KernelError": ".errors",
    "Queue": ".execution",
    "load_cupy": ".environment",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name], __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
