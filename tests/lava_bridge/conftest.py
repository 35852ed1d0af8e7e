"""The caller's side: a usable Lava environment, and what the Lava room shares."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lava_bridge.worker.find import Interpreter, find
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.errors import EnvironmentMissingError


def load_lava_room() -> ModuleType:
    """Import the conftest of the room that runs beside Lava; it needs no Lava itself."""
    path = Path(__file__).parents[1] / "lava_runtime" / "conftest.py"
    spec = importlib.util.spec_from_file_location("spikepack_tests_lava_room", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


LAVA_ROOM = load_lava_room()
assert_same = LAVA_ROOM.assert_same
interpreter = LAVA_ROOM.interpreter
make_small_net = LAVA_ROOM.make_small_net
residual_net = LAVA_ROOM.residual_net
watch = LAVA_ROOM.watch


@pytest.fixture(scope="session")
def lava() -> Interpreter:
    """Return the interpreter that runs Lava; its tests are left out only where nobody demands them."""
    try:
        return find()
    except EnvironmentMissingError as error:
        if "lava_bridge" in os.environ.get("SPIKEPACK_ROOMS", "").split(","):
            raise
        pytest.skip(str(error))


@pytest.fixture
def small_file(make_small_net: Callable[..., Any], tmp_path: Path) -> Path:
    """Return an exchange file of a small network with two golden samples."""
    path = tmp_path / "small.spk"
    exchange.save(make_small_net(), path, {"x": [[1, 2, 3, 4, 5, 6], [15, 0, 15, 0, 15, 0]]})
    return path
