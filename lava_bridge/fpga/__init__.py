"""From an integer network to synthesizable SystemVerilog, its simulation, and what it costs on a device."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .design import Design
    from .generate import build
    from .options import Options, PopulationOptions
    from .planning import plan
    from .simulate import simulator

__all__ = ["Design", "Options", "PopulationOptions", "build", "plan", "simulator"]

_HOMES = {
    "Design": "design",
    "Options": "options",
    "PopulationOptions": "options",
    "build": "generate",
    "plan": "planning",
    "simulator": "simulate",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
