"""Convolutions by line buffers: every code as the reference, every cycle as the law says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lava_bridge.fpga import Options, PopulationOptions, plan, simulator, tools
from lava_bridge.fpga.cycles import loads
from lava_bridge.fpga.design import Line
from lava_bridge.fpga.devices import device
from lava_bridge.fpga.generate import write
from lava_bridge.fpga.simulators import SIMULATORS
from lava_bridge.fpga.synth import synthesize
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import ParameterError, UnsupportedError

SWIFT = "icarus" if tools.available("iverilog") and tools.available("vvp") else "auto"  # compiles at once


def numbers(rng: Any, *shape: int, high: int = 127) -> Any:
    return rng.integers(-high, high + 1, size=shape).astype(np.int32)


def layer(
    name: str, shape: tuple[int, int, int], out: int, kernel: tuple[int, int], **more: Any
) -> list[g.Op]:
    """An input, a convolution, its neurons and, on their codes, a convolution that is read out."""
    rng = np.random.default_rng(len(name) + out)
    steps = more.pop("time_steps", 4)
    signed, fires_signed = more.pop("signed", False), more.pop("fires_signed", False)
    weight = numbers(rng, out, shape[0] // more.get("groups", 1), *kernel)
    theta, bias = rng.integers(20, 900, size=out).astype(np.int32), numbers(rng, out, high=300)
    one = np.ones(1, np.float32)
    return [
        g.Input(name=f"{name}/x", inputs=(), threshold=one, shape=shape, time_steps=steps, signed=signed),
        g.Conv2d(name=f"{name}/c", inputs=(f"{name}/x",), weight_bits=8, weight=weight, **more),
        g.Neuron(
            name=f"{name}/n", inputs=(f"{name}/c",), threshold=theta, bias=bias, time_steps=steps,
            signed=fires_signed,
        ),
        g.Conv2d(name=f"{name}/d", inputs=(f"{name}/n",), weight_bits=8, weight=numbers(rng, 2, out, 1, 1)),
        g.Readout(name=f"{name}/y", inputs=(f"{name}/d",), scale=np.ones(2), bias=numbers(rng, 2, high=900)),
    ]  # fmt: skip


@pytest.fixture(scope="module")
def mixed_net() -> g.Network:
    """Strides, paddings, dilations, signs, groups, kernels not square, maps smaller than the kernel."""
    return g.Network(
        [
            *layer("a", (3, 6, 5), 5, (3, 3), padding=(1, 1), signed=True, fires_signed=True),
            *layer("b", (5, 7, 9), 3, (2, 3), padding=(1, 2), stride=(2, 1), dilation=(2, 1), time_steps=3),
            *layer("c", (2, 5, 8), 6, (1, 1), stride=(3, 2), time_steps=6),
            *layer("d", (4, 3, 2), 4, (5, 3), padding=(2, 1), groups=2, time_steps=1),
        ],
        6,
    )


@pytest.mark.parametrize("engine", SIMULATORS)
def test_every_simulator_gives_the_reference(
    compiled: Callable[..., Any], mixed_net: Any, corner_codes: Any, assert_exact: Any, engine: str
) -> None:
    if not all(tools.available(tool) for tool in SIMULATORS[engine].needs):
        pytest.skip(f"{engine} is not installed")
    per = {"a/n": PopulationOptions(lanes=2, fire=2), "b/x": PopulationOptions(fire=4)}
    bench = compiled(mixed_net, Options(lanes=4, fire=1, convolution="line", per=per), engine)
    assert {p.form for p in bench.bench.design.populations.values()} == {"line"}
    codes = corner_codes(mixed_net, 12)
    for pauses in ({}, {"gaps": 0.3, "stalls": 0.3}, {"stalls": 0.9}, {"gaps": 0.9}):
        assert_exact(bench.run(codes, **pauses), mixed_net, codes)
    if engine == "cxxrtl":  # a wire that feeds itself makes every step two evaluations
        assert "feedback" not in (bench.bench.folder / "translate-for-simulation.log").read_text("utf-8")


def drawn(draw: Any) -> tuple[g.Network, Options]:
    """A convolution of any geometry, and any parallelism."""
    whole = st.integers
    kernel = draw(whole(1, 4)), draw(whole(1, 4))
    geometry = {
        name: (draw(whole(least, most)), draw(whole(least, most)))
        for name, least, most in (("stride", 1, 3), ("padding", 0, 3), ("dilation", 1, 2))
    }
    shape = draw(whole(1, 5)), draw(whole(1, 7)), draw(whole(1, 7))
    for a in (0, 1):
        reach = (kernel[a] - 1) * geometry["dilation"][a] + 1
        assume(shape[1 + a] + 2 * geometry["padding"][a] >= reach)
    signs = {"signed": draw(st.booleans()), "fires_signed": draw(st.booleans())}
    name = draw(st.sampled_from(["one", "other"]))
    ops = layer(name, shape, draw(whole(1, 6)), kernel, time_steps=draw(whole(1, 6)), **geometry, **signs)
    options = Options(
        lanes=draw(whole(1, 7)),
        fire=draw(st.sampled_from([1, 2, 4])),
        weight_memory=draw(st.sampled_from(["auto", "distributed"])),
        convolution="line",
    )
    return g.Network(ops, 6), options


def exact_layer(data: Any, corner_codes: Any, assert_exact: Any) -> None:
    network, options = drawn(data.draw)
    design = plan(network, options)
    codes = corner_codes(network, 6)
    with simulator(design, engine=SWIFT) as bench:
        assert_exact(bench.run(codes), network, codes)
        assert_exact(bench.run(codes, gaps=0.4, stalls=0.4), network, codes)


@settings(max_examples=4)
@given(data=st.data())
def test_random_layers(data: Any, corner_codes: Any, assert_exact: Any) -> None:
    exact_layer(data, corner_codes, assert_exact)


@pytest.mark.fpga
@settings(max_examples=150, derandomize=False)
@given(data=st.data())
def test_many_random_layers(data: Any, corner_codes: Any, assert_exact: Any) -> None:
    exact_layer(data, corner_codes, assert_exact)


def read_out(kernel: int, pad: int) -> g.Network:
    """A convolution whose membranes come out: nothing behind it holds it up."""
    rng = np.random.default_rng(1)
    weight = numbers(rng, 6, 4, kernel, kernel)
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(4, 5, 4), time_steps=4),
        g.Conv2d(name="c", inputs=("x",), weight_bits=8, weight=weight, padding=(pad, pad)),
        g.Readout(name="y", inputs=("c",), scale=np.ones(6), bias=numbers(rng, 6)),
    ]
    return g.Network(ops, 4)


@pytest.mark.parametrize(("lanes", "fire", "kernel"), [(6, 1, 3), (3, 2, 3), (6, 4, 3), (6, 1, 2)])
def test_samples_take_exactly_the_cycles_of_the_law(
    corner_codes: Any, assert_exact: Any, lanes: int, fire: int, kernel: int
) -> None:
    """A word takes a cycle for each slice, and one for each column of the kernel at least; nothing else."""
    network = read_out(kernel, kernel // 2)  # 2: a row and a column more than the map has
    per = {"y": PopulationOptions(fire=2)}
    design = plan(network, Options(lanes=lanes, fire=fire, convolution="line", per=per))
    codes = corner_codes(network, 8)
    codes["x"][:, :, -2:, -2:] = 15  # a sample's last word has all slices, so that its end shows no pause
    with simulator(design, engine=SWIFT) as bench:
        run = bench.run(codes)
    assert_exact(run, network, codes)
    work = loads(design, codes)["y"]
    assert np.array_equal(np.diff(run.cycles["y"][:, -1]), work.operations[1:])
    assert np.array_equal(work.cycles, work.operations)


def test_without_padding_the_rows_between_two_samples_count(corner_codes: Any) -> None:
    network = read_out(3, 0)
    design = plan(network, Options(fire=2, convolution="line"))
    codes = corner_codes(network, 8)
    with simulator(design, engine=SWIFT) as bench:
        run = bench.run(codes)
    law = loads(design, codes)["y"].operations[1:].sum()
    taken = run.cycles["y"][-1, -1] - run.cycles["y"][0, -1]
    assert abs(taken - law) < 8  # less than a cycle a sample: the last word of one hides a little of it


def by_hand(line: Line, shape: tuple[int, int, int], codes: Any, chunks: int, fire: int) -> tuple[int, int]:
    """Cycles of the words and weights added for one sample, one code after the other."""
    kernel, link = line.link.kernel.shape, line.link
    rows, columns = line.parameters["OROWS"], line.parameters["OCOLS"]
    digits_of_a_code = line.parameters["T"] + line.parameters["SIGNED"]
    cycles = weights = 0
    for y, x, first in np.ndindex(rows, columns, -(-shape[0] // fire)):
        digits: set[int] = set()
        for c in range(first * fire, min(shape[0], (first + 1) * fire)):
            for i, j in np.ndindex(*kernel[2:]):
                row = y * link.stride[0] + i * link.dilation[0] - link.padding[0]
                column = x * link.stride[1] + j * link.dilation[1] - link.padding[1]
                if 0 <= row < shape[1] and 0 <= column < shape[2]:
                    code = int(codes[c, row, column]) % (1 << digits_of_a_code)
                    found = {place for place in range(8) if code >> place & 1}
                    digits |= found
                    weights += kernel[0] * len(found)
        cycles += chunks * max(len(digits), kernel[3])
    return cycles, weights


def test_work_by_brute_force(corner_codes: Any) -> None:
    ops = layer("s", (3, 6, 5), 5, (2, 3), padding=(1, 1), stride=(2, 1), signed=True)
    network = g.Network(ops, 4)
    design = plan(network, Options(lanes=3, fire=2, convolution="line"))
    codes = corner_codes(network, 5)
    found = loads(design, codes)["s/n"]
    line = design.populations["s/n"].line
    assert line is not None
    assert found.slots.tolist() == [60] * 5  # two beats of thirty positions
    for sample in range(5):
        cycles, weights = by_hand(line, (3, 6, 5), codes["s/x"][sample], 2, 2)
        assert (found.operations[sample], found.synaptic[sample]) == (cycles, weights)


def residual() -> g.Network:
    """A first convolution alone; a second one that is added to a skip connection; a depthwise one."""
    rng = np.random.default_rng(0)
    theta, zero, one = np.full(4, 90, np.int32), np.zeros(4, np.int32), np.ones(1, np.float32)

    def neuron(name: str, source: str) -> g.Neuron:
        return g.Neuron(name=name, inputs=(source,), threshold=theta, bias=zero)

    def conv(name: str, source: str, *shape: int, **more: Any) -> g.Conv2d:
        weight = numbers(rng, *shape)
        return g.Conv2d(name=name, inputs=(source,), weight_bits=8, weight=weight, padding=(1, 1), **more)

    ops = [
        g.Input(name="x", inputs=(), threshold=one, shape=(2, 5, 5)),
        conv("c1", "x", 4, 2, 3, 3),
        neuron("n1", "c1"),
        conv("c2", "n1", 4, 4, 3, 3),
        g.Scale(name="skip", inputs=("n1",), weight_bits=8, multiplier=np.full(4, 50, np.int32)),
        g.Add(name="sum", inputs=("c2", "skip")),
        neuron("n2", "sum"),
        conv("dw", "n2", 4, 1, 3, 3, groups=4),
        neuron("n3", "dw"),
        g.Flatten(name="f", inputs=("n3",)),
        g.Dense(name="d", inputs=("f",), weight_bits=8, weight=numbers(rng, 2, 100)),
        g.Readout(name="y", inputs=("d",), scale=np.ones(2), bias=np.zeros(2, np.int32)),
    ]
    return g.Network(ops, 4)


def test_others_stay_event_driven_and_say_why(corner_codes: Any, assert_exact: Any) -> None:
    network = residual()
    design = plan(network, Options(convolution="line"))
    assert {name: population.form for name, population in design.populations.items()} == {
        "n1": "line",
        "n2": "event: 2 projections reach it",
        "n3": "event: conv2d 'dw' is depthwise",
        "y": "",
    }
    summary = design.summary()
    assert summary["n2"]["convolution"] == "event: 2 projections reach it"
    assert summary["n1"]["membrane_words"] == 1
    assert "convolution" not in summary["y"]
    codes = corner_codes(network, 8)
    with simulator(design, engine=SWIFT) as bench:
        assert_exact(bench.run(codes), network, codes)
        assert_exact(bench.run(codes, gaps=0.3, stalls=0.3), network, codes)


def test_what_cannot_be_is_refused_by_name() -> None:
    def options(name: str, form: str) -> Options:
        return Options(per={name: PopulationOptions(convolution=form)})

    with pytest.raises(
        UnsupportedError,
        match="neuron 'n2': convolution='line' needs one convolution of all channels alone, but 2 "
        "projections reach it; use convolution='event' for it",
    ):
        plan(residual(), options("n2", "line"))
    with pytest.raises(UnsupportedError, match=r"readout 'y': .* dense 'd' is no convolution"):
        plan(residual(), options("y", "line"))
    ops = layer("p", (2, 3, 3), 2, (1, 1), padding=(1, 1))
    with pytest.raises(UnsupportedError, match="first window of conv2d 'p/c' is nothing but padding"):
        plan(g.Network(ops, 4), options("p/n", "line"))
    assert plan(residual(), options("n1", "line")).populations["n1"].line is not None
    assert plan(residual(), options("n1", "event")).populations["n1"].line is None
    with pytest.raises(ParameterError, match="convolution must be one of event, line, auto, got 'winograd'"):
        Options(convolution="winograd")


def test_auto_without_samples_counts_cycles_at_the_assumed_density() -> None:
    """Many taps of one channel: the line form; a single tap of few channels: events."""
    taps = plan(g.Network(layer("t", (4, 6, 6), 3, (3, 3)), 4), Options(convolution="auto"))
    assert taps.populations["t/n"].form == "line"
    single = plan(g.Network(layer("t", (4, 6, 6), 3, (1, 1)), 4), Options(fire=1, convolution="auto"))
    assert single.populations["t/n"].form == "event"


def test_no_table_is_left_to_writable_memory() -> None:
    """Yosys finds no LUT memory for constants: what is distributed must be called logic."""
    from lava_bridge.fpga.top import top_text

    for form in ("event", "line"):
        text = top_text(plan(residual(), Options(weight_memory="distributed", convolution=form)))
        assert '.STYLE("logic")' in text
        assert '.STYLE("distributed")' not in text


@pytest.mark.fpga
@pytest.mark.parametrize("form", ["event", "line"])
def test_weights_in_luts_synthesize_without_dsp_or_block_memories(form: str, tmp_path: Path) -> None:
    ops = layer("t", (2, 4, 4), 3, (3, 3), padding=(1, 1))
    options = Options(weight_memory="distributed", membrane_memory="distributed", convolution=form)
    design = plan(g.Network(ops, 4), options)
    write(design, tmp_path)
    sources = [path.name for path in sorted(tmp_path.glob("*.sv"))]
    used = synthesize(sources, design.top, device("ecp5-25f"), tmp_path).used
    assert (used["dsp"], used["bram"]) == (0, 0)
    assert used["lut"] > 0
