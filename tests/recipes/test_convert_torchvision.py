"""One model of every torchvision family through convert, with random weights and small inputs."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from spikejelly_pack import convert

# Relative output error at T = 12: the 2^-13 of one coding, through tens of layers, times the amplification of
# a random network (up to about 20). A wrong node (lost sign, wrong scale, few time steps) gives about 1.
BOUND = 0.05
# One of every family that users convert.
SMALL = (
    "squeezenet1_1", "resnet18", "vgg11_bn", "mobilenet_v3_small", "regnet_y_400mf", "efficientnet_b0",
    "convnext_tiny", "swin_t", "vit_b_16", "lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large",
    "fcn_resnet50", "fasterrcnn_resnet50_fpn", "fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large",
)  # fmt: skip
LARGE = (
    "maskrcnn_resnet50_fpn", "retinanet_resnet50_fpn", "swin3d_t", "r3d_18", "maxvit_t", "inception_v3",
)  # fmt: skip


@pytest.fixture(scope="module")
def coverage(repository: Path) -> Iterator[ModuleType]:
    pytest.importorskip("torchvision")
    sys.path.insert(0, str(repository))
    spec = importlib.util.spec_from_file_location(
        "benchmarks.coverage", repository / "benchmarks" / "coverage.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(repository))


def check(coverage: ModuleType, name: str) -> None:
    result = coverage.run(names=(name,), side=48, time_steps=12, isolate=False)
    (row,) = result["models"]
    assert row["converted"], row.get("reason")
    assert (row["coverage"], row["analog"]) == (1.0, [])
    assert row["error"] < max(BOUND, BOUND * row["amplification"] / 20), row
    assert coverage.table(result).endswith("1 of 1 converted, 1 with every multiply-accumulate on spikes.")


@pytest.mark.parametrize("model", SMALL)
def test_family(model: str, coverage: ModuleType) -> None:
    check(coverage, model)


@pytest.mark.models
@pytest.mark.parametrize("model", LARGE)
def test_larger_family(model: str, coverage: ModuleType) -> None:
    check(coverage, model)


@pytest.mark.parametrize("model", ["swin_t", "ssdlite320_mobilenet_v3_large"])
def test_without_codes_it_is_the_source(model: str, coverage: ModuleType) -> None:
    """Products taken apart, thresholds aside: the very same operations."""
    group = "detection" if model.startswith("ssd") else "classification"
    source = coverage.zoo.build(model, group, 32)
    data = coverage.zoo.inputs(model, group, 32, 1, 2)
    snn: Any = convert(source, [(data, None)], calibrator="max", progress=False)
    snn.transparent = True
    wanted, got = coverage.zoo.answer(source, data, group), coverage.zoo.answer(snn, data, group)
    torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5 * float(wanted.abs().max()))


def test_what_does_not_convert_has_a_reason(coverage: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coverage, "convert", lambda *_args, **_options: 1 / 0)
    monkeypatch.setattr(coverage, "FAILURES", (ZeroDivisionError,))
    result = coverage.run(names=("squeezenet1_1",), side=48, isolate=False)
    assert (result["total"], result["converted"], result["complete"]) == (1, 0, 0)
    assert "no: ZeroDivisionError: division by zero" in coverage.table(result)
