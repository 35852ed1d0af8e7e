"""The kernels on a CPU: the CUDA sources built by g++ take the place of CuPy, behind the same Python."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from cupy_kernels import EmulationBackend, KernelEnvironmentError
from cupy_kernels.emulation.backend import compiler
from spikejelly_pack.ops import kernels

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a GPU, unless asked for by pytest -m gpu."""
    if "gpu" in config.getoption("markexpr"):
        return
    dropped = [item for item in items if item.path.is_relative_to(HERE) and item.get_closest_marker("gpu")]
    if dropped:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item not in set(dropped)]


@pytest.fixture(scope="session")
def emulation(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Return the one backend of the session; what it builds is kept between runs."""
    try:
        compiler()
    except KernelEnvironmentError as error:
        pytest.skip(str(error))
    cache = getattr(request.config, "cache", None)  # None with -p no:cacheprovider
    name = "spikepack-kernels"
    return EmulationBackend(
        folder=tmp_path_factory.mktemp(name) if cache is None else Path(cache.mkdir(name))
    )


@pytest.fixture
def emulated(emulation: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let provider='cupy' take CPU tensors; returns the device."""

    def maker() -> Any:
        return emulation

    monkeypatch.setitem(kernels.BACKENDS, "cpu", maker)
    yield "cpu"
    kernels._backend.cache_clear()
    kernels._reason.cache_clear()


@pytest.fixture
def cuda() -> str:
    """Return the CUDA device; a missing one is a failure where SPIKEPACK_REQUIRE_GPU is set."""
    reason = kernels.unavailable(torch.device("cuda", 0))
    if reason is None:
        return "cuda"
    if os.environ.get("SPIKEPACK_REQUIRE_GPU"):
        pytest.fail(f"a GPU is required here: {reason}")
    pytest.skip(f"no GPU: {reason}")


@pytest.fixture(
    params=[pytest.param("emulated", id="emulated"), pytest.param("cuda", id="cuda", marks=pytest.mark.gpu)]
)
def device(request: pytest.FixtureRequest) -> str:
    """Return where the kernels run: emulated on the CPU, or on a GPU."""
    return request.getfixturevalue(request.param)
