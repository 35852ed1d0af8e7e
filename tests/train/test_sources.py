"""Data modules: the embedded data, and small data in the true formats of the others."""

from __future__ import annotations

import hashlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from spikejelly_pack.data import digits, event_digits
from spikejelly_pack.spec.errors import ParameterError
from spikejelly_pack.train.sources import CifarData, EmbeddedData, EventFrameData, ImageFolderData
from spikejelly_pack.train.sources.augment import flip, shift


def test_embedded_parts_are_disjoint_and_the_test_part_is_the_package_s() -> None:
    data = EmbeddedData(augment=False)
    data.setup()
    train, val = (torch.stack([x for x, _ in data.parts[name]]) for name in ("train", "val"))  # pyright: ignore
    assert (len(train), len(val)) == (1212, 135)
    whole = digits()
    rows = {tuple(x.flatten().tolist()) for x in torch.cat([train, val])}
    assert rows == {tuple(x.flatten().tolist()) for x in whole.train_inputs}
    assert torch.equal(torch.stack([x for x, _ in data.parts["test"]]), whole.test_inputs)  # pyright: ignore


def test_embedded_events_are_windowed() -> None:
    data = EmbeddedData("events", batch_size=4)
    data.setup()
    assert data.example().shape == (1, 8, 2, 16, 16)
    x, _ = next(iter(data.test_dataloader()))
    assert torch.equal(x, event_digits().test_inputs[:4])


def test_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        data = EmbeddedData(seed=seed, augment=False)
        data.parts = {"train": torch.utils.data.TensorDataset(torch.arange(100.0), torch.arange(100))}
        data.batch_size = 10
        loader: Any = data.train_dataloader()
        loader.sampler.set_epoch(epoch)
        return [int(y) for _, labels in loader for y in labels]

    assert order(1, 3) == order(1, 3)
    assert order(1, 3) != order(1, 4)
    assert order(1, 3) != order(2, 3)
    assert sorted(order(1, 3)) == list(range(100))


def test_shift_moves_and_fills_with_nothing() -> None:
    x = torch.arange(1.0, 401).reshape(1, 20, 20)
    torch.manual_seed(0)
    seen = set()
    for _ in range(200):
        y = shift(x)
        kept = y[y > 0]
        # One displacement for all pixels: what is left keeps its difference of index.
        places = (y.flatten() > 0).nonzero().flatten()
        offsets = {int(offset) for offset in (places + 1 - kept.long())}
        assert len(offsets) == 1
        seen |= offsets
        assert len(kept) >= 18 * 18
    assert len(seen) == 25  # -2..2 down and right
    torch.manual_seed(0)
    assert {bool(torch.equal(flip(x), x)) for _ in range(20)} == {True, False}


# -- CIFAR ------------------------------------------------------------------------------------------


def _cifar(root: Path, classes: int, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Write a folder as the archives unpack, three images per file; torchvision knows their checksums."""
    kind: Any = datasets.CIFAR100 if classes == 100 else datasets.CIFAR10
    folder = root / kind.base_folder
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 3072), dtype=np.uint8)
    names, key = [f"c{i}" for i in range(classes)], "fine_labels" if classes == 100 else "labels"

    def write(name: str, content: dict[str, Any]) -> str:
        (folder / name).write_bytes(pickle.dumps(content, protocol=2))
        return hashlib.md5((folder / name).read_bytes()).hexdigest()

    batch = {"data": images, key: [1, 0, classes - 1]}
    for attribute in ("train_list", "test_list"):
        listed = [[name, write(name, batch)] for name, _ in getattr(kind, attribute)]
        monkeypatch.setattr(kind, attribute, listed)
    meta = {**kind.meta, "md5": write(kind.meta["filename"], {kind.meta["key"]: names})}
    monkeypatch.setattr(kind, "meta", meta)
    return images.reshape(3, 3, 32, 32)


@pytest.mark.parametrize("classes", [10, 100])
def test_cifar(classes: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = _cifar(tmp_path, classes, monkeypatch)
    data = CifarData(str(tmp_path), classes, batch_size=3, workers=0)
    data.setup()
    x, labels = next(iter(data.val_dataloader()))
    assert labels.tolist() == [1, 0, classes - 1]
    mean, std = (
        torch.tensor(v).reshape(3, 1, 1) for v in ((0.4914, 0.4822, 0.4465), (0.247, 0.2435, 0.2616))
    )
    assert torch.allclose(x * std + mean, torch.from_numpy(images) / 255, atol=1e-5)
    x, _ = next(iter(data.train_dataloader()))
    assert x.shape == (3, 3, 32, 32)
    (tmp_path / data_folder(classes) / ("test" if classes == 100 else "test_batch")).write_bytes(b"altered")
    fresh = CifarData(str(tmp_path), classes, batch_size=3, workers=0)
    with pytest.raises(ParameterError, match=f"must hold CIFAR{classes}, got .*download=True"):
        fresh.setup()


def data_folder(classes: int) -> str:
    return "cifar-100-python" if classes == 100 else "cifar-10-batches-py"


# -- ImageFolder ------------------------------------------------------------------------------------


def test_image_folder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for part in ("train", "val"):
        for name in ("cat", "dog"):
            folder = tmp_path / part / name
            folder.mkdir(parents=True)
            Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(folder / "a.png")
            Image.fromarray(rng.integers(0, 256, (30, 30), dtype=np.uint8)).save(folder / "grey.png")
    data = ImageFolderData(str(tmp_path), size=32, batch_size=2, workers=0)
    data.setup()
    x, labels = next(iter(data.val_dataloader()))
    assert x.shape == (2, 3, 32, 32)
    assert labels.tolist() == [0, 0]
    assert len(data.parts["train"]) == 4  # pyright: ignore
    x, _ = next(iter(data.train_dataloader()))
    assert x.shape == (2, 3, 32, 32)
    (tmp_path / "train" / "dog").rename(tmp_path / "train" / "fox")
    with pytest.raises(ParameterError, match="train and val must hold the same classes, got 'dog'"):
        ImageFolderData(str(tmp_path), size=32, batch_size=2, workers=0).setup()


# -- event frames -----------------------------------------------------------------------------------


def _clips(folder: Path, classes: int, each: int, windows: int, side: int) -> None:
    """As SpikingJelly writes them: CLASS/*.npz, compressed, an array ``frames``."""
    rng = np.random.default_rng(0)
    for label in range(classes):
        (folder / f"{label}").mkdir(parents=True)
        for index in range(each):
            frames = rng.poisson(0.3, (windows, 2, side, side)).astype(np.float32) + label
            np.savez_compressed(folder / f"{label}" / f"clip_{index:03d}.npz", frames=frames)


def test_frames_with_a_split(tmp_path: Path) -> None:
    """DVS128 Gesture, N-MNIST."""
    root = tmp_path / "frames_number_4_split_by_number"
    _clips(root / "train", 3, 2, 4, 16)
    _clips(root / "test", 3, 1, 4, 16)
    data = EventFrameData(str(tmp_path), "NMNIST", windows=4, batch_size=3, workers=0)
    data.setup()
    x, labels = next(iter(data.test_dataloader()))
    assert x.shape == (3, 4, 2, 16, 16)
    assert labels.tolist() == [0, 1, 2]
    stored = np.load(root / "test" / "1" / "clip_000.npz")["frames"]
    assert np.array_equal(x[1].numpy(), stored)
    assert data.example().shape == (1, 4, 2, 16, 16)


def test_frames_without_a_split_are_split_by_name(tmp_path: Path) -> None:
    """CIFAR10-DVS; frames are resized by averaging."""
    root = tmp_path / "frames_number_2_split_by_number"
    _clips(root, 2, 20, 2, 8)
    data = EventFrameData(
        str(tmp_path), "CIFAR10DVS", windows=2, size=4, mirror=True, batch_size=4, workers=0
    )
    data.setup()
    assert [len(data.parts[name]) for name in ("train", "test")] == [36, 4]  # pyright: ignore
    names = [path.name for path, _ in data.parts["test"].files]  # pyright: ignore
    assert names == ["clip_009.npz", "clip_019.npz"] * 2
    x, _ = next(iter(data.test_dataloader()))
    stored = np.load(root / "0" / "clip_009.npz")["frames"]
    assert np.allclose(x[0].numpy(), stored.reshape(2, 2, 4, 2, 4, 2).mean((3, 5)), atol=1e-6)


def test_damaged_and_missing_frames(tmp_path: Path) -> None:
    data = EventFrameData(str(tmp_path), "DVS128Gesture", windows=4, batch_size=1, workers=0)
    command = "DVS128Gesture as 4 frames .*spikingjelly.datasets.dvs128_gesture .*frames_number=4"
    with pytest.raises(ParameterError, match=command):
        data.setup()
    root = tmp_path / "frames_number_4_split_by_number"
    _clips(root / "train", 2, 1, 3, 8)
    _clips(root / "test", 2, 1, 4, 8)
    data.setup()
    with pytest.raises(ParameterError, match=r"frames must be \[4, 2, H, W\], got \(3, 2, 8, 8\)"):
        data.example()
    (root / "test" / "0" / "clip_000.npz").write_bytes(b"PK not really")
    with pytest.raises(ParameterError, match=r"must be an \.npz file with an array 'frames'"):
        next(iter(data.test_dataloader()))
