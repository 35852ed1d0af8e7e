"""Altered weights, images, annotations and descriptions of conversions: what they hold or one sentence."""

from __future__ import annotations

import io
import json
import zlib
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import nn

from spikejelly_pack import convert
from spikejelly_pack.cli.convert import _time_steps, preprocessing
from spikejelly_pack.data.image_file import read_image
from spikejelly_pack.recipes.files import write_tensors
from spikejelly_pack.spec.errors import DtypeError, ExchangeFileError, ParameterError, SpikePackError
from spikejelly_pack.tasks.folders import Preprocessing, open_data
from spikejelly_pack.tasks.saved import KEY, Conversion, load_conversion, read_conversion, save_conversion
from spikejelly_pack.tasks.weights import _from_file

EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(100_000, marks=pytest.mark.fuzz)])
#: Annotated images are read too, networks are rebuilt.
FEWER = pytest.mark.parametrize("examples", [20, pytest.param(10_000, marks=pytest.mark.fuzz)])


def weights(wrap: str = "state_dict") -> dict[str, Any]:
    return {wrap: {"conv.weight": torch.ones(2, 1, 3, 3), "conv.bias": torch.zeros(2)}, "epoch": 3}


def in_bytes(content: Any, legacy: bool = False) -> bytes:
    held = io.BytesIO()
    torch.save(content, held, _use_new_zipfile_serialization=not legacy)
    return held.getvalue()


@EXAMPLES
def test_altered_bytes_of_weights(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """Safetensors, and torch's files in both layouts."""
    makes = {
        "w.safetensors": fuzzing.altered_bytes(safetensors.torch.save(weights()["state_dict"])),
        "w.pth": fuzzing.altered_bytes(in_bytes(weights())),
        "w.pt": fuzzing.altered_bytes(in_bytes(weights(), legacy=True)),
    }

    def check(made: tuple[str, bytes]) -> None:
        path = tmp_path / made[0]
        fuzzing.put(path, made[1])
        found, said = fuzzing.outcome(_from_file, path, ParameterError)
        assert said or all(isinstance(value, torch.Tensor) for value in found.values())

    fuzzing.run(fuzzing.choice_of(makes), check, examples)


@EXAMPLES
def test_altered_content_of_weights(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path = tmp_path / "w.pth"

    def make(random: Random) -> Any:
        content = weights(random.choice(("state_dict", "model")))
        holder = content[next(iter(content))] if random.random() < 0.7 else content
        holder[random.choice([*holder, 3, "module.a"])] = fuzzing.value(random)
        return content if random.random() < 0.9 else fuzzing.value(random)

    def check(content: Any) -> None:
        fuzzing.put(path, in_bytes(content))
        found, said = fuzzing.outcome(_from_file, path, ParameterError)
        assert said or all(isinstance(value, torch.Tensor) for value in found.values())

    fuzzing.run(make, check, examples)


@pytest.fixture(scope="module")
def images() -> dict[str, bytes]:
    found = {}
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8))
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        held = io.BytesIO()
        picture.save(held, kind)
        found[kind.lower()] = held.getvalue()
    return found


@EXAMPLES
@pytest.mark.filterwarnings("ignore")  # Pillow tells of what it can still read
def test_altered_images(images: dict[str, bytes], tmp_path: Path, fuzzing: Any, examples: int) -> None:
    makes = {name: fuzzing.altered_bytes(data) for name, data in images.items()}
    prepared = Preprocessing(size=4)

    def check(made: tuple[str, bytes]) -> None:
        path = tmp_path / f"image.{made[0]}"
        fuzzing.put(path, made[1])
        image, said = fuzzing.outcome(read_image, path, DtypeError)
        assert said or prepared(image).shape == (3, 4, 4)

    fuzzing.run(fuzzing.choice_of(makes), check, examples)


def test_a_picture_that_no_memory_holds_is_refused(images: dict[str, bytes], tmp_path: Path) -> None:
    """The header claims ten thousand million pixels."""
    path, data = tmp_path / "image.png", bytearray(images["png"])
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(DtypeError, match="must be an image that can be read, got: Image size"):
        read_image(path)


COCO = {
    "images": [{"id": 1, "file_name": "a.png", "height": 6, "width": 5}],
    "categories": [{"id": 5, "name": "plane"}, {"id": 9, "name": "boat"}],
    "annotations": [
        {
            "id": 1, "image_id": 1, "category_id": 5, "iscrowd": 0, "area": 4.0, "bbox": [0, 0, 2, 2],
            "segmentation": [[0.0, 0.0, 2.0, 0.0, 2.0, 2.0]],
        },
        {
            "id": 2, "image_id": 1, "category_id": 9, "iscrowd": 1, "area": 9, "bbox": [1, 1, 3, 3],
            "segmentation": {"size": [6, 5], "counts": [7, 3, 20]},
        },
        {
            "id": 3, "image_id": 1, "category_id": 9, "iscrowd": 0, "area": 9, "bbox": [1, 1, 3, 3],
            "segmentation": {"size": [6, 5], "counts": "73d0"},
        },
    ],
}  # fmt: skip


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    Image.fromarray(np.zeros((6, 5, 3), np.uint8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "annotations.json").write_text(json.dumps(COCO))
    assert len(list(open_data(tmp_path, "segmentation", Preprocessing()))) == 1
    return tmp_path


def opens_or_refuses(folder: Path, data: bytes | str, fuzzing: Any, read: bool) -> None:
    fuzzing.put(folder / "annotations.json", data)

    def opened(place: Path) -> Any:
        found = open_data(place, "segmentation", Preprocessing())
        return list(found) if read else found

    fuzzing.outcome(opened, folder, SpikePackError)


def altered_annotations(fuzzing: Any) -> Any:
    content, damage = fuzzing.altered_json(COCO), fuzzing.altered_bytes(json.dumps(COCO).encode())
    return fuzzing.choice_of({"content": lambda random: json.dumps(content(random)), "bytes": damage})


@EXAMPLES
def test_altered_annotations(coco: Path, fuzzing: Any, examples: int) -> None:
    makes = altered_annotations(fuzzing)
    fuzzing.run(makes, lambda made: opens_or_refuses(coco, made[1], fuzzing, read=False), examples)


@FEWER
def test_altered_annotations_and_their_images(coco: Path, fuzzing: Any, examples: int) -> None:
    """Outlines and run lengths become masks in C: they must have been checked before."""
    makes = altered_annotations(fuzzing)
    fuzzing.run(makes, lambda made: opens_or_refuses(coco, made[1], fuzzing, read=True), examples)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("segmentation", {"size": [6, 5], "counts": [7, 1 << 40]}, "run lengths of"),
        ("segmentation", {"size": [6, 5], "counts": "7oooooo0"}, "run lengths"),
        ("segmentation", {"size": [1 << 20, 1 << 20], "counts": [1 << 40]}, "run lengths of size"),
        ("segmentation", [[0, 0, 1e9, 0, 1e9, 1e9]], "segmentation beyond 65536"),
        ("image_id", 7, "annotation of the unknown image 7"),
    ],
)
def test_annotations_that_c_must_not_see(key: str, value: Any, said: str, coco: Path) -> None:
    changed = json.loads(json.dumps(COCO))
    changed["annotations"][0][key] = value
    (coco / "annotations.json").write_text(json.dumps(changed))
    with pytest.raises(DtypeError, match=f"must be a COCO annotations file, got ValueError: {said}"):
        open_data(coco, "segmentation", Preprocessing())


@pytest.mark.parametrize("name", ["/etc/passwd", "../../secret.png", "a\0b"])
def test_annotations_name_no_image_elsewhere(name: str, coco: Path) -> None:
    changed = json.loads(json.dumps(COCO))
    changed["images"][0]["file_name"] = name
    (coco / "annotations.json").write_text(json.dumps(changed))
    with pytest.raises(DtypeError, match="image outside the folder"):
        open_data(coco, "segmentation", Preprocessing())


class Small(nn.Module):
    """A convolution and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3, padding=1), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(torch.flatten(torch.max_pool2d(torch.relu(self.conv(x)), 2), 1))


@pytest.fixture(scope="module")
def conversion(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any, Any]:
    """File, tensors and description of a small network."""
    path = tmp_path_factory.mktemp("saved") / "net.safetensors"
    batch = torch.rand(4, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    snn = convert(Small().eval(), [batch], time_steps=3, progress=False)
    how = {"size": 4, "mean": [0.5], "std": [0.5], "channels": 1}
    save_conversion(snn, Conversion("own.py:net", "classification", 3, "mse", False, "w.pth", {}, how), path)
    with safetensors.safe_open(path, "pt") as file:
        return path, safetensors.torch.load_file(path), json.loads(file.metadata()[KEY])


def described(path: Path) -> Any:
    about = read_conversion(path)
    return preprocessing(about.preprocessing, about.model)


def rebuilt(path: Path) -> Any:
    """What ``spikepack evaluate`` does with a file before it looks at data."""
    described(path)
    return load_conversion(path)


@EXAMPLES
def test_altered_description(conversion: Any, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path, (_, tensors, about) = tmp_path / "net.safetensors", conversion
    one = {"head.bias": tensors["head.bias"]}

    def check(changed: Any) -> None:
        write_tensors(path, one, KEY, changed)
        found, said = fuzzing.outcome(described, path, SpikePackError)
        assert said or isinstance(found, Preprocessing)

    small = {key: value for key, value in about.items() if key != "graph"}
    fuzzing.run(fuzzing.altered_json(small), check, examples)


@FEWER
def test_altered_conversion(conversion: Any, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """With a graph the network is rebuilt from it, else from a reference."""
    path, (_, tensors, about) = tmp_path / "net.safetensors", conversion
    bare = {**about, "graph": None, "route": "module"}

    def check(made: tuple[str, Any]) -> None:
        write_tensors(path, tensors, KEY, made[1])
        network, said = fuzzing.outcome(rebuilt, path, SpikePackError)
        assert said or isinstance(network[0], nn.Module)

    small = {key: value for key, value in about.items() if key != "graph"}

    def graphed(random: Random) -> Any:
        changed = fuzzing.altered_json(small)(random)
        return {**changed, "graph": about["graph"]} if isinstance(changed, dict) else changed

    fuzzing.run(fuzzing.choice_of({"graph": graphed, "module": fuzzing.altered_json(bare)}), check, examples)


@EXAMPLES
def test_altered_bytes_of_a_conversion(conversion: Any, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path = tmp_path / "net.safetensors"

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        network, said = fuzzing.outcome(rebuilt, path, SpikePackError)
        assert said or isinstance(network[0], nn.Module)

    fuzzing.run(fuzzing.altered_bytes(conversion[0].read_bytes()), check, examples)


@EXAMPLES
def test_altered_time_steps(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """``--time-steps FILE.json``."""
    path, original = tmp_path / "steps.json", {"*": 4, "conv": 3, "layer1.0.relu": 8}
    content, damage = fuzzing.altered_json(original), fuzzing.altered_bytes(json.dumps(original).encode())
    makes = {"content": lambda random: json.dumps(content(random)), "bytes": damage}

    def check(made: tuple[str, Any]) -> None:
        fuzzing.put(path, made[1])
        found, said = fuzzing.outcome(lambda file: _time_steps(str(file)), path, ParameterError)
        assert said or isinstance(found, dict)

    fuzzing.run(fuzzing.choice_of(makes), check, examples)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"*": ' + "9" * 5000 + "}"], ids=["nested", "long"])
def test_endless_texts_are_refused(text: str, tmp_path: Path, coco: Path) -> None:
    (tmp_path / "steps.json").write_text(text)
    with pytest.raises(ParameterError, match="must be a JSON file that can be read"):
        _time_steps(str(tmp_path / "steps.json"))
    (coco / "annotations.json").write_text(text)
    with pytest.raises(DtypeError, match="must be a COCO annotations file"):
        open_data(coco, "segmentation", Preprocessing())


def test_a_file_cannot_make_a_model_of_any_size(conversion: Any, tmp_path: Path) -> None:
    """Torchvision's are rebuilt from the reference in the file."""
    path, (_, tensors, about) = tmp_path / "net.safetensors", conversion
    changed = {**about, "graph": None, "route": "module", "model": "torchvision:resnet18"}
    write_tensors(path, tensors, KEY, {**changed, "options": {"classes": 1 << 40}})
    with pytest.raises((ExchangeFileError, ParameterError), match="'classes' '1099511627776'"):
        load_conversion(path)
