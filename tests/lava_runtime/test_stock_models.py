"""What is ours equals what is Lava's, wherever Lava's own is defined."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lava.proc.conv import utils
from lava.proc.conv.models import PyConvModelFixed
from lava.proc.conv.process import Conv
from lava.proc.dense.models import PyDenseModelBitAcc

import lava_bridge
from lava_bridge.build import assemble
from lava_bridge.engines import configuration, inline
from lava_bridge.processes.conv_models import PyConvIm2col
from lava_bridge.rules import RULES
from lava_bridge.splitting import split_weights
from spikejelly_pack.spec.errors import BoundError, UnsupportedError
from spikejelly_pack.spec.graph import OPS, Dense, Input, Network, Readout


class Port:
    """A port with one message in and a list of messages out."""

    def __init__(self, message: Any = None) -> None:
        self.message = message
        self.sent: list[Any] = []

    def recv(self) -> Any:
        return self.message

    def send(self, data: Any) -> None:
        self.sent.append(data.copy())


def through_our_model(process: Conv, spikes: Any) -> Any:
    model = PyConvIm2col(process.proc_params)
    for name in ("weight", "kernel_size", "stride", "padding", "dilation", "groups", "num_message_bits"):
        var = getattr(process, name)
        array = np.zeros(var.shape, np.int32)
        array[:] = var.init
        setattr(model, name, array)
    model.weight_exp = np.array([process.proc_params["weight_exp"]])
    model.a_buf = np.zeros(process.output_shape, np.int32)
    model.s_in, model.a_out = Port(spikes), Port()
    model.run_spk()
    model.run_spk()
    assert not model.a_out.sent[0].any()  # a synapse takes one time step, as Lava's own
    return model.a_out.sent[1]


@settings(max_examples=60)
@given(st.data())
def test_conv_equals_the_stock_model(data: Any) -> None:
    some = lambda low, high: data.draw(st.integers(low, high))  # noqa: E731
    groups, dilation = some(1, 3), (some(1, 2), some(1, 2))
    kernel, stride, padding = (some(1, 3), some(1, 3)), (some(1, 3), some(1, 2)), (some(0, 2), some(0, 2))
    shape = (some(5, 8), some(5, 9), groups * some(1, 2))
    rng = np.random.default_rng(some(0, 2**32 - 1))
    weight = rng.integers(-128, 128, size=(groups * some(1, 2), *kernel, shape[2] // groups))
    process = Conv(
        weight=weight,
        input_shape=shape,
        stride=stride,
        padding=padding,
        dilation=dilation,
        groups=groups,
        num_message_bits=2,
    )
    spikes = rng.integers(-1, 2, size=shape)
    stock = utils.conv(spikes, weight, kernel, stride, padding, dilation, groups)
    assert np.array_equal(through_our_model(process, spikes), stock)


def test_network_equals_the_same_network_with_the_stock_conv_model(
    residual_net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-15, 16, size=(3, 2, 4, 4))
    narrow = [op for op in residual_net.ops.values() if op.name == "skip"]
    assert (
        split_weights(narrow[0].multiplier)[1][1] == 8
    )  # wide weights use an exponent, which stock Conv ignores
    ops = [_narrow(op) for op in residual_net.ops.values()]
    network = Network(ops, residual_net.time_steps)
    run = partial(
        lava_bridge.simulate, network, x, codes=True, engine="inline", batch=1, record="all", progress=False
    )
    ours = run()
    monkeypatch.setitem(configuration.STOCK_MODELS, "fixed_pt", {Conv: PyConvModelFixed})
    stock = run()
    for name, value in {**ours.membranes, **ours.codes}.items():
        assert np.array_equal(value, {**stock.membranes, **stock.codes}[name]), name


def _narrow(op: Any) -> Any:
    if op.name != "skip":
        return op
    return type(op)(name="skip", inputs=op.inputs, weight_bits=8, multiplier=np.full_like(op.multiplier, 111))


def test_dense_runs_on_the_stock_model(make_small_net: Any, tmp_path: Any) -> None:
    codes = {"x": np.zeros((1, 6), np.uint8)}
    executable = configuration.compile_assembly(assemble(make_small_net(), codes, (), tmp_path))
    models = {process.name: builder.proc_model for process, builder in executable.proc_builders.items()}
    assert models["fc1"] is PyDenseModelBitAcc
    assert models["fc2"] is PyDenseModelBitAcc


@given(st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=8))
def test_split_weights_add_up(values: list[int]) -> None:
    weight = np.array(values)
    parts = split_weights(weight)
    assert sum(part.astype(np.int64) << exponent for part, exponent in parts).tolist() == values
    assert all(part.min() >= -128 and part.max() <= 127 for part, _ in parts)
    assert len(parts) == 1 or weight.min() < -128 or weight.max() > 127


def test_every_kind_of_operation_has_a_rule(tmp_path: Any, make_small_net: Any) -> None:
    assemble(make_small_net(), {"x": np.zeros((1, 6), np.uint8)}, (), tmp_path)
    assert set(RULES) == set(OPS)


def test_graded_spikes_that_stock_dense_cannot_sum_are_refused() -> None:
    """Stock Dense holds twice the sum in 32 bits: digits always fit, codes of 16 bits do not."""
    theta = np.ones(1, np.float32)
    weight = np.full((1, 130), 127, np.int32)
    network = Network(
        [
            Input(name="x", inputs=(), threshold=theta, shape=(130,), time_steps=16),
            Dense(name="d", inputs=("x",), weight_bits=8, weight=weight),
            Readout(name="out", inputs=("d",), scale=np.ones(1), bias=np.zeros(1, np.int32), state_bits=32),
        ],
        16,
    )
    x = np.full((1, 130), 2**16 - 1)
    run = partial(lava_bridge.simulate, network, x, codes=True, engine="inline", progress=False)
    assert run().membranes["out"].tolist() == [[130 * 127 * (2**16 - 1)]]
    with pytest.raises(UnsupportedError, match=r"^dense 'd': graded spikes must keep .* within 32 bits, got"):
        run(spikes="graded")


def test_payload_of_graded_spikes_is_checked(make_small_net: Any, tmp_path: Any) -> None:
    """Stock Lava sends 300 as a message of one bit; here the sender refuses what its declaration excludes."""
    wide = assemble(make_small_net(), {"x": np.full((1, 6), 16)}, (), tmp_path, graded=True)
    with pytest.raises(BoundError, match=r"^'x': a graded spike must have a magnitude of at most 4 bits"):
        inline.run(wide, time.monotonic() + 30, lambda _done, _samples: None)


def test_kind_without_a_rule_is_named(
    tmp_path: Any, make_small_net: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assemble(make_small_net(), {"x": np.zeros((1, 6), np.uint8)}, (), tmp_path)
    monkeypatch.delitem(RULES, "dense")
    with pytest.raises(UnsupportedError, match=r"dense 'fc1': Lava has no rule for this kind of operation"):
        assemble(make_small_net(), {"x": np.zeros((1, 6), np.uint8)}, (), tmp_path)


@pytest.mark.parametrize("engine", ["inline", "loihi", "async"])
def test_membrane_that_leaves_its_register_is_an_error(engine: str, make_small_net: Any) -> None:
    """A network that no file can hold (its bound does not fit): the model itself must see the overflow."""
    network = make_small_net(state_bits=12)
    x = np.full((3, 6), 15)
    with pytest.raises(
        BoundError, match=r"neuron 'n1': the membrane must fit 12 bits, got -?\d+\.\.\d+ at time step"
    ):
        lava_bridge.simulate(network, x, codes=True, engine=engine, progress=False, timeout=30)
