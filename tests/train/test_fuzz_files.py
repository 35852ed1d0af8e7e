"""Altered networks, checkpoints, teachers and clips give what they hold or the documented error."""

from __future__ import annotations

import io
import json
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn

from spikejelly_pack.spec.errors import ParameterError, SpikePackError
from spikejelly_pack.train import build_network, load_network, save_network
from spikejelly_pack.train.neurons import NeuronFactory
from spikejelly_pack.train.saved import (
    CHECKPOINT_KEY,
    PREFIX,
    describe,
    network_state,
    neurons_of,
    read_checkpoint,
)
from spikejelly_pack.train.sources.frames import FrameFolder
from spikejelly_pack.train.teacher import _load

EXAMPLES = pytest.mark.parametrize("examples", [100, pytest.param(100_000, marks=pytest.mark.fuzz)])
#: A network is built, twice where the file is whole: some ten milliseconds each.
FEWER = pytest.mark.parametrize("examples", [20, pytest.param(2000, marks=pytest.mark.fuzz)])


@pytest.fixture(scope="module")
def net() -> Any:
    torch.manual_seed(0)
    return build_network("digits_cnn", time_steps=3, options={"width": 2, "norm": False})


@pytest.fixture(scope="module")
def stored(net: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("net") / "net.safetensors"
    save_network(net, path)
    assert isinstance(load_network(path), nn.Module)
    return path


def loads_or_refuses(path: Path, fuzzing: Any) -> None:
    found, said = fuzzing.outcome(load_network, path, SpikePackError)
    assert said or isinstance(found, nn.Module)


def described(net: Any) -> Any:
    return json.loads(json.dumps(describe(net)))


@EXAMPLES
def test_altered_description(net: Any, fuzzing: Any, examples: int) -> None:
    """Up to the neurons; no network is built."""

    def check(changed: Any) -> None:
        found, said = fuzzing.outcome(lambda config: neurons_of(config, "file"), changed, SpikePackError)
        assert said or isinstance(found, NeuronFactory)

    fuzzing.run(fuzzing.altered_json(described(net)), check, examples)


@FEWER
def test_altered_network(net: Any, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path, tensors = tmp_path / "net.safetensors", dict(net.state_dict())

    def check(changed: Any) -> None:
        text = {CHECKPOINT_KEY: json.dumps(changed)}
        fuzzing.put(path, safetensors.torch.save(tensors, text))
        loads_or_refuses(path, fuzzing)

    fuzzing.run(fuzzing.altered_json(described(net)), check, examples)


@EXAMPLES
def test_altered_bytes_of_a_network(stored: Path, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path = tmp_path / "net.safetensors"

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        loads_or_refuses(path, fuzzing)

    fuzzing.run(fuzzing.altered_bytes(stored.read_bytes()), check, examples)


def checkpoint_of(net: Any) -> dict[str, Any]:
    state = {PREFIX + name: value for name, value in net.state_dict().items()}
    return {"state_dict": state, CHECKPOINT_KEY: described(net), "epoch": 3}


def in_bytes(content: Any) -> bytes:
    held = io.BytesIO()
    torch.save(content, held)
    return held.getvalue()


def altered_checkpoint(net: Any, fuzzing: Any) -> Any:
    """Description altered, an entry of the state replaced or removed, or the whole something else."""
    description = fuzzing.altered_json(checkpoint_of(net)[CHECKPOINT_KEY])

    def make(random: Random) -> Any:
        content = checkpoint_of(net)
        what = random.randrange(4)
        if what == 0:
            content[CHECKPOINT_KEY] = description(random)
        elif what == 1:
            content["state_dict"][random.choice(list(content["state_dict"]))] = fuzzing.value(random)
        elif what == 2:
            del content["state_dict"][random.choice(list(content["state_dict"]))]
        else:
            content[random.choice(list(content))] = fuzzing.value(random)
        return content

    return make


@EXAMPLES
def test_altered_content_of_a_checkpoint(net: Any, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path = tmp_path / "last.ckpt"

    def check(content: Any) -> None:
        fuzzing.put(path, in_bytes(content))
        found, said = fuzzing.outcome(read_checkpoint, path, ParameterError)
        assert said or isinstance(network_state(found), dict)

    fuzzing.run(altered_checkpoint(net, fuzzing), check, examples)


@FEWER
def test_altered_network_of_a_checkpoint(net: Any, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path = tmp_path / "last.ckpt"

    def check(content: Any) -> None:
        fuzzing.put(path, in_bytes(content))
        loads_or_refuses(path, fuzzing)

    fuzzing.run(altered_checkpoint(net, fuzzing), check, examples)


@EXAMPLES
def test_altered_bytes_of_a_checkpoint(net: Any, tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path = tmp_path / "last.ckpt"

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        found, said = fuzzing.outcome(read_checkpoint, path, ParameterError)
        assert said or {"state_dict", CHECKPOINT_KEY} <= set(found)

    fuzzing.run(fuzzing.altered_bytes(in_bytes(checkpoint_of(net))), check, examples)


@EXAMPLES
def test_altered_bytes_of_a_teacher(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    path, teacher = tmp_path / "teacher.safetensors", nn.Linear(3, 2)

    def check(data: bytes) -> None:
        fuzzing.put(path, data)
        fuzzing.outcome(lambda file: _load(teacher, str(file)), path, ParameterError)

    original = safetensors.torch.save(dict(teacher.state_dict()))
    fuzzing.run(fuzzing.altered_bytes(original), check, examples)


@EXAMPLES
def test_altered_bytes_of_a_clip(tmp_path: Path, fuzzing: Any, examples: int) -> None:
    """An archive of arrays, plain or compressed."""
    path, originals = tmp_path / "clip.npz", {}
    for name, save in (("plain", np.savez), ("compressed", np.savez_compressed)):
        held = io.BytesIO()
        save(held, frames=np.arange(96, dtype=np.uint8).reshape(3, 2, 4, 4))
        originals[name] = fuzzing.altered_bytes(held.getvalue())
    clips = FrameFolder([(path, 0)], 3, None)

    def check(made: tuple[str, bytes]) -> None:
        fuzzing.put(path, made[1])
        found, said = fuzzing.outcome(lambda index: clips[index], 0, ParameterError)
        assert said or found[0].shape[:2] == (3, 2)

    fuzzing.run(fuzzing.choice_of(originals), check, examples)


@pytest.mark.parametrize(
    ("option", "value"), [("width", 1 << 14), ("num_classes", 1 << 40), ("in_channels", 1 << 40)]
)
def test_a_network_larger_than_its_file_is_refused(option: str, value: int, net: Any, tmp_path: Path) -> None:
    """Before memory is taken for it."""
    path, description = tmp_path / "net.safetensors", describe(net)
    description["options"] = {**description["options"], option: value}
    text = {CHECKPOINT_KEY: json.dumps(description)}
    safetensors.torch.save_file(dict(net.state_dict()), path, text)
    with pytest.raises(ParameterError, match=r"must fit the .* numbers of the file|options must be accepted"):
        load_network(path)


@pytest.mark.parametrize(
    "name",
    [
        "spikejelly_pack.spec.container.Path",
        "spikejelly_pack.train.command.TrainCLI",
        "spikingjelly.datasets.n_mnist.NMNIST",
        "spikingjelly.activation_based.monitor.BaseMonitor",
    ],
)
def test_a_file_names_no_class_but_modules(name: str, net: Any, tmp_path: Path) -> None:
    path, description = tmp_path / "net.safetensors", describe(net)
    description["neuron"]["init_args"] = {
        "surrogate_function": {"class_path": name, "init_args": {"root": "x"}}
    }
    text = {CHECKPOINT_KEY: json.dumps(description)}
    safetensors.torch.save_file(dict(net.state_dict()), path, text)
    with pytest.raises(ParameterError, match="classes must be of spikejelly_pack or"):
        load_network(path)
