"""Engine ``loihi``: Lava's own runtime, every Process in step with all others."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ..assembly import Assembly
from .configuration import compile_assembly
from .watched import run_watched

__all__ = ["run"]


def run(assembly: Assembly, deadline: float, report: Callable[[int, int], None]) -> float:
    """Execute all time steps of an assembly; arguments, result and errors as :func:`.inline.run`."""
    return run_watched(assembly, partial(compile_assembly, assembly), deadline, report)
