"""From a folder of images to an exchange file, and what files say about themselves."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from spikejelly_pack import SpikePackNode, cli
from spikejelly_pack.spec import exchange
from spikejelly_pack.tasks.folders import Preprocessing, open_data
from spikejelly_pack.tasks.saved import load_conversion
from spikejelly_pack.train import build_network
from spikejelly_pack.train.saved import save_network


@pytest.fixture(scope="module")
def converted(place: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of the user's own, converted without --task."""
    out = tmp_path_factory.mktemp("converted") / "net.safetensors"
    assert cli.main([
        "convert", "--model", f"{place / 'nets.py'}:classifier", "--weights", str(place / "classifier.pth"),
        "--data", str(place / "classes"), "--out", str(out), "--time-steps", "3", "--mean", "0.4",
    ]) == 0  # fmt: skip
    return out


def test_an_image_folder_is_classification(converted: Path) -> None:
    _, about = load_conversion(converted)
    assert about.task == "classification"
    assert about.route == "fx"


def test_export_takes_the_folder(converted: Path, place: Path, tmp_path: Path) -> None:
    folder, array = tmp_path / "folder.spk", tmp_path / "array.spk"
    data = open_data(place / "classes", "classification", Preprocessing(mean=(0.4,)))
    np.save(tmp_path / "x.npy", torch.cat([images for images, _ in data]).numpy())
    for images, out in ((place / "classes", folder), (tmp_path / "x.npy", array)):
        assert cli.main(["export", str(converted), "--data", str(images), "--out", str(out)]) == 0
    one, other = exchange.load(folder), exchange.load(array)
    golden = [exchange.golden_samples(net, path) for net, path in ((one, folder), (other, array))]
    assert all(np.array_equal(golden[0][name], golden[1][name]) for name in golden[1])
    assert len(golden[0]) > 2


def test_the_budget_of_a_conversion_has_the_size_of_its_images(place: Path, tmp_path: Path) -> None:
    out, costs = tmp_path / "net.safetensors", []
    assert cli.main([
        "convert", "--model", f"{place / 'nets.py'}:classifier", "--weights", str(place / "classifier.pth"),
        "--data", str(place / "classes"), "--out", str(out), "--time-steps", "3", "--size", "16",
    ]) == 0  # fmt: skip
    for shape in ([], ["--shape", "3,16,16"]):
        assert cli.main(["budget", str(out), *shape, "--json", str(tmp_path / "cost.json")]) == 0
        costs.append(json.loads((tmp_path / "cost.json").read_text())["totals"]["macs"])
    assert costs[0] == costs[1] == 8 * 8 * 8 * 27 + 4 * 4 * 8 * 72 + 8 * 4


def test_folder_for_a_network_of_unknown_preprocessing(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = f"{place / 'nets.py'}:classifier"
    arguments = ["export", model, "--data", str(place / "classes"), "--out", str(tmp_path / "net.spk")]
    assert cli.main(arguments) == 2
    assert "must be an .npy file of inputs [N, *], got a folder" in capsys.readouterr().err


def test_info_of_a_converted_network(
    converted: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["info", str(converted), "--json", str(tmp_path / "info.json")]) == 0
    found = json.loads((tmp_path / "info.json").read_text())
    assert found["facts"]["preprocessing"] == {"mean": [0.4]}
    net, _ = load_conversion(converted)
    nodes = {name: node for name, node in net.named_modules() if isinstance(node, SpikePackNode)}
    assert [(entry["name"], entry["time_steps"]) for entry in found["nodes"]] == [(name, 3) for name in nodes]
    said = capsys.readouterr().out
    assert "a network that spikepack convert wrote" in said
    assert all(name in said for name in nodes)


def test_info_of_a_trained_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "network.safetensors"
    net = build_network(
        "digits_cnn", "spikejelly_pack.neuron.SpikePackNode", time_steps=5, options={"width": 4}
    )
    save_network(net, path)
    assert cli.main(["info", str(path)]) == 0
    said = capsys.readouterr().out
    assert "a network that spikepack train wrote" in said
    assert "'time_steps': 5" in said
    assert any(line.split()[:3] == ["body.2.node", "5", "+"] for line in said.splitlines())


def test_info_of_other_weights(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["info", str(place / "classifier.safetensors")]) == 2
    assert "must be a network saved by spikepack train" in capsys.readouterr().err
