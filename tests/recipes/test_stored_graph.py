"""A network of the FX route as JSON and tensors, and back: the same in every form."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from spikingjelly.activation_based import functional
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode, build_integer, set_form
from spikejelly_pack.recipes.stored_graph import graph_of, load_graph, network_from, save_graph
from spikejelly_pack.spec.errors import ExchangeFileError, UnsupportedError
from spikejelly_pack.spec.execute import encode, run_packed


def stored(snn: Any, folder: Path) -> tuple[Any, dict[str, Tensor]]:
    """Through the disk: JSON text and a safetensors file."""
    save_file(
        {name: value.contiguous() for name, value in snn.state_dict().items()}, folder / "t.safetensors"
    )
    return json.loads(json.dumps(graph_of(snn))), load_file(folder / "t.safetensors")


def flat(output: Any) -> list[Tensor]:
    return [output] if isinstance(output, Tensor) else [t for part in output for t in flat(part)]


def check_equal(one: Any, other: Any) -> None:
    for a, b in zip(flat(one), flat(other), strict=True):
        assert torch.equal(a, b)


@torch.no_grad()
@pytest.mark.parametrize("mixed", [False, True])
def test_rebuilt_network_is_equal_in_every_form(
    name: str, mixed: bool, make: Any, convert: Any, images: Tensor, tmp_path: Path
) -> None:
    steps: Any = 4
    if mixed:
        layers = convert(make(name), images).report.layers
        steps = {"*": 3} | {entry.path: 2 + i % 4 for i, entry in enumerate(layers)}
    snn = convert(make(name), images, time_steps=steps)
    rebuilt: Any = network_from(*stored(snn, tmp_path))
    assert {k: v.dtype for k, v in rebuilt.state_dict().items()} == {
        k: v.dtype for k, v in snn.state_dict().items()
    }
    check_equal(rebuilt(images), snn(images))
    check_equal(copy.deepcopy(rebuilt)(images), snn(images))
    for net in (snn, rebuilt):
        set_form(net, "serial")
        functional.set_step_mode(net, "m")
    window = snn.report.time_steps
    trains = images.expand(window, *images.shape)
    check_equal(rebuilt(trains), snn(trains))
    for net in (snn, rebuilt):
        functional.set_step_mode(net, "s")
        functional.reset_net(net)
    for _ in range(3 * window):
        check_equal(rebuilt(images[:2]), snn(images[:2]))


@torch.no_grad()
def test_integer_form_of_a_rebuilt_network(make: Any, convert: Any, images: Tensor, tmp_path: Path) -> None:
    x = images.float()
    snn = convert(make("residual", torch.float32), x, time_steps=4)
    one, other = (build_integer(net, x) for net in (snn, network_from(*stored(snn, tmp_path))))
    codes = encode(one.inputs[0], x.numpy())
    first, second = run_packed(one, codes), run_packed(other, codes)
    assert first.keys() == second.keys()
    for key, value in first.items():
        np.testing.assert_array_equal(second[key], value)


def test_what_has_no_stored_form_is_named(make: Any, convert: Any, images: Tensor) -> None:
    snn = convert(make("mlp"), images)
    path = next(entry.path for entry in snn.report.layers)
    snn.add_submodule(path, SpikePackNode(4, learnable_threshold=True, form="packed"))
    with pytest.raises(UnsupportedError, match=f"layer '{path}': SpikePackNode with a learned threshold"):
        graph_of(snn)
    snn.add_submodule(path, nn.Tanh())
    with pytest.raises(UnsupportedError, match=f"layer '{path}': Tanh has no stored form, known are"):
        graph_of(snn)


BAD: list[tuple[Any, str]] = [
    (lambda g: g["nodes"][0].update(name="x): import os #"), r"is no name of the graph"),
    (lambda g: g["nodes"][0].update(name="class"), "'class' is no name"),
    (lambda g: g["nodes"][0].update(target="x=print(1)"), "is no name of the graph"),
    (lambda g: g["nodes"][1].update(target='a"), print("'), "is no name of the graph"),
    (lambda g: g["nodes"][-1].update(args=["__import__('os')"]), "is no argument of the graph"),
    (lambda g: g["nodes"][-1].update(args=[{"dict": {"a'": None}}]), "is no name of the graph"),
    (lambda g: g["nodes"][1].update(op="get_attr"), "unknown operation 'get_attr'"),
    (lambda g: g["nodes"][-1].update(args=[{"node": "nobody"}]), "nobody"),
    (lambda g: g["modules"]["1"].update(kind="Popen"), "KeyError: 'Popen'"),
    (lambda g: g["modules"]["1"]["arguments"].update(device="cuda"), r"unknown arguments \['device'\]"),
    (lambda g: g["modules"]["1"]["arguments"].update(in_features=10**12), "size mismatch"),
    (lambda g: g["modules"].pop("1"), "KeyError|no attribute|lint|target"),
    (lambda g: g.pop("nodes"), "KeyError: 'nodes'"),
]


@pytest.mark.parametrize(("change", "said"), BAD, ids=[entry[1][:30] for entry in BAD])
def test_damaged_graphs_are_refused(
    change: Any, said: str, make: Any, convert: Any, images: Tensor, tmp_path: Path
) -> None:
    graph, tensors = stored(convert(make("mlp"), images), tmp_path)
    change(graph)
    with pytest.raises(ExchangeFileError, match=f"net: must hold a converted network, got .*({said})"):
        network_from(graph, tensors, "net")


def test_missing_tensors_are_refused(make: Any, convert: Any, images: Tensor, tmp_path: Path) -> None:
    graph, tensors = stored(convert(make("mlp"), images), tmp_path)
    tensors.pop("1.weight")
    with pytest.raises(ExchangeFileError, match="Missing key"):
        network_from(graph, tensors)


@torch.no_grad()
def test_files(make: Any, convert: Any, images: Tensor, tmp_path: Path) -> None:
    snn, path = convert(make("pooled"), images), tmp_path / "net.safetensors"
    save_graph(snn, path)
    check_equal(load_graph(path)(images), snn(images))
    save_file({"a": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ExchangeFileError, match=r"other\.safetensors: must be written by save_graph"):
        load_graph(tmp_path / "other.safetensors")
    save_file({"a": torch.zeros(1)}, path, {"spikepack_graph": '{"version": 9}'})
    with pytest.raises(ExchangeFileError, match="must be a graph of version 1"):
        load_graph(path)
    save_file({"a": torch.zeros(1)}, path, {"spikepack_graph": '{"version": 1}'})
    with pytest.raises(ExchangeFileError, match="must hold a converted network, got TypeError"):
        load_graph(path)
    with pytest.raises(UnsupportedError, match="network must be a GraphModule, got Linear"):
        save_graph(nn.Linear(2, 2), path)  # type: ignore[arg-type]
