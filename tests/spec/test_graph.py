"""Operations and networks: what is accepted, and the sentence for what is not."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import BoundError, DtypeError, ParameterError, ShapeError, UnsupportedError
from spikejelly_pack.spec.execute import run_packed
from spikejelly_pack.spec.graph import base


def ints(*shape: int, value: int = 1) -> Any:
    return np.full(shape, value, np.int32)


def make(kind: str, **changes: Any) -> Any:
    """A valid operation of a kind, with changes."""
    constants: dict[str, dict[str, Any]] = {
        "input": {"threshold": np.ones(1, np.float32), "shape": (2, 4, 4), "inputs": ()},
        "conv2d": {"weight": ints(4, 1, 3, 3), "weight_bits": 8, "groups": 2},
        "dense": {"weight": ints(3, 2), "weight_bits": 8},
        "avg_pool2d": {"multiplier": ints(2), "weight_bits": 8},
        "scale": {"multiplier": ints(2), "weight_bits": 8},
        "neuron": {"threshold": ints(2), "bias": ints(2)},
        "readout": {"scale": np.ones(2), "bias": ints(2)},
        "add": {"inputs": ("x", "y")},
        "concat": {"inputs": ("x", "y")},
        "flatten": {},
        "delay": {"windows": 2},
        "max_pool2d": {},
        "upsample2d": {},
        "conv_transpose2d": {"weight": ints(4, 1, 3, 3), "weight_bits": 8, "groups": 2},
    }
    return g.OPS[kind](**{"name": "op", "inputs": ("x",), **constants[kind], **changes})


def test_make_knows_every_kind() -> None:
    assert {kind: make(kind).kind for kind in g.OPS} == {kind: kind for kind in g.OPS}


BAD: list[tuple[str, dict[str, Any], type[Exception], str]] = [
    ("dense", {"name": ""}, ParameterError, "dense: name must be 1..200 characters .*, got ''; rename"),
    ("dense", {"name": "../../etc"}, ParameterError, "got '../../etc'"),
    ("dense", {"name": "/a"}, ParameterError, "got '/a'"),
    ("dense", {"name": "a//b"}, ParameterError, "got 'a//b'"),
    ("dense", {"name": "a/./b"}, ParameterError, "got 'a/./b'"),
    ("dense", {"name": "a\nb"}, ParameterError, r"got 'a\\nb'"),
    ("dense", {"name": "a" * 201}, ParameterError, "got 'aaa"),
    ("dense", {"name": "\ud800"}, ParameterError, "name must be"),
    ("dense", {"name": 3}, ParameterError, "got 3"),
    ("dense", {"inputs": "xy"}, ShapeError, "dense 'op': inputs must be a list of names, got 'xy'"),
    ("dense", {"inputs": (1,)}, ShapeError, "inputs must be a list of names"),
    ("dense", {"inputs": ([],)}, ShapeError, "inputs must be a list of names"),
    ("dense", {"inputs": ("x", "y")}, ShapeError, r"dense 'op': needs 1 input\(s\), got 2"),
    ("add", {"inputs": ("x",)}, ShapeError, r"add 'op': needs at least 2 input\(s\), got 1"),
    ("dense", {"weight": np.ones((3, 2))}, DtypeError, "weight must have dtype int32, got float64"),
    ("dense", {"weight": np.ones((3, 2), ">i4")}, DtypeError, "weight must have dtype int32, got >i4"),
    ("dense", {"weight": None}, DtypeError, "weight must have dtype int32, got object"),
    ("dense", {"weight": ints(3)}, ShapeError, r"weight must be \[out, in\], got shape \(3,\)"),
    ("dense", {"weight": ints(0, 2)}, ShapeError, r"got shape \(0, 2\)"),
    ("dense", {"weight": ints(3, 2, value=128)}, BoundError, "weights must be in -128..127 to fit 8"),
    ("dense", {"weight": ints(3, 2, value=-129)}, BoundError, "got -129..-129"),
    ("dense", {"weight": ints(3, 2, value=-(2**31))}, BoundError, "got -2147483648..-2147483648"),
    ("dense", {"weight": ints(3, 2, value=0), "weight_bits": 1}, BoundError, "weights must be -1 or 1"),
    ("dense", {"weight_bits": 0}, BoundError, "weight_bits must be an integer in 1..16, got 0"),
    ("dense", {"weight_bits": 17}, BoundError, "got 17"),
    ("dense", {"weight_bits": True}, BoundError, "got True"),
    ("dense", {"weight_bits": 8.0}, BoundError, "got 8.0"),
    ("conv2d", {"weight": ints(4, 3, 3)}, ShapeError, r"weight must be \[out, in / groups, k_h, k_w\]"),
    ("conv2d", {"groups": 3}, ShapeError, "groups must divide 4 output channels, got 3"),
    ("conv2d", {"groups": 0}, ShapeError, "groups must be an integer in 1..4, got 0"),
    ("conv2d", {"groups": True}, ShapeError, "got True"),
    ("conv2d", {"stride": 0}, ShapeError, "stride must be an integer in 1.., got 0"),
    ("conv2d", {"stride": (1, 2, 3)}, ShapeError, r"stride must be two integers, got \(1, 2, 3\)"),
    ("conv2d", {"stride": (1.0, 1)}, ShapeError, "got 1.0"),
    ("conv2d", {"padding": -1}, ShapeError, "padding must be an integer in 0.., got -1"),
    ("conv2d", {"padding": 10**30}, ShapeError, "padding must be an integer"),
    ("conv2d", {"dilation": "1"}, ShapeError, "dilation must be an integer"),
    ("avg_pool2d", {"kernel": 0}, ShapeError, "kernel must be an integer in 1.., got 0"),
    ("avg_pool2d", {"multiplier": ints(2, 1)}, ShapeError, r"multiplier must be \[C\], got shape \(2, 1\)"),
    ("scale", {"multiplier": ints(2, 1)}, ShapeError, r"multiplier must be \[C\]"),
    ("delay", {"windows": 0}, ParameterError, "windows must be an integer in 1..4096, got 0"),
    ("delay", {"windows": 10**9}, ParameterError, "got 1000000000"),
    ("delay", {"windows": 1.5}, ParameterError, "got 1.5"),
    ("neuron", {"time_steps": 0}, ParameterError, "time_steps must be an integer in 1..16, got 0"),
    ("neuron", {"time_steps": 17}, ParameterError, "got 17"),
    ("neuron", {"time_steps": True}, ParameterError, "got True"),
    ("neuron", {"time_steps": float("inf")}, ParameterError, "got inf"),
    ("neuron", {"signed": 1}, ParameterError, "signed must be True or False, got 1"),
    ("neuron", {"signed": "no"}, ParameterError, "got 'no'"),
    ("neuron", {"rounding": "up"}, ParameterError, "rounding must be 'round_half_up' or 'floor', got 'up'"),
    ("neuron", {"state_bits": 7}, BoundError, "state_bits must be an integer in 8..32, got 7"),
    ("neuron", {"state_bits": 33}, BoundError, "got 33"),
    ("neuron", {"state_bits": None}, BoundError, "got None"),
    ("neuron", {"threshold": ints(2, value=0)}, BoundError, r"threshold must be in 1..524288 .*got 0..0"),
    ("neuron", {"threshold": ints(2, value=524289)}, BoundError, "got 524289..524289"),
    ("neuron", {"time_steps": 16, "state_bits": 8}, BoundError, "threshold must be in 1..0"),
    ("neuron", {"bias": ints(3)}, ShapeError, r"threshold and bias must be \[C\], got \(2,\) and \(3,\)"),
    ("neuron", {"bias": ints(0), "threshold": ints(0)}, ShapeError, r"got \(0,\) and \(0,\)"),
    ("readout", {"scale": np.array([1.0, np.nan])}, ParameterError, "scale must be finite .*got nan"),
    ("readout", {"scale": np.array([1.0, 0.0])}, ParameterError, "got 0.0"),
    ("readout", {"scale": np.ones(3)}, ShapeError, r"scale and bias must be \[C\]"),
    ("readout", {"scale": np.ones((2, 1)), "bias": ints(2, 1)}, ShapeError, r"scale and bias must be \[C\]"),
    ("readout", {"scale": np.ones(0), "bias": ints(0)}, ShapeError, r"scale and bias must be \[C\]"),
    ("readout", {"state_bits": 64}, BoundError, "got 64"),
    ("input", {"threshold": np.array([np.inf], np.float32)}, ParameterError, "threshold must be .*got inf"),
    (
        "input",
        {"threshold": np.array([1e-44], np.float32)},
        ParameterError,
        "threshold must be finite and at",
    ),
    ("input", {"threshold": np.ones(3, np.float32)}, ShapeError, r"threshold must be \[1\] or \[2\]"),
    ("input", {"shape": ()}, ShapeError, r"shape must be 1..8 integers, got \(\)"),
    ("input", {"shape": "28"}, ShapeError, "got '28'"),
    ("input", {"shape": (2, 0)}, ShapeError, "shape must be an integer in 1..67108864, got 0"),
    ("input", {"shape": (2.0, 4)}, ShapeError, "got 2.0"),
    ("input", {"shape": (1,) * 9}, ShapeError, "shape must be 1..8 integers"),
    ("input", {"time_steps": 17}, ParameterError, "input 'op': time_steps"),
    ("input", {"signed": None}, ParameterError, "signed must be True or False, got None"),
]


@pytest.mark.parametrize(("kind", "changes", "error", "text"), BAD)
def test_bad_constants_are_named(
    kind: str, changes: dict[str, Any], error: type[Exception], text: str
) -> None:
    text = text.replace("1.., ", "1..[0-9]+, ").replace("0.., ", "0..[0-9]+, ")
    with pytest.raises(error, match=text) as caught:
        make(kind, **changes)
    message = str(caught.value)
    assert message.endswith(".")
    assert "; " in message  # the remedy


def test_numpy_numbers_become_plain_ones() -> None:
    """Whatever went in, JSON can hold it."""
    neuron = make("neuron", time_steps=np.int64(3), signed=np.bool_(True), state_bits=np.int16(20))
    assert [type(v) for v in (neuron.time_steps, neuron.signed, neuron.state_bits)] == [int, bool, int]
    assert make("neuron", time_steps=4.0).max_code == 15
    conv = make("conv2d", stride=np.int64(2), padding=[1, np.int8(1)], weight_bits=np.int64(8))
    assert (conv.stride, conv.padding, type(conv.stride[0]), type(conv.weight_bits)) == (
        (2, 2),
        (1, 1),
        int,
        int,
    )
    assert make("input", shape=[np.int64(3), 4], threshold=np.ones(3, np.float32)).shape == (3, 4)


@pytest.mark.parametrize("bits", range(1, 17))
def test_the_whole_range_of_a_weight_is_allowed(bits: int) -> None:
    ends = [-1, 1] if bits == 1 else [-(2 ** (bits - 1)), 2 ** (bits - 1) - 1]
    make("dense", weight=np.array([ends], np.int32), weight_bits=bits)
    for end, step in zip(ends, (-1, 1), strict=True):
        with pytest.raises(BoundError, match="weights must be"):
            make("dense", weight=np.array([[end + step]], np.int32), weight_bits=bits)


def test_the_network_keeps_its_own_constants() -> None:
    weight = ints(3, 2)
    op = make("dense", weight=weight)
    weight[:] = 5
    assert op.weight.max() == 1
    with pytest.raises(ValueError, match="read-only"):
        op.weight[0, 0] = 2


def chain(*middle: Any, time_steps: int = 4) -> Any:
    """Input (2, 4, 4), the operations, and a readout of the last."""
    source = make("input", name="x")
    shape = source.shape
    *_, last = (source, *middle)
    for op in middle:
        shape = op.output_shape(*[shape] * len(op.inputs))
    readout = make("readout", name="out", inputs=(last.name,), scale=np.ones(shape[0]), bias=ints(shape[0]))
    return g.Network([source, *middle, readout], time_steps)


CONV = make("conv2d", name="c", padding=1)
SCALE = make("scale", name="s")
GRAPHS: list[tuple[tuple[Any, ...], type[Exception], str]] = [
    ((make("scale", name="x"),), ShapeError, "the name 'x' is used twice"),
    (
        (make("scale", name="s", inputs=("s",)),),
        ShapeError,
        r"scale 's' reads 's', which is not defined before",
    ),
    ((make("scale", name="a", inputs=("b",)), make("scale", name="b", inputs=("a",))), ShapeError, "cycle"),
    (
        (SCALE, make("scale", name="t", inputs=("s",))),
        UnsupportedError,
        "needs spikes, but 's' emits currents",
    ),
    ((make("neuron", name="n"),), UnsupportedError, "needs currents, but 'x' emits spikes"),
    ((make("add", name="a", inputs=("x", "x")),), UnsupportedError, "needs currents, but 'x' emits spikes"),
    ((SCALE, make("concat", name="a", inputs=("x", "s"))), UnsupportedError, "mixes spikes and currents"),
    ((SCALE, make("delay", name="d", inputs=("s",))), UnsupportedError, "needs spikes"),
    ((SCALE, CONV), UnsupportedError, "nothing reads scale 's'; remove it"),
    ((make("delay", name="d"), SCALE), UnsupportedError, "nothing reads delay 'd'"),
    ((SCALE, make("neuron", name="n", inputs=("s",), time_steps=5)), ShapeError, "5 time steps, more than"),
]


@pytest.mark.parametrize(("middle", "error", "text"), GRAPHS)
def test_bad_graphs_are_named(middle: tuple[Any, ...], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        chain(*middle)


SHAPES: list[tuple[str, dict[str, Any], tuple[tuple[int, ...], ...], str]] = [
    ("dense", {}, ((2, 1),), r"dense 'op': input must have shape \(2,\), got \(2, 1\); flatten it first"),
    ("conv2d", {}, ((3, 4, 4),), r"input must have shape \(2, H, W\), got \(3, 4, 4\)"),
    ("conv2d", {}, ((2, 4),), r"input must have shape \(2, H, W\), got \(2, 4\)"),
    ("conv2d", {}, ((2, 2, 4),), "a window of .* does not fit an input of shape"),
    ("conv2d", {"padding": 10000}, ((2, 4, 4),), "one sample may hold at most 67108864 values"),
    ("avg_pool2d", {}, ((3, 4, 4),), r"input must have shape \(2, H, W\)"),
    ("avg_pool2d", {}, ((2, 1, 4),), "a window of .* does not fit"),
    ("scale", {}, ((3,),), "input must have 2 channels, got"),
    ("neuron", {}, ((3, 2),), "input must have 2 channels, got shape"),
    ("readout", {}, ((3,),), "input must have 2 channels, got shape"),
    ("add", {}, ((3,), (2,)), r"inputs must have one shape, got \(3,\), \(2,\)"),
    ("concat", {}, ((3, 2), (3, 3)), "must agree in all axes but the channels"),
]


@pytest.mark.parametrize(("kind", "changes", "shapes", "text"), SHAPES)
def test_wrong_shapes_are_named(kind: str, changes: Any, shapes: Any, text: str) -> None:
    with pytest.raises(ShapeError, match=text):
        make(kind, **changes).output_shape(*shapes)


def test_a_network_needs_both_ends() -> None:
    with pytest.raises(UnsupportedError, match="at least one input and one readout"):
        g.Network([make("input", name="x"), SCALE, make("neuron", name="n", inputs=("s",))], 4)
    with pytest.raises(UnsupportedError, match="at least one input and one readout"):
        g.Network([], 4)


def test_a_huge_sample_is_refused_before_it_is_allocated() -> None:
    with pytest.raises(ShapeError, match="input 'x': one sample may hold at most"):
        g.Network([make("input", name="x", shape=(2, 10**4, 10**4))], 4)


@pytest.mark.parametrize("provenance", [{"a": 1}, {1: "a"}, ["ab"], "ab", {"a": None}])
def test_provenance_is_text(provenance: Any) -> None:
    with pytest.raises(ParameterError, match="provenance must map text to text"):
        g.Network(chain(SCALE).ops.values(), 4, provenance)


@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(1, 3))
def test_window_count_is_the_number_of_places(
    size: int, kernel: int, stride: int, pad: int, dilation: int
) -> None:
    places = [s for s in range(-pad, size + pad, stride) if s + dilation * (kernel - 1) < size + pad]
    op = make(
        "conv2d", weight=ints(2, 1, kernel, 1), stride=(stride, 1), padding=(pad, 0), dilation=(dilation, 1)
    )
    if places:
        assert op.output_shape((2, size, 1)) == (2, len(places), 1)
    else:
        with pytest.raises(ShapeError, match="does not fit"):
            op.output_shape((2, size, 1))


def skip_net(*extra: Any) -> Any:
    """Chain x -> n1 -> n2 -> n3; n3 reads n2 and, through ``skip``, x: two windows early."""
    one = {"threshold": ints(2), "bias": ints(2, value=0)}
    weight = ints(2, 2)
    return g.Network(
        [
            make("input", name="x", shape=(2,)),
            *extra,
            make("dense", name="f1", weight=weight),
            g.Neuron(name="n1", inputs=("f1",), **one),
            make("dense", name="f2", inputs=("n1",), weight=weight),
            g.Neuron(name="n2", inputs=("f2",), **one),
            make("dense", name="f3", inputs=("n2",), weight=weight),
            make("scale", name="skip"),
            make("add", name="sum", inputs=("f3", "skip")),
            g.Neuron(name="n3", inputs=("sum",), **one),
            make("dense", name="f4", inputs=("n3",), weight=weight),
            make("readout", name="out", inputs=("f4",)),
        ],
        4,
    )


def test_latency_counts_the_nodes_on_the_longest_way() -> None:
    network = skip_net()
    assert [network.latency[name] for name in ("x", "n1", "n2", "skip", "sum", "n3", "out")] == [
        0,
        1,
        2,
        0,
        2,
        3,
        3,
    ]
    assert network.depth == 3
    assert [op.name for op in network.unbalanced()] == ["sum"]


def test_balanced_delays_the_spikes_of_the_short_branch() -> None:
    network = skip_net()
    balanced = network.balanced()
    assert balanced.unbalanced() == []
    assert balanced.ops["skip/delay2"].inputs == ("x/delay2",)
    assert balanced.ops["x/delay2"].windows == 2
    assert "skip" not in balanced.ops
    assert balanced.ops["sum"].inputs == ("f3", "skip/delay2")
    assert network.unbalanced()  # the original is untouched
    assert list(balanced.balanced().ops) == list(balanced.ops)
    codes = np.array([[1, 2]])
    assert {k: v.tolist() for k, v in run_packed(balanced, codes).items()} == {
        k: v.tolist() for k, v in run_packed(network, codes).items()
    }


def test_balanced_reuses_its_own_delay_and_refuses_another_ones_name() -> None:
    taken = make("delay", name="x/delay2", windows=2)
    reader = make("dense", name="f0", inputs=("x/delay2",))
    end = make("readout", name="out0", inputs=("f0",), scale=np.ones(3), bias=ints(3))
    assert skip_net(taken, reader, end).balanced().unbalanced() == []
    taken = make("delay", name="x/delay2", windows=3)
    with pytest.raises(UnsupportedError, match="needs the name 'x/delay2', which is taken; rename"):
        skip_net(taken, reader, end).balanced()


def test_a_kind_is_registered_once() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        base.register("dense")(g.Dense)


def test_a_kind_without_rules_is_named() -> None:
    class Odd(g.Synapse):
        kind = "odd"

    op = object.__new__(Odd)
    object.__setattr__(op, "name", "o")
    for call in (op.output_shape, lambda: op.apply(np.zeros(1))):
        with pytest.raises(UnsupportedError, match=re.escape("odd 'o': the kind")):
            call()


def test_groups_of_operations(residual_net: Any) -> None:
    assert [op.name for op in residual_net.synapses if op.plumbing] == ["skip", "pool"]
    assert [op.name for op in residual_net.neurons] == ["n1", "n2", "n3"]
    assert [op.name for op in residual_net.inputs + residual_net.readouts] == ["x", "out"]
