"""Objects in files stay unmade, whichever reader gets the file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from spikejelly_pack.spec.errors import SpikePackError
from spikejelly_pack.tasks.weights import read_weights
from spikejelly_pack.train import command, load_network
from spikejelly_pack.train.files import AtomicCheckpoints
from spikejelly_pack.train.saved import CHECKPOINT_KEY


class Trap:
    """Unpickling it leaves a mark."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(
    "read",
    [load_network, AtomicCheckpoints().load_checkpoint, lambda path: read_weights(str(path), "own.py:net")],
    ids=["network", "resume", "weights"],
)
def test_torch_files(read: Any, legacy: bool, tmp_path: Path) -> None:
    path, mark = tmp_path / "x.pth", tmp_path / "mark"
    content = {"state_dict": {"a": torch.ones(1)}, CHECKPOINT_KEY: Trap(mark)}
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    torch.load(path, weights_only=False)
    assert mark.exists()  # the trap works
    mark.unlink()
    with pytest.raises(SpikePackError):
        read(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "tag", ["!!python/object/apply:pathlib.Path.touch", "!!python/object/new:pathlib.Path"]
)
def test_configurations(tag: str, tiny: Path, tmp_path: Path) -> None:
    mark, path = tmp_path / "mark", tmp_path / "config.yaml"
    path.write_text(tiny.read_text() + f"out: {tag} [{mark}]\n")
    with pytest.raises(SpikePackError, match=r"could not determine a constructor|Unable to load"):
        command._parse(["--config", str(path)])
    assert not mark.exists()


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ("optimizer_states", [{"a": 1}]),
        ("optimizer_states", 3),
        ("lr_schedulers", [3]),
        ("loops", {"fit_loop": {"state_dict": 3}}),
        ("pytorch-lightning_version", "x"),
        ("callbacks", 4),
    ],
)
def test_what_cannot_be_restored(entry: str, value: Any, trained: Any, train: Any, tmp_path: Path) -> None:
    """Lightning restores these; it expects what it wrote itself."""
    content = torch.load(trained[1]["files"]["last"], weights_only=True)
    assert entry in content
    path = tmp_path / "last.ckpt"
    torch.save({**content, entry: value}, path)
    with pytest.raises(SpikePackError, match="the checkpoint must continue this run, got"):
        train(tmp_path / "out", "--ema", "0.8", "--trainer.max_epochs", "5", "--resume", str(path))
