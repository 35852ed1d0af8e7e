"""Generated scenes: boxes and masks, determinism, disjoint splits, what is drawn where."""

from __future__ import annotations

import hashlib
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejelly_pack.data.scenes import SPLITS, SceneGenerator, digit_scans
from spikejelly_pack.spec.errors import ParameterError

SCENES = st.tuples(st.integers(0, 2**40), st.sampled_from(SPLITS), st.integers(0, 10**6), st.booleans())


@settings(max_examples=60)
@given(SCENES, st.integers(24, 80))
def test_boxes_enclose_masks_exactly(which: tuple[int, str, int, bool], size: int) -> None:
    seed, split, index, each_digit = which
    generator = SceneGenerator(size, (1, 5), each_digit=each_digit, seed=seed)
    scene = generator.scene(split, index)
    count = len(scene.boxes)
    assert 1 <= count <= 5
    assert scene.image.shape == (size, size, 3)
    assert scene.masks.shape == (count, size, size)
    assert scene.masks.sum(0).max() == 1  # disjoint
    for (x0, y0, x1, y1), mask in zip(scene.boxes, scene.masks, strict=True):
        ys, xs = np.nonzero(mask)
        assert (x0, y0, x1, y1) == (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1)
    assert scene.labels.min() >= 1
    assert scene.labels.max() <= len(generator.categories)
    expected = (scene.masks * scene.labels[:, None, None]).sum(0)
    assert np.array_equal(scene.semantic, expected)


@settings(max_examples=30)
@given(SCENES)
def test_a_scene_depends_on_seed_split_and_index_alone(which: tuple[int, str, int, bool]) -> None:
    seed, split, index, each_digit = which
    used = SceneGenerator(48, each_digit=each_digit, seed=seed)
    for other in range(3):
        used.scene(split, other)
    fresh = SceneGenerator(48, each_digit=each_digit, seed=seed)
    one, two = used.scene(split, index), fresh.scene(split, index)
    for name in ("image", "boxes", "labels", "masks", "scans"):
        assert np.array_equal(getattr(one, name), getattr(two, name))
    assert not np.array_equal(one.image, fresh.scene(split, index + 1).image)
    assert not np.array_equal(one.image, SceneGenerator(48, seed=seed + 1).scene(split, index).image)


def test_scenes_stay_what_they_were() -> None:
    """Measured results name a seed: the pixels behind it must not change unnoticed."""
    scene = SceneGenerator(64, (2, 4), each_digit=True, seed=7).scene("test", 3)
    found = {
        name: hashlib.sha256(getattr(scene, name).tobytes()).hexdigest()[:16] for name in ("masks", "boxes")
    }
    assert found == {"masks": "d5f301292f019801", "boxes": "8ca545d87dd135e5"}
    assert scene.image.mean() == pytest.approx(181.29, abs=0.05)  # float noise may move a pixel by one


def test_splits_are_disjoint() -> None:
    generator = SceneGenerator(32, (1, 4))
    scans: dict[str, set[int]] = {}
    images: dict[str, set[bytes]] = {}
    for split in SPLITS:
        scenes = [generator.scene(split, index) for index in range(150)]
        scans[split] = {int(scan) for scene in scenes for scan in scene.scans if scan >= 0}
        images[split] = {scene.image.tobytes() for scene in scenes}
        assert len(images[split]) == 150
        assert len(scans[split]) > 20
    for one in SPLITS:
        for two in SPLITS:
            if one != two:
                assert not scans[one] & scans[two]
                assert not images[one] & images[two]


def test_labels_name_what_is_drawn() -> None:
    generator = SceneGenerator(64, (1, 4), each_digit=True)
    _, digits = digit_scans()
    seen: set[str] = set()
    for index in range(120):
        scene = generator.scene("train", index)
        for k, (label, scan) in enumerate(zip(scene.labels, scene.scans, strict=True)):
            name = generator.categories[label - 1]
            seen.add(name)
            x0, y0, x1, y1 = scene.boxes[k]
            filled = scene.masks[k][y0:y1, x0:x1].mean()
            if scan >= 0:
                assert name == f"digit_{digits[scan]}"
            else:
                area = {"square": 1.0, "disc": np.pi / 4, "triangle": 0.5}[name]
                assert filled == pytest.approx(area, abs=0.09)
    assert seen == set(generator.categories)


def test_objects_stand_out_from_the_clutter() -> None:
    generator = SceneGenerator(64, (1, 3))
    contrast = []
    for index in range(60):
        scene = generator.scene("test", index)
        grey = scene.image.mean(2)
        for mask, (x0, y0, x1, y1) in zip(scene.masks, scene.boxes, strict=True):
            around = np.zeros_like(mask)
            around[max(0, y0 - 3) : y1 + 3, max(0, x0 - 3) : x1 + 3] = True
            around &= scene.semantic == 0
            contrast.append(abs(grey[mask].mean() - grey[around].mean()))
    assert np.min(contrast) > 25
    background = [generator.scene("test", index).image[..., 0].std() for index in range(5)]
    assert min(background) > 5


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (
            lambda: SceneGenerator(23),
            "SceneGenerator: size must be at least 24, got 23; choose a larger one.",
        ),
        (lambda: SceneGenerator(objects=(3, 2)), "1 <= fewest <= most, got (3, 2); swap or raise them."),
        (lambda: SceneGenerator(objects=(0, 2)), "1 <= fewest <= most, got (0, 2)"),
        (lambda: SceneGenerator(seed=-1), "seed must not be negative, got -1"),
        (
            lambda: SceneGenerator().scene("dev", 0),
            "split must be one of ('train', 'calibration', 'test'), got 'dev'",
        ),
        (lambda: SceneGenerator().scene("train", -1), "index must not be negative, got -1; count from 0."),
    ],
)
def test_bad_parameters(make: object, said: str) -> None:
    with pytest.raises(ParameterError, match=re.escape(said)):
        make()  # type: ignore[operator]
