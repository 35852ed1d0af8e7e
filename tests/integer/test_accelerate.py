"""The accelerated network gives every code and membrane of the numpy reference, whatever route is taken."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, reject, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

import spikejelly_pack
from spikejelly_pack import SpikePackNode, set_form
from spikejelly_pack.cli import main
from spikejelly_pack.integer import IntegerNetwork, accelerate, build_integer
from spikejelly_pack.integer.accelerate import AcceleratedModel, AcceleratedNetwork
from spikejelly_pack.ops import integer_products
from spikejelly_pack.ops.integer_products import choice
from spikejelly_pack.ops.integer_products.int8 import Int8Route
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import DtypeError, ShapeError, SpikePackError, UnsupportedError
from spikejelly_pack.spec.execute import encode, outputs, run_packed


def _builders() -> ModuleType:
    """Random integer networks of the room ``spec``."""
    path = Path(__file__).parents[1] / "spec" / "conftest.py"
    spec = importlib.util.spec_from_file_location("spikepack_tests_spec_builders", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


BUILDERS = _builders()
# The last: how CUDA stores codes of 8 digits, as signed bytes with an offset.
CPU_ROUTES = [
    *(route for route in integer_products.ROUTES if "cpu" in route.devices),
    Int8Route("int8_offset", unsigned_bytes=False),
]


class LongCodes(BUILDERS.NetBuilder):
    """Random networks of any T, in registers wide enough."""

    def __init__(self, draw: Any, steps: int) -> None:
        super().__init__(draw)
        self.time_steps = steps

    def add(self, cls: Any, *inputs: str, **constants: Any) -> str:
        if cls in (g.Neuron, g.Readout):
            constants["state_bits"] = 32
        return super().add(cls, *inputs, **constants)

    def network(self) -> Any:
        try:
            return super().network()
        except SpikePackError:  # a window larger than the image, a concatenation nobody reads
            reject()


@pytest.fixture
def _no_choices() -> Iterator[None]:
    integer_products.forget_choices()
    yield
    integer_products.forget_choices()


def same(network: Any, accelerated: Any, codes: Any) -> None:
    expected, got = run_packed(network, codes), accelerated.every_code(codes)
    assert list(got) == list(expected)
    for name, values in expected.items():
        assert got[name].dtype is torch.int64
        np.testing.assert_array_equal(got[name].numpy(), values.astype(np.int64), err_msg=name)


@settings(max_examples=80)
@given(data=st.data())
def test_equals_the_reference(data: st.DataObject) -> None:
    builder = LongCodes(data.draw, data.draw(st.sampled_from([1, 2, 4, 7, 8, 9, 12, 15, 16])))
    network = builder.network()
    samples = data.draw(st.integers(0, 3))
    codes = builder.codes(network, samples)
    same(network, accelerate(network), codes)
    for name, values in run_packed(network, codes).items():
        np.testing.assert_array_equal(IntegerNetwork(network)(codes)[name].numpy(), values, err_msg=name)


@pytest.mark.usefixtures("_no_choices")
@pytest.mark.parametrize("route", CPU_ROUTES, ids=lambda route: route.name)
def test_every_route_where_it_claims_to_be_exact(route: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each route alone, with float64 for what it refuses: a wrong proof of exactness would show."""
    reference = integer_products.routes()["float64"]
    used = []

    class Only:
        name, devices = "only", ("cpu",)

        def refuses(self, product: Any, device: torch.device) -> str | None:
            return None

        def prepare(self, product: Any, device: torch.device) -> Any:
            refused = route.refuses(product, device)
            used.append(refused is None)
            return (route if refused is None else reference).prepare(product, device)

    monkeypatch.setattr(choice, "ROUTES", [Only()])

    @settings(max_examples=25, database=None)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        builder = LongCodes(data.draw, data.draw(st.sampled_from([4, 7, 8, 13])))
        network = builder.network()
        integer_products.forget_choices()
        same(network, AcceleratedNetwork(network), builder.codes(network, 2))

    check()
    assert any(used)


def extreme_net(steps: int, signed: bool, fan_in: int, weight: int) -> Any:
    """One convolution of equal weights: codes at the end of their range give the largest sum there is."""
    weights = np.full((2, fan_in, 3, 3), weight, np.int32)
    weights[1] = -1 - weight
    flat = np.ones((1, 2 * 25), np.int32)
    return g.Network(
        [
            g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(fan_in, 5, 5),
                    time_steps=steps, signed=signed),
            g.Conv2d(name="c", inputs=("x",), weight_bits=8, weight=weights, padding=(1, 1)),
            g.Neuron(name="n", inputs=("c",), threshold=np.array([7, 3], np.int32), time_steps=steps,
                     bias=np.array([-5, 9], np.int32), signed=signed, state_bits=32),
            g.Flatten(name="f", inputs=("n",)),
            g.Dense(name="d", inputs=("f",), weight_bits=8, weight=flat),
            g.Readout(name="out", inputs=("d",), scale=np.ones(1), bias=np.zeros(1, np.int32), state_bits=32),
        ],
        steps,
    )  # fmt: skip


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("steps", [1, 7, 8, 9, 16])
@pytest.mark.parametrize("weight", [127, -128])
def test_saturated_codes_and_weights(steps: int, signed: bool, weight: int) -> None:
    network = extreme_net(steps, signed, 16, weight)
    top = 2**steps - 1
    low = -top if signed else 0
    codes = np.stack([np.full((16, 5, 5), end) for end in (low, 0, top, 1)])
    same(network, accelerate(network), codes)


def test_one_below_a_threshold_beyond_the_exact_float32() -> None:
    """V = 23 999 999 rounds to theta = 24 000 000 in float32 and would fire."""
    theta, bias = np.array([24_000_000], np.int32), np.zeros(1, np.int32)
    weight = np.array([[8_000, 1]], np.int32)
    network = g.Network(
        [
            g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(2,), time_steps=13),
            g.Dense(name="d", inputs=("x",), weight_bits=16, weight=weight),
            g.Neuron(name="n", inputs=("d",), threshold=theta, bias=bias, rounding="floor", state_bits=32),
            g.Dense(name="e", inputs=("n",), weight_bits=8, weight=np.ones((1, 1), np.int32)),
            g.Readout(name="out", inputs=("e",), scale=np.ones(1), bias=bias),
        ],
        13,
    )
    codes = np.array([[2999, 7_999], [3000, 0], [5999, 7_999]])
    same(network, accelerate(network), codes)
    assert accelerate(network).every_code(codes)["n"].flatten().tolist() == [0, 1, 1]


def test_integer_networks_and_nodes(exact_nets: Any) -> None:
    @settings(max_examples=20)
    @given(data=st.data())
    def check(data: st.DataObject) -> None:
        net, x = data.draw(exact_nets())
        set_form(net, "packed")
        network = build_integer(net, x, state_bits=32)
        codes = encode(network.inputs[0], x.numpy())
        same(network, accelerate(IntegerNetwork(network)), codes)
        model = accelerate(net, x, state_bits=32)
        (expected,) = outputs(network, run_packed(network, codes)).values()
        np.testing.assert_array_equal(model(x).numpy(), expected)

    check()


def test_real_inputs_are_encoded_as_by_the_reference() -> None:
    op = g.Input(
        name="x",
        inputs=(),
        threshold=np.array([0.7, 1.3], np.float32),
        shape=(2, 3),
        time_steps=8,
        signed=True,
    )
    dense = g.Dense(name="d", inputs=("f",), weight_bits=8, weight=np.ones((1, 6), np.int32))
    out = g.Readout(name="out", inputs=("d",), scale=np.full(1, 0.125), bias=np.zeros(1, np.int32))
    network = g.Network([op, g.Flatten(name="f", inputs=("x",)), dense, out], 8)
    values = torch.randn(64, 2, 3, generator=torch.Generator().manual_seed(0))
    values[0, 0] = torch.tensor([float("inf"), float("-inf"), -0.0])
    # Ties: halves of the LSB of each channel, in float32.
    values[1] = (torch.tensor([[0.7], [1.3]]) / 255) * torch.tensor([0.5, 1.5, -2.5])
    accelerated = accelerate(network)
    expected = outputs(network, run_packed(network, encode(op, values.numpy())))["out"]
    np.testing.assert_array_equal(accelerated.predict(values)["out"].numpy(), expected)
    with pytest.raises(DtypeError, match="values must be numbers, got NaN"):
        accelerated.predict(torch.full((1, 2, 3), float("nan")))
    with pytest.raises(ShapeError, match=r"values must have shape \[N, 2, 3\], got \(1, 3, 2\)"):
        accelerated.predict(torch.zeros(1, 3, 2))


def test_bad_input_is_refused() -> None:
    accelerated = accelerate(extreme_net(4, False, 2, 1))
    with pytest.raises(DtypeError, match=r"codes must be in 0\.\.15, got 0\.\.16"):
        accelerated(np.full((1, 2, 5, 5), 16) * np.eye(5, dtype=int))
    with pytest.raises(DtypeError, match=r"codes must be integers, got torch\.float32"):
        accelerated(torch.zeros(1, 2, 5, 5))
    with pytest.raises(ShapeError, match=r"codes must have shape \[N, 2, 5, 5\], got \(1, 2, 5, 4\)"):
        accelerated(torch.zeros(1, 2, 5, 4, dtype=torch.int64))
    with pytest.raises(ShapeError, match=r"network has inputs \['x'\], got \['y'\]"):
        accelerated({"y": torch.zeros(1, 2, 5, 5, dtype=torch.int64)})
    serial = nn.Sequential(SpikePackNode(2), nn.Linear(3, 2))
    with pytest.raises(UnsupportedError, match=r"call set_form\(net, 'packed'\) first"):
        accelerate(serial, torch.zeros(1, 3))
    with pytest.raises(UnsupportedError, match=r"got Linear with forms \[\]"):
        accelerate(nn.Linear(3, 2))
    with pytest.raises(UnsupportedError, match="must come with one batch of inputs, got none"):
        accelerate(set_form(serial, "packed"))


def test_copies_casts_and_threads() -> None:
    network = extreme_net(8, False, 16, 127)
    codes = np.random.default_rng(0).integers(0, 256, (4, 16, 5, 5))
    accelerated = accelerate(network)
    same(network, accelerated, codes)
    same(network, copy.deepcopy(accelerated), codes)
    same(network, accelerate(network).half(), codes)  # buffers are integers: nothing is rounded
    assert accelerate(accelerated) is accelerated
    assert not accelerated.state_dict()
    integer_products.forget_choices()
    fresh = accelerate(network)
    with ThreadPoolExecutor(4) as pool:
        for work in [pool.submit(same, network, fresh, codes) for _ in range(4)]:
            work.result()  # raises what the thread raised


@pytest.mark.usefixtures("_no_choices")
def test_choices_are_measured_once_and_told() -> None:
    network = extreme_net(4, False, 4, 3)
    accelerated = accelerate(network)
    codes = np.zeros((4, 4, 5, 5), np.int64)
    accelerated(codes)
    known = integer_products.measured_choices()
    # The fused kernels are measured against the product and the neurons one after the other.
    assert sorted(found.kind for found in known) == ["conv", "conv and fire", "dense"]
    accelerated(codes[:3])  # the same power of two
    assert integer_products.measured_choices() == known
    accelerated(codes[:2])
    assert len(integer_products.measured_choices()) == 6
    for found in known:
        assert found.chosen == min(found.seconds, key=found.seconds.__getitem__)
        if found.kind == "conv and fire":
            assert set(found.seconds) | set(found.refused) == {"separate", "onednn_fused"}
        else:
            assert {"float64", "float32"} <= set(found.seconds)
    table = integer_products.measured_table()
    assert all(found.chosen in table for found in known)
    assert len(table.splitlines()) == 2 + 6


@pytest.mark.usefixtures("_no_choices")
def test_a_route_that_is_wrong_or_cannot_run_is_refused_with_its_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Wrong:
        name, devices = "wrong", ("cpu",)

        def refuses(self, product: Any, device: torch.device) -> str | None:
            return None

        def prepare(self, product: Any, device: torch.device) -> Any:
            exact = integer_products.routes()["float64"].prepare(product, device)
            return lambda codes: exact(codes) + (codes.amax() == product.high)

    class Missing(Wrong):
        name = "missing"

        def prepare(self, product: Any, device: torch.device) -> Any:
            raise RuntimeError("no such operator")

    monkeypatch.setattr(choice, "ROUTES", [*choice.ROUTES, Wrong(), Missing()])
    network = extreme_net(4, False, 4, 3)
    same(network, accelerate(network), np.full((2, 4, 5, 5), 15))
    products = [found for found in integer_products.measured_choices() if "separate" not in found.seconds]
    assert len(products) == 2
    for found in products:
        assert found.refused["wrong"] == "gave other sums than float64 on extreme codes"
        assert found.refused["missing"] == "cannot run here: no such operator"


def test_top_level_name() -> None:
    assert spikejelly_pack.accelerate is accelerate
    assert isinstance(accelerate(extreme_net(2, True, 1, 1)), AcceleratedNetwork)
    assert issubclass(AcceleratedModel, nn.Module)


def test_benchmark_smoke(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "result.json"
    assert main(["bench", "integer", "--fast", "--json", str(target)]) == 0
    result = json.loads(target.read_text())
    assert list(result["results"]) == ["4"]
    assert set(result["results"]["4"]["seconds"]) == {"relu", "packed", "integer_float64", "accelerated"}
    assert {route["kind"] for route in result["routes"]} >= {"conv", "dense"}
    assert "| 4 |" in capsys.readouterr().out


class _Waits(TorchDispatchMode):
    """Counts what would make the host wait for a device: numbers read back."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        self.count += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.item.default)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("check", [True, False])
def test_unchecked_predictions_read_nothing_back(check: bool) -> None:
    """Such a call can be captured in a CUDA graph."""
    network = extreme_net(4, False, 2, 1)
    fast = AcceleratedNetwork(network, check=check)
    x = torch.rand(2, *network.inputs[0].shape)
    expected = fast.predict(x)
    with _Waits() as waits:
        got = fast.predict(x)
    assert (waits.count > 0) == check
    assert all(torch.equal(got[name], expected[name]) for name in expected)


def test_a_copy_keeps_no_constants_of_a_device() -> None:
    """Loaded elsewhere, a constant kept for one device could lie on another."""
    fast = AcceleratedNetwork(extreme_net(4, False, 2, 1))
    x = torch.rand(2, *fast.network.inputs[0].shape)
    expected, again = fast.predict(x), copy.deepcopy(fast)
    assert fast._constants
    assert again._constants == {}
    assert all(torch.equal(values, expected[name]) for name, values in again.predict(x).items())
