"""Engines: ways to execute the same compiled Lava Processes. One file each, registered here."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

from spikejelly_pack.spec.errors import ParameterError

__all__ = ["ENGINES", "check_engine", "engine_runner"]

# Name -> module with a function ``run(assembly, deadline, report) -> seconds``.
ENGINES: dict[str, str] = {
    "loihi": "lava_bridge.engines.loihi",
    "async": "lava_bridge.engines.asynchronous",
    "inline": "lava_bridge.engines.inline",
}


def check_engine(name: str) -> str:
    """Return ``name`` if it is an engine, else raise :class:`ParameterError`."""
    if name not in ENGINES:
        raise ParameterError(
            f"simulate: engine must be one of {sorted(ENGINES)}, got {name!r}; choose one of these."
        )
    return name


def engine_runner(name: str) -> Callable[..., Any]:
    """The engine's ``run``; importing it imports Lava."""
    return import_module(ENGINES[check_engine(name)]).run
