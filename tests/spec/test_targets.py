"""Targets: what a device file may say, and the check of a network against it, counted independently."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.errors import BoundError, ParameterError, ShapeError
from spikejelly_pack.spec.targets import Target, check_target, load_target, target_names
from spikejelly_pack.spec.targets.measure import observed_magnitudes, synapses_per_weight, width_of_weights

ENTRIES = {"name": "mine", "weight_bits": 8, "state_bits": 16, "overflow": "wrap"}


def two_layers(
    weight: Any, time_steps: int = 3, signed: bool = False, bias: int = 0, theta: int = 5
) -> g.Network:
    """Input, dense, neuron ``n``, identity, readout ``out``."""
    rows = np.asarray(weight, np.int32)
    outputs, inputs = rows.shape
    ops = [
        g.Input(
            name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(inputs,), time_steps=time_steps,
            signed=signed,
        ),
        g.Dense(name="fc", inputs=("x",), weight_bits=16, weight=rows),
        g.Neuron(
            name="n", inputs=("fc",), threshold=np.full(outputs, theta, np.int32),
            bias=np.full(outputs, bias, np.int32), time_steps=time_steps, signed=signed, state_bits=32,
        ),
        g.Scale(name="one", inputs=("n",), weight_bits=2, multiplier=np.ones(outputs, np.int32)),
        g.Readout(
            name="out", inputs=("one",), scale=np.ones(outputs), bias=np.zeros(outputs, np.int32),
            state_bits=32,
        ),
    ]  # fmt: skip
    return g.Network(ops, time_steps)


def registers(weight: Any, codes: Any, time_steps: int, bias: int, theta: int, signed: bool) -> list[int]:
    """Every value of the registers of one neuron, digit by digit, in plain integers."""
    seen, charge = [], 0
    for t in range(1, time_steps + 1):
        digits = [(abs(c) >> (time_steps - t)) % 2 * (-1 if c < 0 else 1) for c in codes]
        charge = 2 * charge + sum(w * d for w, d in zip(weight, digits, strict=True))
        seen.append(charge)
    membrane = charge + bias
    return [*seen, membrane, (abs(membrane) if signed else membrane) + theta // 2]


@pytest.mark.parametrize("name", ["generic_fpga", "loihi2"])
def test_devices_name_the_source_of_every_limit(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    limits = ("weight_bits", "state_bits", "overflow", "payload_bits", "max_fan_in", "max_delay")
    assert [item for item in limits if getattr(target, item) is not None and item not in target.sources] == []
    assert target.description


def test_every_device_of_the_package_is_known() -> None:
    assert target_names() == ["generic_fpga", "loihi2"]
    assert (load_target("loihi2").weight_bits, load_target("loihi2").state_bits) == (8, 24)


def test_the_documented_limits_are_those_of_the_files(repository: Path) -> None:
    lines = (repository / "docs" / "targets.md").read_text("utf-8").splitlines()
    first = lines.index("| entry | `loihi2` | `generic_fpga` |")
    rows = {}
    for line in lines[first + 2 : lines.index("", first)]:
        name, *values = [cell.strip() for cell in line.strip("|").split("|")]
        rows[name.strip("`")] = values
    for column, device in enumerate(("loihi2", "generic_fpga")):
        entries = load_target(device).to_json()
        entries["advisory"] = entries["advisory"] or "-"
        for name, values in rows.items():
            value = entries[name]
            shown = value if isinstance(value, str) else json.dumps(value).strip("[]").replace('"', "")
            assert values[column] == shown, (device, name)
    assert set(rows) == set(load_target("loihi2").to_json()) - {"name", "description", "sources"}


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({**ENTRIES, "max_delay": 9, "advisory": ["max_delay"]}))
    target = load_target(path)
    assert target == Target("mine", 8, 16, "wrap", max_delay=9, advisory=("max_delay",))
    path.write_text(json.dumps(target.to_json()))
    assert load_target(str(path)) == load_target(target) == target


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "must be JSON"),
        ("[" * 100_000, "must be JSON"),
        ("[]", "must hold one JSON object, got list"),
        ('{"name": "a", "name": "b"}', "an entry that appears twice"),
        (json.dumps({**ENTRIES, "vth": 3}), "has the unknown entry 'vth'"),
        (json.dumps({"name": "mine"}), r"got none for \['weight_bits', 'state_bits', 'overflow'\]; add them"),
        (json.dumps({**ENTRIES, "name": ""}), "name must be text, got ''"),
        (json.dumps({**ENTRIES, "weight_bits": 8.0}), r"weight_bits must be an integer in 1\.\.16, got 8\.0"),
        (json.dumps({**ENTRIES, "weight_bits": None}), "weight_bits must be an integer"),
        (json.dumps({**ENTRIES, "state_bits": True}), r"state_bits must be an integer in 2\.\.48, got True"),
        (json.dumps({**ENTRIES, "state_bits": 1}), r"state_bits must be an integer in 2\.\.48, got 1"),
        (json.dumps({**ENTRIES, "overflow": "clip"}), "overflow must be 'wrap' or 'saturate', got 'clip'"),
        (json.dumps({**ENTRIES, "combine_weights": 1}), "combine_weights must be True or False, got 1"),
        (json.dumps({**ENTRIES, "weight_bits": 1, "combine_weights": True}), "must be False where weight"),
        (json.dumps({**ENTRIES, "advisory": ["name"]}), "advisory must be a list of names out of"),
        (json.dumps({**ENTRIES, "description": 1}), "description must be text, got 1"),
        (json.dumps({**ENTRIES, "sources": {"vth": "x"}}), "sources must map names of entries to text"),
        (json.dumps({**ENTRIES, "sources": {"name": 1}}), "sources must map names of entries to text"),
    ],
)  # fmt: skip
def test_a_wrong_file_is_refused_in_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(text)
    with pytest.raises(ParameterError, match=said) as caught:
        load_target(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_the_smallest_limits_of_a_device() -> None:
    least = Target("t", 1, 2, "wrap", payload_bits=1, max_fan_in=1, max_delay=0)
    assert (least.weight_bits, least.state_bits, least.max_delay) == (1, 2, 0)
    for name in ("payload_bits", "max_fan_in"):
        with pytest.raises(ParameterError, match=rf"{name} must be an integer in 1\.\."):
            dataclasses.replace(least, **{name: 0})  # type: ignore[arg-type]


def test_an_unknown_device_lists_the_known_ones() -> None:
    with pytest.raises(ParameterError, match=r"must be one of \['generic_fpga', 'loihi2'\] or a JSON file"):
        load_target("loihi3")


@settings(max_examples=40)
@given(
    st.lists(st.lists(st.integers(-9, 9), min_size=2, max_size=2), min_size=1, max_size=2),
    st.booleans(), st.integers(-20, 20), st.integers(1, 9), st.integers(4, 9),
)  # fmt: skip
def test_a_network_that_fits_never_leaves_the_width(
    weight: list[list[int]], signed: bool, bias: int, theta: int, bits: int
) -> None:
    """Every input there is, every register, every time step; the observed maximum is that of all of them."""
    network = two_layers(weight, 3, signed, bias, theta)
    inputs = list(itertools.product(range(-7 if signed else 0, 8), repeat=2))
    codes = np.array(inputs)
    values = [
        [value for row in weight for value in registers(row, x, 3, bias, theta, signed)] for x in inputs
    ]
    report = check_target(network, Target("t", 16, bits, "wrap"), codes)
    population = report.populations[0]
    assert population.observed == max(abs(value) for sample in values for value in sample)
    assert population.observed <= population.magnitude
    if report.fits:
        assert all(-(2 ** (bits - 1)) <= value < 2 ** (bits - 1) for sample in values for value in sample)
    exact = check_target(network, "generic_fpga")
    assert exact.fits
    assert exact.populations[0].state_bits == exact.populations[0].bits


def test_the_observed_maximum_names_its_neuron() -> None:
    network = two_layers([[1, 1], [5, 5], [2, 2]], 2, theta=2)
    # At the end 5 * (1 + 1), and the rounding offset 1.
    assert observed_magnitudes(network, np.array([[0, 0], [1, 1]]))["n"] == (11, 1)


def test_the_observed_maximum_may_lie_inside_the_window() -> None:
    """Digits 1, 0 against 0, 1 with weights 5, -9: 5 after one time step, 1 at the end."""
    network = two_layers([[5, -9]], 2, theta=2)
    assert observed_magnitudes(network, np.array([[2, 1]]))["n"] == (5, 0)
    signed = two_layers([[9, 9]], 2, signed=True, theta=2)  # both digits cancel, in every time step
    assert observed_magnitudes(signed, np.array([[1, -1]]))["n"] == (1, 0)  # the rounding offset


def test_the_observed_maximum_takes_a_sample() -> None:
    with pytest.raises(ShapeError, match="must have at least one sample, got none; pass some or leave"):
        check_target(two_layers([[4, -4]]), "generic_fpga", np.zeros((0, 2), int))


def test_observed_values_of_a_deep_network_stay_below_the_worst_case(residual_net: Any) -> None:
    rng = np.random.default_rng(0)
    report = check_target(residual_net, "loihi2", rng.choice([-15, 0, 15], size=(200, 2, 4, 4)))
    assert report.fits
    assert [item.name for item in report.populations] == ["n1", "n2", "n3", "out"]
    for item in report.populations:
        assert item.observed is not None
        assert 0 < item.observed <= item.magnitude < 2 ** (item.bits - 1)


def test_a_state_that_is_too_narrow_names_neuron_bound_and_remedy() -> None:
    network = two_layers([[1, 2], [900, 900]], 8)
    report = check_target(network, Target("t", 16, 16, "wrap"), np.array([[1, 0]]))
    assert not report.fits
    text = (
        "neuron 'n': neuron 1 can reach 459002 (observed: 902, 11 bits), which needs 20 bits, but target 't' "
        "has 16-bit state; try 4 time steps, narrower weights or a target with wider state."
    )
    assert [finding.text for finding in report.findings] == [text]
    assert report.findings[0].needed == 20
    with pytest.raises(BoundError) as caught:
        report.require()
    assert str(caught.value) == text
    assert check_target(two_layers([[1, 2], [900, 900]], 4), Target("t", 16, 16, "wrap")).fits
    assert json.loads(json.dumps(report.to_json()))["fits"] is False
    assert "target 't': does not fit" in str(report)


def test_every_finding_says_what_is_needed_and_what_there_is() -> None:
    network = two_layers([[1000, 1], [1, 1]], 4, theta=300)
    target = Target("t", 8, 12, "wrap", payload_bits=1, max_fan_in=1)
    report = check_target(network, target, spikes="graded")
    found = [(item.layer, item.limit, item.needed, item.allowed) for item in report.findings]
    # 1001 * 15 + 150 has 14 bits, 300 * 8 has 12, both without their sign; codes of 4 digits; two inputs.
    assert found == [
        ("fc", "weight_bits", 11, 8),
        ("n", "state_bits", 15, 12),
        ("n", "state_bits", 13, 12),
        ("n", "payload_bits", 4, 1),
        ("n", "max_fan_in", 2, 1),
    ]
    assert all(", but target 't' " in item.text for item in report.findings)
    assert [item.state_bits for item in report.populations] == [12, 12]
    free = check_target(network, dataclasses.replace(target, state_bits=None))
    assert [item.state_bits for item in free.populations] == [item.bits for item in free.populations]


def test_the_report_as_json_has_every_entry() -> None:
    report = check_target(two_layers([[900, 900]], 8), Target("t", 8, 16, "wrap"))
    assert report.findings
    assert report.to_json() == {
        "target": "t",
        "fits": False,
        "populations": [dataclasses.asdict(item) for item in report.populations],
        "findings": [dataclasses.asdict(item) for item in report.findings],
    }


def test_the_highest_threshold_must_fit_too() -> None:
    network = two_layers([[1, 1]], 4, theta=300)  # never reached, still compared with
    (finding,) = check_target(network, Target("t", 16, 12, "wrap")).findings
    assert (finding.layer, finding.limit, finding.needed) == ("n", "state_bits", 13)
    assert "theta * 2^(T-1) = 2400, which needs 13 bits" in finding.text
    assert check_target(network, Target("t", 16, 13, "wrap")).fits


def _scale(weights: list[int], bits: int) -> g.Scale:
    return g.Scale(name="s", inputs=("x",), weight_bits=bits, multiplier=np.array(weights, np.int32))


@pytest.mark.parametrize(
    ("weights", "bits", "width", "synapses"),
    [
        ([127, -128], 8, 8, 1), ([128], 9, 9, 2), ([-129], 9, 9, 2), ([32767 - 128], 16, 16, 2),
        ([32767], 16, 16, 3), ([-32768], 16, 16, 2), ([0], 8, 1, 1), ([-1, 1], 1, 1, 1), ([-1], 8, 1, 1),
    ],
)  # fmt: skip
def test_width_and_synapses_of_a_weight(weights: list[int], bits: int, width: int, synapses: int) -> None:
    """Two balanced bytes end at 127 * 257 = 32639."""
    assert width_of_weights(_scale(weights, bits)) == width
    assert synapses_per_weight(_scale(weights, bits), 8) == synapses


def test_narrow_digits_hold_exactly_what_sums_of_them_reach() -> None:
    reach = {1: set(range(-2, 2))}
    for count in (2, 3):
        reach[count] = {a + 4 ** (count - 1) * b for a in reach[count - 1] for b in range(-2, 2)}
    for weight in range(-42, 22):
        fewest = min(count for count, values in reach.items() if weight in values)
        assert synapses_per_weight(_scale([weight], 8), 2) == fewest


def test_wide_weights_need_a_target_that_combines_them() -> None:
    network = two_layers([[1000, 1]], 2)
    (finding,) = check_target(network, Target("t", 8, 24, "wrap")).findings
    assert finding.text == (
        "dense 'fc': its widest weight needs 11 bits, but target 't' has 8-bit weights; export with "
        "weight_bits=8 and skip_bits=8."
    )
    report = check_target(network, Target("t", 8, 24, "wrap", combine_weights=True))
    assert report.fits
    assert report.populations[0].fan_in == 4  # two inputs, two synapses each


def test_fan_in_is_that_of_the_most_connected_neuron() -> None:
    """Padding is no synapse; branches add up; a concatenation does not."""
    ones = np.ones((2, 3, 3, 3), np.int32)
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(3, 2, 3)),
        g.Conv2d(name="c", inputs=("x",), weight_bits=8, weight=ones, padding=1),
        g.Conv2d(name="p", inputs=("x",), weight_bits=8, weight=ones[:, :, :1, :1]),
        g.Add(name="sum", inputs=("c", "p")),
        g.Concat(name="cat", inputs=("p", "sum")),
        g.Readout(name="out", inputs=("cat",), scale=np.ones(4), bias=np.zeros(4, np.int32)),
    ]
    network = g.Network(ops, 4)
    target = Target("t", 8, 24, "wrap", max_fan_in=20)
    report = check_target(network, target)
    # The middle column of two rows: 2 * 3 positions of 3 channels, and 3 of the branch.
    assert report.populations[0].fan_in == 21
    (problem,) = report.problems
    assert problem.text.startswith("readout 'out': neuron 13 has 21 synapses, but target 't' allows 20;")
    advised = check_target(network, dataclasses.replace(target, advisory=("max_fan_in",)))
    assert advised.fits
    assert [finding.limit for finding in advised.advice] == ["max_fan_in"]


def test_delays_that_balance_branches_are_counted(residual_net: Any) -> None:
    assert [op.windows for op in residual_net.ops.values() if op.kind == "delay"] == [1]
    undelayed = []
    for op in residual_net.ops.values():
        if op.kind != "delay":
            inputs = tuple(residual_net.ops[n].inputs[0] if n.endswith("delay1") else n for n in op.inputs)
            undelayed.append(dataclasses.replace(op, inputs=inputs))
    residual_net = g.Network(undelayed, 4)
    assert residual_net.unbalanced()
    assert check_target(residual_net, Target("t", 16, 24, "wrap", max_delay=4)).fits
    (finding,) = check_target(residual_net, Target("t", 16, 24, "wrap", max_delay=3)).findings
    assert "the branch waits 4 time steps, but target 't' delays by at most 3" in finding.text


def test_messages_must_fit_the_payload() -> None:
    network = two_layers([[1, 1]], 4, signed=True)
    target = Target("t", 16, 24, "wrap", payload_bits=4)
    assert check_target(network, target).populations[0].payload_bits == 2
    assert check_target(network, target).fits
    (finding,) = check_target(network, target, spikes="graded").findings
    assert finding.needed == 5
    with pytest.raises(ParameterError, match="spikes must be 'serial' or 'graded', got 'rate'"):
        check_target(network, target, spikes="rate")


def test_further_problems_are_counted() -> None:
    network = two_layers([[3000, 3000]], 4)
    with pytest.raises(BoundError, match=r"^dense 'fc': .*; export with .*skip_bits=8 \(1 more: n\)\.$"):
        check_target(network, Target("t", 8, 12, "wrap")).require()
