"""Which provider runs, why, and that a forced one never falls back."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from spikejelly_pack import SpikePackNode, ops
from spikejelly_pack.cli import main
from spikejelly_pack.ops import kernels, providers
from spikejelly_pack.spec.errors import EnvironmentMissingError, ParameterError

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def _own_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers, "_RECORDED", {})
    monkeypatch.delenv(providers.VARIABLE, raising=False)


def test_auto_on_the_cpu_is_torch_and_says_why() -> None:
    node = SpikePackNode(4, form="packed")
    node(torch.rand(2, 3))
    (choice,) = {choice for choice in ops.recorded_choices() if choice.operation == "fire"}
    assert (choice.device, choice.dtype, choice.provider) == ("cpu", "float32", "torch")
    assert choice.reason == "the kernels are for CUDA tensors, these are on cpu"


def test_auto_on_cuda_follows_the_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decisions need no device: only what the kernels say of it."""
    monkeypatch.setattr(kernels, "unavailable", lambda _device: None)
    assert providers.choose("auto", "fire", CUDA, torch.bfloat16).provider == "cupy"
    assert providers.choose("auto", "fire", CUDA, torch.float64).reason.startswith("the kernels read float32")
    assert providers.choose("auto", "fire", CUDA, torch.float32, "it is odd").reason == "it is odd"
    monkeypatch.setattr(kernels, "unavailable", lambda _device: "no driver")
    missing = providers.choose("auto", "fire", CUDA, torch.float32)
    assert (missing.provider, missing.reason) == ("torch", "no driver")
    with pytest.raises(EnvironmentMissingError, match=r"fire: provider 'cupy' must have .* \(no driver\)"):
        providers.choose("cupy", "fire", CUDA, torch.float32)


def test_auto_leaves_compiled_code_to_the_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "unavailable", lambda _device: None)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    choice = providers.choose("auto", "fire", CUDA, torch.float32)
    assert (choice.provider, choice.reason) == (
        "torch",
        "torch.compile fuses plain torch with the layers around it",
    )


def test_the_environment_overrides_every_argument(monkeypatch: pytest.MonkeyPatch, emulated: str) -> None:
    ran: list[str] = []
    launch = kernels.launch
    monkeypatch.setattr(kernels, "launch", lambda name, *a, **k: (ran.append(name), launch(name, *a, **k)))
    auto, forced = SpikePackNode(4, form="packed"), SpikePackNode(4, form="packed", provider="cupy")
    x = torch.rand(2, 3, device=emulated)
    auto(x)
    assert ran == []
    monkeypatch.setenv(providers.VARIABLE, "cupy")
    auto(x)
    assert ran == ["fire"]
    monkeypatch.setenv(providers.VARIABLE, "torch")
    forced(x)
    assert ran == ["fire"]
    monkeypatch.setenv(providers.VARIABLE, "triton")
    with pytest.raises(
        ParameterError, match="environment: SPIKEPACK_PROVIDER must be 'auto' or 'torch' or 'cupy', got"
    ):
        auto(x)


@pytest.mark.skipif(find_spec("cupy") is not None, reason="cupy is installed")
def test_a_forced_provider_names_cause_and_remedy() -> None:
    with pytest.raises(EnvironmentMissingError) as caught:
        SpikePackNode(provider="cupy")
    said = str(caught.value)
    assert "CuPy is not installed" in said or "without CUDA" in said
    assert "pip install" in said or "without CUDA" in said
    assert said.count("\n") == 0
    node = SpikePackNode(form="packed")
    node.provider = "cupy"  # as a file of settings may say
    with pytest.raises(EnvironmentMissingError, match="not for cpu"):
        node(torch.rand(2, 3))


def test_launching_without_a_device_is_refused() -> None:
    x = torch.rand(2, 3)
    with pytest.raises(
        EnvironmentMissingError, match=r"its kernels cannot run here \(they are for CUDA tensors"
    ):
        kernels.launch("fire", x)


def test_info_tells_providers(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    target = tmp_path / "info.json"
    assert main(["info", "--providers", "--json", str(target)]) == 0
    said = capsys.readouterr().out
    assert "auto on cpu, float32: torch (the kernels are for CUDA tensors" in said
    facts: dict[str, Any] = json.loads(target.read_text())["providers"]
    assert facts["providers"]["torch"]["available"] is True
    assert facts["environment"] is None
    assert {choice["provider"] for choice in facts["auto"] if choice["device"] == "cpu"} == {"torch"}


def test_kernels_stay_out_until_they_are_asked_for(tmp_path: Path) -> None:
    use = "import torch; SpikePackNode(form='packed')(torch.rand(2, 3))"
    listed = "print([m for m in sys.modules if m.partition('.')[0] in ('cupy', 'cupy_kernels')])"
    text = f"import sys; from spikejelly_pack import SpikePackNode; {use}; {listed}"
    done = subprocess.run(
        [sys.executable, "-c", text], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.strip() == "[]", done.stderr
