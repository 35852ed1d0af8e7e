"""Networks trained on real time in exchange files: the windows of a clip stay windows, membranes carry on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from spikejelly_pack.cli import main
from spikejelly_pack.data import event_digits
from spikejelly_pack.integer import IntegerNetwork, accelerate
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.spec import exchange
from spikejelly_pack.spec.execute import encode, outputs, run_packed, run_serial_multi_step
from spikejelly_pack.spec.stream import run_serial_single_step
from spikejelly_pack.train import build_network, load_network, save_network, train_epochs
from spikejelly_pack.train.neurons import SPIKEPACK

WINDOWS = 4


@pytest.fixture(scope="module")
def clips() -> Any:
    return event_digits(windows=WINDOWS)


def network(leak: float, encode_input: bool = True) -> Any:
    torch.manual_seed(0)
    node = {"learnable_threshold": True, "leak": leak, "carry": "membrane", "v_threshold": 4.0}
    options = {"width": 6, "encode": encode_input}
    return build_network("events_cnn", SPIKEPACK, options=options, neuron_args={"SpikePackNode": node})


@pytest.fixture(scope="module")
def trained(clips: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network with leak 1/2, trained enough to have opinions, as ``spikepack train`` leaves it."""
    net = network(0.5)
    train_epochs(net, clips.train_inputs, clips.train_classes, epochs=3, progress=False)
    path = tmp_path_factory.mktemp("windows") / "network.safetensors"
    save_network(net, path)
    return path


@pytest.fixture(scope="module")
def exported(trained: Path, clips: Any) -> Path:
    data, target = trained.with_name("clips.npy"), trained.with_name("net.spk")
    np.save(data, clips.test_inputs[:64].transpose(0, 1).numpy())
    command = ["export", str(trained), "--data", str(data), "--windows", str(WINDOWS), "--out", str(target)]
    assert main(command) == 0
    return target


def test_every_executor_agrees(exported: Path, clips: Any) -> None:
    """Packed, serial multi-step and single-step in numpy, torch, accelerated: every code of every layer."""
    net = exchange.load(exported)
    assert net.windows == WINDOWS
    memory = [op.leak_shift for op in net.neurons]
    assert memory == [1, None, 1, None, 1]  # the pools are coded window by window
    assert {op.carry for op in net.neurons if op.carries} == {"membrane"}
    codes = encode(net.inputs[0], clips.test_inputs[:6].transpose(0, 1).numpy())
    packed = run_packed(net, codes)
    for other in (run_serial_multi_step, run_serial_single_step):
        found = other(net, codes)
        assert packed.keys() == found.keys()
        assert all(np.array_equal(packed[name], found[name]) for name in packed), other.__name__
    for found in (IntegerNetwork(net)(codes), accelerate(net).every_code(codes)):
        assert all(np.array_equal(packed[name], np.asarray(found[name])) for name in packed)


def test_it_is_the_trained_network(trained: Path, exported: Path, clips: Any) -> None:
    """int8 weights and rounded thresholds move some codes by one; predictions agree but for close calls."""
    images = clips.test_inputs
    net = exchange.load(exported)
    packed = run_packed(net, encode(net.inputs[0], images.transpose(0, 1).numpy()))
    found = outputs(net, packed)["output"].sum(0).argmax(1)
    with torch.no_grad():
        expected = load_network(trained)(images).argmax(1).numpy()
    assert (found == expected).mean() > 0.9
    alone = outputs(net, run_packed(net, encode(net.inputs[0], images[:, 0].numpy()), windows=1))["output"]
    assert (alone.argmax(1) == expected).mean() < 0.7  # one window does not know what the clip shows
    backwards = encode(net.inputs[0], images.flip(1).transpose(0, 1).numpy())
    turned = outputs(net, run_packed(net, backwards))["output"].sum(0).argmax(1)
    assert (turned == expected).mean() < 0.9  # the order of the windows counts


def test_the_encoder_codes_every_window_for_itself() -> None:
    nodes = [module for module in network(0.5).modules() if isinstance(module, SpikePackNode)]
    assert [node.params.leak for node in nodes] == [0.0, 0.5, 0.0, 0.5, 0.0, 0.5]
    assert [node.theta.item() for node in nodes] == [1.0, 4.0] * 3
    inside = {"class_path": SPIKEPACK, "init_args": {"leak": 0.5, "carry": "membrane"}}
    first = build_network("events_cnn", inside, options={"width": 2, "encode": True}).body[0]
    assert (first.params.leak, first.time_steps) == (0.0, 4)
    other = build_network(
        "events_cnn", "spikingjelly.activation_based.neuron.LIFNode", options={"encode": True}
    )
    assert type(other.body[0]).__name__ == "LIFNode"


def test_refusals(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "net.spk"
    out = ["--out", str(target)]
    assert main(["export", str(trained), "--data", "digits", *out]) == 2
    assert "add --windows W, with data [W, N, *]" in capsys.readouterr().err
    for leak, encoded, sentence in (
        (0.4, True, "leak must be 2^-k in the integer form, a shift, got 0.4; train with the nearest, 0.5"),
        (0.5, False, "must read spikes, got the analog input"),
    ):
        save_network(network(leak, encoded), tmp_path / "other.safetensors")
        command = ["export", str(tmp_path / "other.safetensors"), "--data", "events", "--windows", "8", *out]
        assert main(command) == 2
        assert sentence in capsys.readouterr().err
    assert not target.exists()
