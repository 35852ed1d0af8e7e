"""The CUDA kernels on a CPU, for checking results where there is no GPU; needs a C++ compiler."""

from __future__ import annotations

from .backend import EmulationBackend

__all__ = ["EmulationBackend"]
