"""Runs exported SpikePack networks in Intel Lava, bit for bit.

``simulate`` works from any interpreter: Lava itself lives in a Python 3.10 environment that the worker
starts. Importing this package imports neither Lava nor torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .environment import info
    from .result import Simulation
    from .simulation import simulate

__all__ = ["Simulation", "info", "simulate"]

_HOMES = {"Simulation": "result", "info": "environment", "simulate": "simulation"}


def __getattr__(name: str) -> Any:
    if name in {"fpga", "targets"}:
        return import_module(f"{__name__}.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
