"""What is read means what NIR's definitions say, and what has no meaning is refused."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch

from spikejelly_pack import build_integer, read_nir
from spikejelly_pack.nir_exchange import library
from spikejelly_pack.spec.errors import (
    DtypeError,
    EnvironmentMissingError,
    ExchangeFileError,
    ParameterError,
    ShapeError,
    SpikePackError,
    UnsupportedError,
)

DT = 1e-3


def full(shape: Any, value: float) -> np.ndarray:
    return np.full(shape, value)


def chain(*nodes: Any, shape: Any = (6,), out: Any = (6,)) -> Any:
    names = [f"{index}" for index in range(len(nodes))]
    graph = {"in": nir.Input({"input": np.array(shape)}), **dict(zip(names, nodes, strict=True))}
    graph["out"] = nir.Output({"output": np.array(out)})
    order = ["in", *names, "out"]
    return nir.NIRGraph(graph, list(itertools.pairwise(order)), type_check=False)


def spikes_of(current: np.ndarray, r: float, threshold: float, reset: float, seconds: float) -> np.ndarray:
    """NIR's ``IF`` in continuous time, integrated in steps far below ``DT``: spikes in ``seconds``."""
    step, v, count = DT / 2000, np.zeros_like(current), np.zeros_like(current)
    for _ in range(int(seconds / step)):
        v = v + step * r * current
        fired = v > threshold
        count += fired
        v = np.where(fired, reset, v)
    return count


def test_value_of_an_if_neuron_is_its_rate() -> None:
    r, threshold, reset = 700.0, 1.3, -0.2
    current = np.array([0.0, 0.3, 0.9, 1.5, 2.0, -1.0])
    node = nir.IF(full(6, r), full(6, threshold), full(6, reset))
    graph = chain(node)
    value = read_nir(graph, time_steps=8, dt=DT)(torch.from_numpy(current[None]).float())[0].numpy()
    windows = 100
    rate = spikes_of(current, r, threshold, reset, windows * DT) / windows
    # half an LSB, the spike cut off at the end, and the integration's overshoot of one step per spike
    assert (np.abs(value - rate) <= 0.5 / 255 + 1 / windows + 1 / 2000).all()
    assert value[0] == 0.0
    assert value[-1] == 0.0
    assert value[4] > 0.9


def test_saturates_at_one_spike_per_step() -> None:
    graph = chain(nir.IF(full(6, 1 / DT), full(6, 1.0)))
    value = read_nir(graph, dt=DT)(torch.full((1, 6), 7.0))
    assert torch.equal(value, torch.ones(1, 6))


def test_threshold_is_exact_at_its_threshold() -> None:
    graph = chain(nir.Threshold(full(6, 0.3)))
    at = np.float32(0.3)
    values = np.array(
        [at, np.nextafter(at, np.float32(1)), 0.0, 1.0, -1.0, np.nextafter(at, np.float32(0))], np.float32
    )
    assert read_nir(graph)(torch.from_numpy(values)[None])[0].tolist() == [0.0, 1.0, 0.0, 1.0, 0.0, 0.0]


@pytest.mark.parametrize("kind", ["IF", "LIF"])
def test_steps_keep_the_membrane(kind: str) -> None:
    """One NIR step is one window: Euler steps of the neuron with a soft reset, membrane clamped to theta."""
    rng = np.random.default_rng(0)
    x = rng.normal(0.4, 0.6, (50, 2, 6))
    if kind == "IF":
        node, decay, gain = nir.IF(full(6, 0.8 / DT), full(6, 1.1)), 1.0, 0.8
    else:
        node = nir.LIF(full(6, 5 * DT), full(6, 4.0), full(6, 0.0), full(6, 1.1))
        decay, gain = 1 - 1 / 5, 4.0 / 5
    v, expected = np.zeros((2, 6)), []
    for current in x:
        v = decay * v + gain * current
        fired = v >= 1.1
        expected.append(fired.astype(float))
        v = np.clip(v - 1.1 * fired, -1.1, 1.1)
    net = read_nir(chain(node), time="steps", dt=DT, dtype=torch.float64)
    found = net(torch.from_numpy(x)).numpy()
    assert 0.1 < np.mean(expected) < 0.9
    assert np.array_equal(found, np.array(expected))


def small_network() -> Any:
    rng = np.random.default_rng(4)
    conv = nir.Conv2d(None, rng.normal(size=(4, 1, 3, 3)), 1, 1, 1, 2, rng.normal(size=4))
    if_conv = nir.IF(full((4, 6, 6), 1 / DT), rng.uniform(0.5, 2, (4, 1, 1)) * np.ones((4, 6, 6)))
    pool = nir.SumPool2d(np.array([2, 2]), np.array([2, 2]), np.array([0, 0]))
    if_pool = nir.IF(full((4, 3, 3), 1 / DT), full((4, 3, 3), 1.5))
    affine = nir.Affine(rng.normal(size=(5, 36)), rng.normal(size=5))
    return chain(
        conv, if_conv, pool, if_pool, nir.Flatten(np.array([4, 3, 3]), 0), affine, shape=(2, 6, 6), out=(5,)
    )


def test_network_of_if_neurons_is_the_clipped_network(evaluate: Any) -> None:
    """With 16 digits the packed network is, to rounding, the ANN of clipped rectifiers."""
    graph = small_network()
    x = np.random.default_rng(1).uniform(-1, 1, (3, 2, 6, 6))
    net = read_nir(graph, time_steps=16, dt=DT, dtype=torch.float64)
    with torch.no_grad():
        found = net(torch.from_numpy(x)).numpy()
    value = x
    for name in ("0", "1", "2", "3", "4", "5"):
        node = graph.nodes[name]
        if isinstance(node, nir.IF):
            value = np.clip(value / node.v_threshold, 0, 1)
        else:
            piece = chain(node)
            value = evaluate(piece, value)
    np.testing.assert_allclose(found, value, atol=1e-2)


def test_read_network_exports_with_an_encoder(tmp_path: Path) -> None:
    graph = small_network()
    graph.infer_types()
    nir.write(tmp_path / "net.nir", graph)
    net = read_nir(tmp_path / "net.nir", dt=DT, input_threshold=1.0, input_signed=True)
    network = build_integer(net, torch.rand(2, 2, 6, 6))
    assert [op.kind for op in network.neurons] == ["neuron", "neuron"]
    assert [op.signed for op in network.inputs] == [True]


ONES = full(6, 1.0)
REFUSALS: list[tuple[Any, dict[str, Any], str]] = [
    (nir.LIF(ONES, ONES, 0 * ONES, ONES), {}, "node '0': LIF has no meaning with time='rate'"),
    (nir.CubaLIF(ONES, ONES, ONES, 0 * ONES, ONES), {}, "node '0': CubaLIF has no meaning in"),
    (nir.LI(ONES, ONES, 0 * ONES), {}, "LI has no meaning"),
    (nir.I(ONES), {}, "I has no meaning"),
    (nir.Delay(ONES), {}, "Delay has no meaning"),
    (nir.IF(-ONES, ONES), {}, "r must be positive, got -1"),
    (nir.IF(ONES, -ONES), {}, "must be positive, got -1"),
    (nir.IF(ONES, ONES, ONES / 2), {"time": "steps"}, "v_reset must be 0"),
    (nir.LIF(ONES, ONES, ONES, ONES), {"time": "steps"}, "v_leak must be 0"),
    (nir.LIF(1e-6 * ONES, ONES, 0 * ONES, ONES), {"time": "steps"}, "tau one value of at least dt"),
    (nir.Threshold(0 * ONES - 1), {}, "must be positive"),
    (nir.Threshold(np.nan * ONES), {}, "threshold must be finite"),
    (nir.Linear(np.ones((2, 6, 6))), {}, "weight must be \\[out, in\\]"),
    (nir.Linear(np.ones((6, 5))), {}, "samples must fit the operation, got shape \\(6,\\)"),
    (nir.Affine(np.ones((6, 6)), np.ones(5)), {}, "bias must have shape \\(6,\\), got \\(5,\\)"),
    (nir.Scale(np.ones(5)), {}, "scale must have the shape \\(6,\\) of its input"),
]  # fmt: skip


@pytest.mark.parametrize(("node", "options", "says"), REFUSALS)
def test_nodes_without_a_meaning_are_refused(node: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(SpikePackError, match=says):
        read_nir(chain(node), **options)


def test_thresholds_within_a_channel_must_agree() -> None:
    theta = np.ones((2, 3, 3))
    theta[1, 2, 2] = 2
    with pytest.raises(UnsupportedError, match="must be equal within a channel"):
        read_nir(chain(nir.Threshold(theta), shape=(2, 3, 3), out=(2, 3, 3)))


def test_inconsistent_graphs() -> None:
    node = nir.Threshold(ONES)
    graph = chain(node)
    graph.edges.append(("0", "nowhere"))
    with pytest.raises(
        ExchangeFileError, match=r"edges must be pairs of names of nodes, got KeyError: 'nowhere'"
    ):
        read_nir(graph)
    graph = chain(node, nir.Linear(np.ones((6, 6))))
    graph.edges.append(("1", "0"))
    with pytest.raises(
        UnsupportedError, match=r"must have no cycle, got .*; recurrent connections have no packed"
    ):
        read_nir(graph)
    graph = chain(node)
    graph.edges.remove(("in", "0"))
    with pytest.raises(ExchangeFileError, match="node '0' must read something"):
        read_nir(graph)
    graph = chain(nir.Linear(np.ones((2, 6))))
    graph.edges.append(("in", "out"))
    with pytest.raises(ExchangeFileError, match=r"edges into 'out' must carry equal shapes"):
        read_nir(graph)
    graph = chain(node)
    graph.nodes["second"] = graph.nodes["in"]
    with pytest.raises(UnsupportedError, match="must have one Input, got"):
        read_nir(graph)
    with pytest.raises(ShapeError, match="at most"):
        read_nir(chain(nir.Flatten(None, 0), shape=(10**6, 10**6)))


def test_bad_arguments_and_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    graph = chain(nir.Threshold(ONES))
    for options, error, says in (
        ({"time": "now"}, ParameterError, "time must be 'rate' or 'steps'"),
        ({"dt": 0}, ParameterError, "dt must be a positive number of seconds, got 0"),
        ({"dtype": torch.float16}, DtypeError, "dtype must be torch.float32"),
        ({"input_threshold": -1.0}, ParameterError, "v_threshold"),
    ):
        with pytest.raises(error, match=says):
            read_nir(graph, **options)
    with pytest.raises(ExchangeFileError, match=r"must be a path or a nir.NIRGraph, got int"):
        read_nir(3)
    for name, content in (("missing.nir", None), ("text.nir", b"text"), ("empty.nir", b"")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ExchangeFileError, match=f"{name}: must be a NIR file, got "):
            read_nir(tmp_path / name)
    with h5py.File(tmp_path / "other.nir", "w") as file:
        file.create_group("node").create_dataset("type", data="NIRGraph")
    with pytest.raises(ExchangeFileError, match=r"other.nir: must be a NIR file, got AssertionError"):
        read_nir(tmp_path / "other.nir")
    nir.write(tmp_path / "node.nir", nir.Threshold(ONES))
    with pytest.raises(ExchangeFileError, match=r"node.nir: must"):
        read_nir(tmp_path / "node.nir")

    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}")

    monkeypatch.setattr(library.importlib, "import_module", missing)
    with pytest.raises(EnvironmentMissingError, match=r"pip install 'spikejelly-pack\[nir\]'"):
        read_nir(graph)
