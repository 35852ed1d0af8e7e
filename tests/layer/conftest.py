"""Fixtures of the layer tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def forms() -> ModuleType:
    """Return the helpers of ``tests/forms.py``."""
    path = Path(__file__).parents[1] / "forms.py"
    spec = importlib.util.spec_from_file_location("spikepack_tests_forms", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module
