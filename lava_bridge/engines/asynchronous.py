"""Engine ``async``: Lava's runtime without the barrier after each time step; messages alone keep the order.

Lava makes the asynchronous model of every Process from its synchronous one, ours and the stock ones alike.
Such a run cannot be continued or slowed down (Lava does not reset the time step), and all models must be
of this kind, or it hangs: hence one run per runtime, every model converted.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any

from lava.magma.core.model.py.model import PyLoihiModelToPyAsyncModel
from lava.magma.core.run_configs import Loihi2SimCfg

from ..assembly import Assembly
from .configuration import compile_assembly
from .watched import run_watched

__all__ = ["run"]

# One class per model, however many Processes run it.
_asynchronous = lru_cache(maxsize=None)(PyLoihiModelToPyAsyncModel)


class _AsynchronousConfiguration(Loihi2SimCfg):
    """Selects what Lava selects, then converts it."""

    def select(self, process: Any, proc_models: list[Any]) -> Any:
        return _asynchronous(super().select(process, proc_models))


def run(assembly: Assembly, deadline: float, report: Callable[[int, int], None]) -> float:
    """Execute all time steps of an assembly; arguments, result and errors as :func:`.inline.run`."""
    compiled = partial(compile_assembly, assembly, _AsynchronousConfiguration)
    return run_watched(assembly, compiled, deadline, report)
