"""The products of ``spikepack bench kernels``: equality before timing, shapes, report; no measurement."""

from __future__ import annotations

import importlib.util
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from spikejelly_pack import cli
from spikejelly_pack.ops.integer_products import forget_choices
from spikejelly_pack.ops.integer_products.base import Product
from spikejelly_pack.ops.integer_products.int8 import Int8Route
from spikejelly_pack.ops.integer_products.tensor_cores import KernelRoute
from spikejelly_pack.spec.errors import RunError, UnsupportedError


@pytest.fixture(scope="module")
def bench(repository: Path) -> Any:
    sys.path.insert(0, str(repository))  # benchmarks import one another
    name = "benchmarks.kernel_products"
    spec = importlib.util.spec_from_file_location(name, repository / "benchmarks" / "kernel_products.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(repository))


@pytest.fixture(autouse=True)
def _fresh() -> None:
    forget_choices()


def clock(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    def seconds(call: Callable[[], object]) -> float:
        start = time.perf_counter()
        call()
        return time.perf_counter() - start

    return {name: [seconds(call) for _ in range(rounds)] for name, call in calls.items()}


def test_traffic_by_hand(bench: Any) -> None:
    shape = bench.Shape(inputs=2, outputs=3, side=4, kernel=3)
    assert shape.macs(5) == 5 * 16 * 3 * 2 * 9
    assert shape.bytes_moved(5, fused=True) == 5 * 16 * 2 + 5 * 16 * 3 + 3 * 2 * 9
    assert shape.bytes_moved(5, fused=False) == shape.bytes_moved(5, fused=True) + 2 * 4 * 5 * 16 * 3
    assert shape.intensity(5) == 2 * shape.macs(5) / shape.bytes_moved(5, fused=False)


def test_shapes_are_bound_by_memory(bench: Any) -> None:
    for shape in bench.CONVOLUTIONS:
        assert shape.intensity(128) < 1979 / 4.3, shape.name
        assert shape.bytes_moved(128, fused=False) > 1.5 * shape.bytes_moved(128, fused=True), shape.name


@pytest.mark.parametrize("steps", [4, 8])
def test_fused_and_separate_agree(bench: Any, device: str, steps: int) -> None:
    shapes = (bench.Shape(16, 16, 4, 3), bench.Shape(16, 32, 3, 1))
    found = bench.fused(torch.device(device), steps, clock, batch=2, rounds=2, shapes=shapes)
    assert [entry["shape"] for entry in found] == [shape.name for shape in shapes]
    for entry in found:
        assert entry["fused"]["min"] <= entry["fused"]["median"] <= entry["fused"]["max"]
        assert entry["route"] in ("int8", "cupy")


@pytest.mark.parametrize("steps", [4, 8])
def test_three_products_agree(bench: Any, device: str, steps: int) -> None:
    product = Product(torch.full((8, 8), 127), 0, (1 << steps) - 1)
    if Int8Route().refuses(product, torch.device(device)):
        with pytest.raises(UnsupportedError, match="the route int8 must run, got: this CPU adds int8"):
            bench.products(torch.device(device), steps, clock, size=64, rounds=1)
        return
    found = bench.products(torch.device(device), steps, clock, size=64, rounds=2)
    assert set(found["seconds"]) == {"codes", "cublaslt", "spikes"}
    assert found["size"] == 64


def test_nothing_is_timed_where_a_kernel_errs(
    bench: Any, emulated: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = KernelRoute.prepare

    def wrong(self: Any, product: Any, device: Any, fire: Any = None) -> Any:
        kernel = right(self, product, device, fire)
        return kernel if fire is None else lambda codes: kernel(codes) ^ 1

    monkeypatch.setattr(KernelRoute, "prepare", wrong)
    shapes = (bench.Shape(16, 16, 4, 1),)
    with pytest.raises(RunError, match="fused and not must be equal, got other values; nothing was timed"):
        bench.fused(
            torch.device(emulated), 4, lambda *_: pytest.fail("timed"), batch=1, rounds=1, shapes=shapes
        )


def test_report_and_targets(bench: Any) -> None:
    def about(median: float) -> dict[str, float]:
        return {"median": median, "min": median / 2, "max": 2 * median}

    dense = {"size": 8192, "operations_per_second": 9e14, "cublaslt": about(0.9), "spikes": about(13.0)}
    conv = {"shape": "3x3", "batch": 8, "intensity": 40.0, "route": "int8", "fused": about(1.4)}
    report = {"products": {8: dense}, "fused": [conv]}
    found = bench.targets(report)
    assert [(entry["wanted"], entry["met"]) for entry in found.values()] == [
        (0.8, True), (pytest.approx(1.7 * 8), False), (1.5, False),
    ]  # fmt: skip
    text = bench.table(report)
    assert "| 8192^3, T = 8 | 900 | 0.90 (0.45 to 1.80) | 13.00 (6.50 to 26.00) |" in text
    assert "| 3x3, batch 8 | 40 | int8 | 1.40 (0.70 to 2.80) |" in text


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_without_a_gpu_one_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.chdir(repository)
    assert cli.main(["bench", "kernels", "--fast"]) == 2
    said = capsys.readouterr().err.strip()
    assert "bench kernels: a CUDA device must be there" in said
    assert "run it on a machine with an NVIDIA GPU" in said
    assert len(said.splitlines()) == 1
