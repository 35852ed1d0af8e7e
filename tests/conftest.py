"""Rooms of the test house, float tolerances and the hypothesis profiles.

A room is a folder of tests. ``ROOMS`` says which libraries it needs: where they are absent the room is left
out and the header says so. ``SPIKEPACK_ROOMS`` (set by tox) names the rooms that must run here: an absent
library, an absent folder or a room without a single test is then an error, never a silent omission.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import Phase, settings

HERE = Path(__file__).parent
TORCH_SIDE = ("torch", "spikingjelly")
# To add a room: one line here, and its name in tox.ini where it must run.
ROOMS: dict[str, tuple[str, ...]] = {
    "spec": (),
    "house": (),
    "documents": (*TORCH_SIDE, "nir"),
    "functional": TORCH_SIDE,
    "neuron": TORCH_SIDE,
    "layer": TORCH_SIDE,
    "models": TORCH_SIDE,
    "recipes": TORCH_SIDE,
    "integer": TORCH_SIDE,
    "data": TORCH_SIDE,
    "tasks": TORCH_SIDE,
    "ops": TORCH_SIDE,
    "kernels": TORCH_SIDE,
    "bit_budget": TORCH_SIDE,
    "train": (*TORCH_SIDE, "lightning"),
    "analysis": TORCH_SIDE,
    "nir_exchange": (*TORCH_SIDE, "nir"),
    "cli": TORCH_SIDE,
    "examples": TORCH_SIDE,
    "fpga": (),
    "lava_bridge": TORCH_SIDE,
    "lava_runtime": ("lava",),
}


def _missing(library: str) -> bool:
    return importlib.util.find_spec(library) is None


MISSING = {room: [name for name in needs if _missing(name)] for room, needs in ROOMS.items()}
REQUIRED = [room for room in os.environ.get("SPIKEPACK_ROOMS", "").split(",") if room]

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True, database=None)
# For mutants: whether a test fails is all that is asked, the smallest failing example is not.
settings.register_profile(
    "mutation", settings.get_profile("ci"), phases=(Phase.explicit, Phase.generate), print_blob=False
)
settings.register_profile("explore", max_examples=2000, deadline=None, print_blob=True)


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to start where a room that must run cannot."""
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))
    for room in REQUIRED:
        if room not in ROOMS:
            raise pytest.UsageError(
                f"SPIKEPACK_ROOMS: {room!r} is not in the table ROOMS of tests/conftest.py"
            )
        if MISSING[room]:
            raise pytest.UsageError(f"room {room} must run here but cannot import {', '.join(MISSING[room])}")


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say which rooms and which marked tests do not run here, and why."""
    left_out: dict[str, list[str]] = {}
    for room, names in MISSING.items():
        if names:
            left_out.setdefault(" and ".join(names), []).append(room)
    said = [f"{', '.join(rooms)} (no {names})" for names, rooms in left_out.items()]
    asked = config.getoption("markexpr")
    names = [
        name for name in ("cocotb", "fpga", "fuzz", "gpu", "kernels", "models") if f"not {name}" in asked
    ]
    return [
        f"rooms left out: {'; '.join(said) or 'none'}",
        f"tests left out: {', '.join(names) or 'none'} (pytest -m NAME runs them)",
    ]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the rooms whose libraries are absent; refuse a folder that the table does not know."""
    if (
        collection_path.parent != HERE
        or not collection_path.is_dir()
        or collection_path.name.startswith("__")
    ):
        return None
    if collection_path.name not in ROOMS:
        raise pytest.UsageError(
            f"tests/{collection_path.name} is not in the table ROOMS of tests/conftest.py"
        )
    return True if MISSING[collection_path.name] else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """In a run of everything, refuse a room that must run but holds no test."""
    if config.args_source is not pytest.Config.ArgsSource.TESTPATHS:
        return
    found = {item.path.relative_to(HERE).parts[0] for item in items}
    empty = [room for room in REQUIRED if room not in found]
    if empty:
        raise pytest.UsageError(f"rooms that must run here hold no test: {', '.join(empty)}")


def _load(name: str) -> ModuleType:
    """Import a helper beside this file; importlib mode keeps ``tests`` off the import path."""
    spec = importlib.util.spec_from_file_location(f"spikepack_tests_{name}", HERE / f"{name}.py")
    if spec is None or spec.loader is None:
        raise pytest.UsageError(f"tests/{name}.py cannot be loaded")
    module = importlib.util.module_from_spec(spec)

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tolerance() -> Callable[[object], Any]:
    """Return ``tolerance(dtype)``; ``between(operations, magnitude)`` bounds two computations of a value."""
    return _load("tolerances").tolerance_of


@pytest.fixture(scope="session")
def map_networks() -> Callable[..., Any]:
    """Return ``map_networks(name, width, samples)``: a network on maps and its data (module map_networks)."""
    return _load("map_networks").make


@pytest.fixture(scope="session")
def fuzzing() -> ModuleType:
    """Return the module ``fuzzing``: altered files and documents, and how many of them."""
    return _load("fuzzing")


@pytest.fixture(scope="session")
def repository() -> Path:
    """Return the root of the working tree."""
    return HERE.parent
