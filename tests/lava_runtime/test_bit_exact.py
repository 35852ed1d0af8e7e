"""Every operation in Lava equals independent arithmetic, integer for integer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import lava_bridge
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import ParameterError

ENGINES = ("inline", "loihi", "async")
SPIKES = ("serial", "graded")
Interpreter = Callable[[g.Network, dict[str, Any]], dict[str, Any]]


def simulate(network: g.Network, codes: Any, engine: str = "inline", **more: Any) -> dict[str, Any]:
    more = {"record": "all", "batch": 1, **more}  # a row at a time: on Lava's own synapses
    result = lava_bridge.simulate(
        network, codes, codes=True, engine=engine, progress=False, timeout=60, **more
    )
    return {**result.membranes, **result.codes}


def neuron(name: str, source: str, theta: list[int], bias: list[int] | None = None, **more: Any) -> g.Neuron:
    constants = {
        "threshold": np.array(theta, np.int32),
        "bias": np.array(bias or [0] * len(theta), np.int32),
    }
    return g.Neuron(name=name, inputs=(source,), **constants, **{"state_bits": 32, **more})


def scale(name: str, source: str, weights: list[int], bits: int = 8) -> g.Scale:
    return g.Scale(name=name, inputs=(source,), weight_bits=bits, multiplier=np.array(weights, np.int32))


def net(shape: tuple[int, ...], body: list[Any], time_steps: int = 4, signed: bool = False) -> g.Network:
    """Return input ``x``, a body that ends in currents, and a readout ``out`` of them."""
    theta = np.ones(1, np.float32)
    source = g.Input(name="x", inputs=(), threshold=theta, shape=shape, time_steps=time_steps, signed=signed)
    shapes = {"x": shape}
    for op in body:
        shapes[op.name] = op.output_shape(*(shapes[name] for name in op.inputs))
    count = shapes[body[-1].name][0]
    bias = np.arange(count).astype(np.int32) - 1
    out = g.Readout(name="out", inputs=(body[-1].name,), scale=np.ones(count), bias=bias, state_bits=32)
    return g.Network([source, *body, out], time_steps)


def random_codes(network: g.Network, samples: int, seed: int = 0) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    result = {}
    for op in network.inputs:
        low = -op.max_code if op.signed else 0
        result[op.name] = rng.integers(low, op.max_code + 1, size=(samples, *op.shape))
    return result


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_networks_inline(
    net_builder: Any, interpreter: Interpreter, assert_same: Any, data: Any
) -> None:
    builder = net_builder(data.draw)
    network = builder.network()
    codes = builder.codes(network, 3)
    expected = interpreter(network, codes)
    for spikes in SPIKES:
        assert_same(simulate(network, codes, spikes=spikes), expected, expected)


@settings(max_examples=6, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_random_networks_in_lavas_runtime(
    net_builder: Any, interpreter: Interpreter, assert_same: Any, data: Any
) -> None:
    builder = net_builder(data.draw)
    network = builder.network()
    codes = builder.codes(network, 3)
    expected = interpreter(network, codes)
    engine, spikes = data.draw(st.sampled_from(["loihi", "async"])), data.draw(st.sampled_from(SPIKES))
    assert_same(simulate(network, codes, engine, spikes=spikes), expected, expected)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("spikes", SPIKES)
def test_every_operation(
    engine: str, spikes: str, residual_net: Any, interpreter: Interpreter, assert_same: Any
) -> None:
    codes = random_codes(residual_net, 7)
    expected = interpreter(residual_net, codes)
    assert_same(simulate(residual_net, codes, engine, spikes=spikes), expected, expected)


@pytest.mark.parametrize("time_steps", range(1, 9))
@pytest.mark.parametrize("signed", [False, True])
def test_one_neuron_is_floor_division(time_steps: int, signed: bool) -> None:
    """All membranes around every threshold, ties included, against plain floor division written here."""
    top = 2**time_steps - 1
    theta, bias, weights = [3, 4, 7], [0, -2, 5], [4, 5, 127]
    network = net(
        (3,),
        [
            scale("w", "x", weights),
            neuron("n", "w", theta, bias, time_steps=time_steps, signed=signed),
            scale("v", "n", [1, 1, 1]),
        ],
        time_steps,
        signed,
    )
    x = np.arange(-top if signed else 0, top + 1)[:, None].repeat(3, axis=1)
    membrane = x * np.array(weights) + np.array(bias)
    value = np.abs(membrane) if signed else membrane
    code = np.minimum(np.maximum((value + np.array(theta) // 2) // np.array(theta), 0), top)
    code = code * np.sign(membrane) if signed else code
    for spikes in SPIKES:
        actual = simulate(network, x, spikes=spikes)
        assert np.array_equal(actual["n"], code)
        assert np.array_equal(actual["out"], code + np.arange(3) - 1)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("spikes", SPIKES)
def test_exact_multiples_of_the_threshold_fire(engine: str, spikes: str) -> None:
    """The comparison is >=: with the identity, every code must come back; > would lose one each."""
    network = net((1,), [scale("w", "x", [9]), neuron("n", "w", [9], rounding="floor"), scale("v", "n", [1])])
    x = np.arange(16)[:, None]
    assert np.array_equal(simulate(network, x, engine, spikes=spikes)["n"], x)


@pytest.mark.parametrize("engine", ENGINES)
def test_samples_stream_back_to_back(engine: str, make_small_net: Any, interpreter: Interpreter) -> None:
    """N samples take (latency + N) windows and one step, and equal N runs of one sample."""
    network = make_small_net()
    codes = random_codes(network, 9)
    run = partial(lava_bridge.simulate, network, codes, codes=True, engine=engine, batch=1, progress=False)
    together = run()
    assert together.steps == (1 + 9) * 4 + 1
    graded = run(spikes="graded")
    assert graded.steps == 1 + 9 + 1
    alone = [simulate(network, {"x": codes["x"][n : n + 1]})["out"] for n in range(9)]
    assert np.array_equal(together.membranes["out"], np.concatenate(alone))
    assert together.membranes["out"].tolist() == interpreter(network, codes)["out"]


def test_shorter_codes_are_right_aligned(interpreter: Interpreter, assert_same: Any) -> None:
    body = [
        scale("a", "x", [50, -50]),
        neuron("n1", "a", [9, 9], time_steps=2),
        scale("b", "n1", [90, 70]),
        neuron("n2", "b", [10, 10], time_steps=5),
        scale("c", "n2", [1, 1]),
        neuron("n3", "c", [1, 1], time_steps=1),
        scale("d", "n3", [1, 1]),
    ]
    network = net((2,), body, time_steps=5, signed=True)
    codes = random_codes(network, 12)
    expected = interpreter(network, codes)
    for spikes in SPIKES:
        assert_same(simulate(network, codes, spikes=spikes), expected, expected)


def test_skip_over_many_layers_needs_a_long_delay(interpreter: Interpreter, assert_same: Any) -> None:
    """Eleven skipped layers of 6 time steps: beyond the 63 steps that Lava's own delays hold."""
    body: list[Any] = []
    source = "x"
    for layer in range(11):
        body += [
            scale(f"w{layer}", source, [64, 80]),
            neuron(f"n{layer}", f"w{layer}", [64, 80], time_steps=6),
        ]
        source = f"n{layer}"
    body += [
        scale("main", source, [3, 5]),
        scale("skip", "x", [100, 7]),
        g.Add(name="a", inputs=("main", "skip")),
    ]
    network = net((2,), body, time_steps=6)
    codes = random_codes(network, 4)
    expected = interpreter(network, codes)
    assert np.array_equal(expected["n10"], codes["x"])
    for spikes in SPIKES:
        assert_same(simulate(network, codes, spikes=spikes), expected, expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_joins_of_joins(engine: str, interpreter: Interpreter, assert_same: Any) -> None:
    """A sum that holds a term twice, concatenation of three, sums concatenated and flattened."""
    body = [
        scale("a", "x", [3, 5]),
        scale("b", "x", [-7, 11]),
        g.Add(name="twice", inputs=("a", "b", "a")),
        g.Concat(name="three", inputs=("twice", "a", "b")),
        g.Flatten(name="flat", inputs=("three",)),
        neuron("n", "flat", [3] * 36),
        g.Concat(name="spikes", inputs=("n", "n")),
        scale("last", "spikes", list(range(-36, 36))),
    ]
    network = net((2, 2, 3), body)
    codes = random_codes(network, 4)
    expected = interpreter(network, codes)
    assert_same(simulate(network, codes, engine), expected, expected)


@pytest.mark.parametrize("shape", [(3,), (3, 2), (2, 3, 4), (2, 1, 2, 3)])
def test_any_number_of_axes(shape: tuple[int, ...], interpreter: Interpreter, assert_same: Any) -> None:
    channels = shape[0]
    body = [
        scale("a", "x", list(range(5, 5 + channels))),
        neuron("n", "a", list(range(2, 2 + channels))),
        scale("b", "n", [300] * channels, bits=10),
    ]
    network = net(shape, body, signed=True)
    codes = random_codes(network, 3)
    expected = interpreter(network, codes)
    for spikes in SPIKES:
        assert_same(simulate(network, codes, spikes=spikes), expected, expected)


@pytest.mark.parametrize("signed", [False, True])
def test_full_range_of_8_and_16_bit_weights(signed: bool, interpreter: Interpreter, assert_same: Any) -> None:
    """Stock Dense clips and truncates silently; no weight may lose a bit, least of all the extremes."""
    narrow = np.arange(-128, 128).reshape(16, 16).astype(np.int32)
    wide = np.array([-32768, -32767, -129, -128, 127, 128, 32767, 255, -256, 256, 1, 0, -1, 8191, -8192, 77])
    body = [
        g.Dense(name="narrow", inputs=("x",), weight_bits=8, weight=narrow),
        g.Dense(name="wide", inputs=("x",), weight_bits=16, weight=np.diag(wide).astype(np.int32)),
        scale("scale", "x", wide.tolist(), bits=16),
        g.Concat(name="all", inputs=("narrow", "wide", "scale")),
    ]
    network = net((16,), body, time_steps=5, signed=signed)
    codes = random_codes(network, 6)
    expected = interpreter(network, codes)
    for spikes in SPIKES:
        assert_same(simulate(network, codes, spikes=spikes), expected, expected)


@pytest.mark.parametrize("sign", [-1, 1])
def test_weights_of_one_sign(sign: int, interpreter: Interpreter, assert_same: Any) -> None:
    """Lava guesses a sign mode from the data unless told; its guess would lose a bit of -128."""
    weight = (sign * np.arange(1, 129)).reshape(8, 16).clip(-128, 127).astype(np.int32)
    weight[0] = weight.flat[-1]  # one wrong weight alone is hidden by the shift
    network = net((16,), [g.Dense(name="d", inputs=("x",), weight_bits=8, weight=weight)])
    codes = random_codes(network, 3)
    expected = interpreter(network, codes)
    for spikes in SPIKES:
        assert_same(simulate(network, codes, spikes=spikes), expected, expected)


def test_depthwise_beyond_127_groups(interpreter: Interpreter, assert_same: Any) -> None:
    """The stock Conv model holds its geometry in 8 bits; 130 groups would wrap."""
    weight = np.random.default_rng(0).integers(-30000, 30000, size=(130, 1, 2, 2)).astype(np.int32)
    body = [g.Conv2d(name="c", inputs=("x",), weight_bits=16, weight=weight, groups=130)]
    network = net((130, 2, 3), body, time_steps=2)
    codes = random_codes(network, 2)
    expected = interpreter(network, codes)
    assert_same(simulate(network, codes), expected, expected)


def test_several_inputs_and_outputs(interpreter: Interpreter, assert_same: Any) -> None:
    theta = np.ones(1, np.float32)
    ops = [
        g.Input(name="left", inputs=(), threshold=theta, shape=(2,), time_steps=4),
        g.Input(name="right", inputs=(), threshold=theta, shape=(2,), time_steps=3, signed=True),
        scale("a", "left", [5, 6]),
        scale("b", "right", [7, -8]),
        g.Add(name="sum", inputs=("a", "b")),
        neuron("block.1/n", "sum", [3, 4]),
        scale("c", "block.1/n", [2, 3]),
        g.Readout(name="file", inputs=("c",), scale=np.ones(2), bias=np.zeros(2, np.int32)),
        g.Readout(name="early", inputs=("sum",), scale=np.ones(2), bias=np.ones(2, np.int32)),
    ]
    network = g.Network(ops, 4)
    codes = random_codes(network, 5)
    expected = interpreter(network, codes)
    for spikes in SPIKES:
        assert_same(simulate(network, codes, spikes=spikes), expected, expected)


def test_only_what_is_asked_for_is_recorded(make_small_net: Any) -> None:
    network = make_small_net()
    codes = random_codes(network, 2)
    assert set(simulate(network, codes, record=())) == {"out"}
    assert set(simulate(network, codes, record=["n1"])) == {"out", "n1"}
    assert simulate(network, codes, record="n1")["n1"].dtype == np.uint8


@pytest.mark.parametrize("spikes", SPIKES)
def test_codes_up_to_16_digits(spikes: str, interpreter: Interpreter, assert_same: Any) -> None:
    """Sums near the end of 32 bits; stock Dense shifts its sums back by one, which must not have wrapped."""
    weight = np.array([[127] * 64, [-128] * 64, [-1] * 64], np.int32)
    body = [
        g.Dense(name="d", inputs=("x",), weight_bits=8, weight=weight),
        neuron("n", "d", [8191, 8191, 1], time_steps=16, signed=True),
        scale("s", "n", [1, 1, 1]),
    ]
    network = net((64,), body, time_steps=16)
    codes = {"x": np.stack([np.full(64, 2**16 - 1), np.arange(64) * 1000, np.zeros(64, int)])}
    expected = interpreter(network, codes)
    assert_same(simulate(network, codes, spikes=spikes), expected, expected)


def test_spikes_and_membranes_of_hidden_neurons(
    make_small_net: Any, interpreter: Interpreter, with_membranes: Any
) -> None:
    network = make_small_net()
    codes = random_codes(network, 5)
    result = lava_bridge.simulate(
        network, codes, codes=True, engine="inline", record=["n1"], progress=False, timeout=60
    )
    expected = interpreter(with_membranes(network), codes)
    assert set(result.membranes) == {"n1", "out"}
    assert set(result.codes) == {"n1"}
    assert result.membranes["n1"].tolist() == expected["n1/membrane"]
    train = result.spike_train("n1")
    assert train.shape == (4, 5, 5)
    assert set(np.unique(train)) == {0, 1}
    assert np.tensordot([8, 4, 2, 1], train, axes=1).tolist() == expected["n1"]
    with pytest.raises(ParameterError, match=r"must be a recorded input or neuron out of \['n1'\], got 'x'"):
        result.spike_train("x")


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("spikes", SPIKES)
def test_maximum_and_upsampling(engine: str, spikes: str, interpreter: Interpreter, assert_same: Any) -> None:
    """Signed codes under overlapping windows with padding; a maximum adds no time step, nor does a block."""
    body = [
        scale("a", "x", [50, -40]),
        neuron("n", "a", [45, 30], time_steps=3, signed=True),
        g.MaxPool2d(name="m", inputs=("n",), kernel=(3, 2), stride=(2, 1), padding=(1, 1), ceil_mode=True),
        g.Upsample2d(name="u", inputs=("m",), factor=(2, 1)),
        scale("b", "u", [3, 70]),
        scale("c", "u", [-5, 2]),
        g.Add(name="sum", inputs=("b", "c")),
        g.Upsample2d(name="wide", inputs=("sum",), factor=(1, 3)),
        neuron("last", "wide", [2, 5], signed=True),
        scale("d", "last", [1, -1]),
    ]
    network = net((2, 4, 5), body, signed=True)
    codes = random_codes(network, 6)
    expected = interpreter(network, codes)
    assert_same(simulate(network, codes, engine, spikes=spikes), expected, expected)


def test_maximum_of_every_pair_of_codes() -> None:
    """All pairs of signed codes against the plain maximum written here; silence must not beat -1."""
    top = 7
    pairs = np.stack(np.meshgrid(*[np.arange(-top, top + 1)] * 2), axis=-1).reshape(-1, 1, 1, 2)
    body = [
        g.MaxPool2d(name="m", inputs=("x",), kernel=(1, 2), stride=(1, 2)),
        scale("a", "m", [1]),
    ]
    network = net((1, 1, 2), body, time_steps=3, signed=True)
    for spikes in SPIKES:
        assert np.array_equal(simulate(network, pairs, spikes=spikes)["out"] + 1, pairs.max(3, keepdims=True))
