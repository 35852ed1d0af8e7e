"""Counted activity, the resource estimate and the explorer, without running a tool."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lava_bridge.fpga import Options, PopulationOptions, plan
from lava_bridge.fpga.activity import assumed, busy, slowest
from lava_bridge.fpga.cycles import loads
from lava_bridge.fpga.devices import DEVICES, FAMILIES, RESOURCES, device
from lava_bridge.fpga.estimate import block_memories, estimate, features, in_blocks
from lava_bridge.fpga.explore import FILL, FITS, check_fits, explore, over, smallest_device
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import ParameterError, UnsupportedError
from spikejelly_pack.spec.execute import run_packed


def conv_net(channels: int = 6, side: int = 5, hidden: int = 10, classes: int = 4) -> g.Network:
    rng = np.random.default_rng(2)
    kernel = rng.integers(-127, 128, (hidden, channels, 3, 3)).astype(np.int32)
    head = rng.integers(-127, 128, (classes, hidden * 9)).astype(np.int32)
    zeros = np.zeros(hidden, np.int32)
    one, shape = np.ones(1, np.float32), (channels, side, side)
    return g.Network(
        [
            g.Input(name="x", inputs=(), threshold=one, shape=shape, time_steps=4),
            g.Conv2d(name="c", inputs=("x",), weight_bits=8, weight=kernel, stride=(2, 2), padding=(1, 1)),
            g.Neuron(name="n", inputs=("c",), threshold=zeros + 700, bias=zeros, time_steps=4),
            g.Flatten(name="f", inputs=("n",)),
            g.Dense(name="d", inputs=("f",), weight_bits=8, weight=head),
            g.Readout(name="y", inputs=("d",), scale=np.ones(classes), bias=np.zeros(classes, np.int32)),
        ],
        4,
    )


def test_synaptic_operations_by_brute_force() -> None:
    network = conv_net()
    given = {"x": np.random.default_rng(0).integers(0, 16, (3, 6, 5, 5))}
    codes = run_packed(network, given)
    total = 0
    for sample in range(3):
        for c, row, column in np.ndindex(6, 5, 5):
            spikes = bin(int(codes["x"][sample, c, row, column])).count("1")
            for out_row, out_column, i, j in np.ndindex(3, 3, 3, 3):
                if out_row * 2 + i - 1 == row and out_column * 2 + j - 1 == column:
                    total += 10 * spikes
        total += 4 * sum(bin(int(code)).count("1") for code in codes["n"][sample].ravel())
    found = loads(plan(network, Options(lanes=3, digits="binary")), given)
    assert sum(load.synaptic.sum() for load in found.values()) == total


def test_busy_counts_operations_and_beats(dense_net: g.Network) -> None:
    full = {"x": np.full((2, 21), 31)}
    binary = plan(dense_net, Options(lanes=4, fire=2, digits="binary"))
    found = busy(binary, full)["n1"]
    assert found["add"] == 21 * 5 * 4  # 13 neurons in 4 words of 4 lanes
    assert found["fire"] == 8
    signed = plan(dense_net, Options(lanes=13, fire=1, digits="csd"))
    assert busy(signed, full)["n1"]["add"] == 21 * 2  # 31 = 32 - 1
    assert busy(signed, full)["n1"]["fire"] == 13
    silent = {"x": np.zeros((1, 21), np.int64)}
    assert busy(signed, silent)["n1"]["scan"] == 21  # an empty beat takes a cycle
    assert slowest(signed, full) == ("n1", "add", 42.0)


@pytest.mark.parametrize(
    ("width", "depth", "blocks"),
    [(36, 512, 1), (37, 512, 2), (36, 513, 2), (512, 256, 15), (9, 2048, 1), (1, 16384, 1), (18, 1024, 1)],
)
def test_block_memories(width: int, depth: int, blocks: int) -> None:
    assert block_memories(width, depth, FAMILIES["ecp5"]) == blocks


@pytest.mark.parametrize(
    ("width", "depth", "block"),
    [(30, 48, False), (32, 48, True), (24, 64, True), (36, 32, False), (16, 80, False), (18, 80, True),
     (16, 96, True), (12, 96, False)],
)  # fmt: skip
def test_memories_in_blocks_as_yosys_puts_them(width: int, depth: int, block: bool) -> None:
    """Written memories of one block at most; where ``synth_ecp5`` of Yosys 0.70 put ``sp_membrane_bank``."""
    assert in_blocks(width, depth, "auto", FAMILIES["ecp5"], rom=False) is block


def test_estimate_grows_with_lanes() -> None:
    network, target = conv_net(), device("ecp5-25f")
    used = [estimate(plan(network, Options(lanes=lanes, fire=1)), target) for lanes in (1, 2, 5, 10)]
    for smaller, larger in pairwise(used):
        assert smaller["lut"] < larger["lut"]
        assert smaller["ff"] < larger["ff"]
    assert all(one["dsp"] == 0 for one in used)


def test_estimate_of_the_stored_designs() -> None:
    """The shipped coefficients reproduce what was synthesized: within a fifth, half of them within 5 %."""
    stored = Path(__file__).parents[2] / "docs" / "results" / "fpga_estimate.json"
    result = json.loads(stored.read_text("utf-8"))
    shipped = json.loads(
        (Path(__file__).parents[2] / "lava_bridge" / "fpga" / "estimate.json").read_text("utf-8")
    )
    assert shipped == result["coefficients"]
    for part, points in result["points"].items():
        weights = shipped[device(part).family.name]
        for resource in ("lut", "ff"):
            errors = []
            for point in points.values():
                guess = sum(weights[resource].get(n, 0.0) * value for n, value in point["features"].items())
                errors.append(abs(guess / point["used"][resource] - 1))
            assert max(errors) < 0.2
            assert np.median(errors) < 0.05


@pytest.mark.parametrize("name", DEVICES)
def test_explorer_stays_within_the_device(name: str) -> None:
    network, target = conv_net(), device(name)
    codes = assumed(network)
    area, speed = (explore(network, target, codes, fit) for fit in ("area", "speed"))
    for choice in (area, speed):
        assert choice.used == estimate(choice.design, target)
        assert all(choice.used[r] <= FILL[r] * target.capacity[r] for r in RESOURCES)
    assert area.used["lut"] <= speed.used["lut"]
    assert speed.cycles <= area.cycles
    assert speed.limit
    assert plan(network, speed.options).summary() == speed.design.summary()


@pytest.mark.parametrize("network", ["pool_net", "dense_net"])
def test_explorer_takes_every_network(network: str, request: pytest.FixtureRequest) -> None:
    """Streams of pools have no options: the source behind them sends more codes in a beat."""
    net = request.getfixturevalue(network)
    codes = assumed(net)
    area, speed = (explore(net, device("ecp5-85f"), codes, fit) for fit in FITS[::-1])
    assert speed.cycles < area.cycles
    assert set(speed.options.per) <= {op.name for op in (*net.inputs, *net.neurons, *net.readouts)}


def test_a_larger_device_is_never_slower() -> None:
    network = conv_net(channels=12, hidden=40)
    codes = assumed(network)
    cycles = [explore(network, one, codes, "speed").cycles for one in DEVICES.values()]
    assert cycles == sorted(cycles, reverse=True)
    assert cycles[-1] < cycles[0]


def big_net() -> g.Network:
    return conv_net(channels=64, side=5, hidden=130, classes=10)


def test_refusal_says_how_much_and_what_fits() -> None:
    network = big_net()
    codes = assumed(network)
    assert smallest_device(network, codes) == "ecp5-25f"
    with pytest.raises(
        UnsupportedError,
        match=r"^network: must fit ice40-up5k, .* BRAM where 30 may be used; take --device ecp5-25f",
    ):
        explore(network, device("ice40-up5k"), codes)
    with pytest.raises(ParameterError, match="got 'power'"):
        explore(network, device("ecp5-85f"), codes, "power")


def test_given_options_that_do_not_fit_name_a_folding_that_does() -> None:
    network, target = conv_net(channels=12, hidden=512), device("ecp5-25f")
    codes = assumed(network)
    wide = plan(network, Options(lanes=512, fire=64))
    assert over(estimate(wide, target), target)
    with pytest.raises(UnsupportedError, match=r"with lanes 512 and fire 64 .*fits with at most \d+ lanes"):
        check_fits(wide, target, codes)
    narrow = plan(network, Options(lanes=4, fire=1))
    assert check_fits(narrow, target, codes) == estimate(narrow, target)


def test_features_are_those_of_the_coefficients(dense_net: g.Network) -> None:
    from lava_bridge.fpga.estimate import coefficients

    known: set[str] = set()
    for resources in coefficients().values():
        for weights in resources.values():
            known |= set(weights)
    counted: Any = set()
    for network in (dense_net, conv_net()):
        for options in (
            Options(),
            Options(lanes=2, weight_memory="distributed"),
            Options(convolution="line"),
        ):
            counted |= set(features(plan(network, options), device("ecp5-25f")))
    assert known <= counted
    assert set(FITS) == {"speed", "area"}


def test_auto_takes_the_form_that_is_faster_and_fits() -> None:
    network, target = conv_net(), device("ecp5-25f")
    codes = assumed(network)
    forms = {}
    for form in ("event", "line", "auto"):
        choice = explore(network, target, codes, "speed", Options(convolution=form))
        assert not over(choice.used, target)
        forms[form] = choice
    assert forms["event"].design.populations["n"].line is None
    assert forms["line"].design.populations["n"].line is not None
    assert forms["auto"].cycles <= min(forms["event"].cycles, forms["line"].cycles)
    same = [one for form, one in forms.items() if form != "auto" and one.cycles <= forms["auto"].cycles]
    assert all(forms["auto"].used["lut"] <= one.used["lut"] for one in same)
    smallest = explore(network, target, codes, "area", Options(convolution="auto"))
    for form in ("event", "line"):
        other = explore(network, target, codes, "area", Options(convolution=form))
        assert smallest.used["lut"] <= other.used["lut"]


def test_a_form_that_was_asked_for_stays() -> None:
    network, target = conv_net(), device("ecp5-25f")
    for form in ("event", "line"):
        base = Options(convolution="auto", per={"n": PopulationOptions(convolution=form)})
        choice = explore(network, target, assumed(network), "speed", base)
        assert choice.design.populations["n"].form == form
