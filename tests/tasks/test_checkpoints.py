"""Checkpoints as training scripts leave them, and model files that import their neighbours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from spikejelly_pack.recipes.files import write_tensors
from spikejelly_pack.spec.errors import ExchangeFileError, ParameterError
from spikejelly_pack.tasks.models import build_model
from spikejelly_pack.tasks.saved import KEY, Conversion, read_conversion
from spikejelly_pack.tasks.weights import read_weights

STATE = {"conv.weight": torch.ones(2, 1, 3, 3), "conv.bias": torch.zeros(2)}


def prefixed(prefix: str) -> dict[str, Any]:
    return {prefix + name: value for name, value in STATE.items()}


@pytest.mark.parametrize(
    "make",
    [
        lambda: STATE,
        lambda: {"epoch": 3, "model_state_dict": STATE, "optimizer_state_dict": {"state": {}}},
        lambda: {"net": STATE, "acc": 93.2},
        lambda: {"state_dict": prefixed("module."), "lr": 0.1},
        lambda: prefixed("_orig_mod."),
        lambda: {"model": prefixed("module._orig_mod.")},
        lambda: prefixed("_orig_mod.module."),
    ],
)
def test_checkpoints_of_training_scripts(make: Callable[[], Any], tmp_path: Path) -> None:
    torch.save(make(), tmp_path / "checkpoint.pth")
    assert read_weights(str(tmp_path / "checkpoint.pth"), "net.py:build").state.keys() == STATE.keys()


def test_a_pickled_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    torch.save(nn.Linear(2, 2), tmp_path / "model.pth")
    with pytest.raises(ParameterError, match=r"a pickle of other objects, .*; save model\.state_dict"):
        read_weights(str(tmp_path / "model.pth"), "net.py:build")


def test_a_model_file_takes_no_name_of_another_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = sys.modules["json"]
    for folder, size in (("one", 2), ("two", 3)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "json.py").write_text(
            f"from torch import nn\n\ndef build():\n    return nn.Linear({size}, 1)\n"
        )
        found = build_model(f"{tmp_path / folder / 'json.py'}:build")
        assert (found.in_features, sys.modules["json"]) == (size, before)


def test_a_model_file_that_fails_is_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    path = tmp_path / "half_a_model.py"
    path.write_text("first = 1\nraise ValueError('no')\n")
    with pytest.raises(ParameterError, match="must be importable and callable, got ValueError: no;"):
        build_model(f"{path}:build")
    assert "half_a_model" not in sys.modules


def test_a_model_file_may_import_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "neighbour_of_net.py").write_text("from torch import nn\nblock = nn.Linear(3, 2)\n")
    (tmp_path / "net_of_files.py").write_text("from neighbour_of_net import block as build\n")
    assert isinstance(build_model(f"{tmp_path / 'net_of_files.py'}:build"), nn.Linear)


def test_a_number_beyond_every_float_is_refused(tmp_path: Path) -> None:
    """JSON has such integers."""
    path = tmp_path / "converted.safetensors"
    about = asdict(Conversion("own.py:net", "classification", 3, "mse", False, "w.pth", {"epsilon": 10**400}))
    write_tensors(path, {}, KEY, {"version": 2, **about})
    with pytest.raises(ExchangeFileError, match="must be written by spikepack convert, got int"):
        read_conversion(path)
