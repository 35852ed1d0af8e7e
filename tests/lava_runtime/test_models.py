"""ProcessModels by tag: floating point without a width, and the registers of a declared hardware.

The hardware's registers are computed here once more, value by value in plain integers, from the same
documents
and none of the same code: codes, membranes and the list of overflows must be equal.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lava.proc.dense.models import PyDenseModelBitAcc, PyDenseModelFloat

import lava_bridge
from lava_bridge.build import assemble
from lava_bridge.engines.configuration import compile_assembly
from lava_bridge.models import MODELS, Model
from lava_bridge.processes import neuron_models
from spikejelly_pack.spec import graph as g
from spikejelly_pack.spec.bounds import accumulator_widths
from spikejelly_pack.spec.errors import BoundError, ParameterError
from spikejelly_pack.spec.targets import Target

Interpreter = Callable[[g.Network, dict[str, Any]], dict[str, Any]]
Rows = list[tuple[Any, ...]]


def simulate(network: g.Network, codes: Any, model: str = "fpga", **more: Any) -> lava_bridge.Simulation:
    options = {"engine": "inline", "record": "all", "timeout": 60, "progress": False, **more}
    return lava_bridge.simulate(network, codes, codes=True, model=model, **options)


def rows(result: lava_bridge.Simulation) -> Rows:
    return [dataclasses.astuple(item) for item in result.overflows]


def register(value: int, bits: int, overflow: str) -> int:
    """What ``bits`` bits hold of a value."""
    if overflow == "saturate":
        return max(-(2 ** (bits - 1)), min(2 ** (bits - 1) - 1, value))
    low = value & (2**bits - 1)
    return low - 2**bits if low >> (bits - 1) else low


class Brute:
    """A network on registers, layer after layer, digit after digit, one plain integer at a time."""

    def __init__(self, network: g.Network, bits: dict[str, int], overflow: str) -> None:
        self.network, self.bits, self.overflow = network, bits, overflow
        self.apply = sys.modules["spikepack_tests_spec_room"]._INTERPRETER._one
        self.found: Rows = []
        self.values: dict[str, list[Any]] = {}

    def keep(self, op: Any, index: Any, sample: int, step: int, name: str, value: int) -> int:
        kept = register(value, self.bits[op.name], self.overflow)
        if kept != value:
            flat = int(np.ravel_multi_index(index, self.network.shapes[op.name]))
            self.found.append((op.name, flat, sample, step, name, value, kept))
        return kept

    def population(self, op: Any, currents: list[Any], sample: int) -> list[Any]:
        window, result, digits = self.network.time_steps, {}, [{} for _ in currents]
        for index in currents[0]:
            charge = 0
            for t, current in enumerate(currents):
                charge = self.keep(op, index, sample, t + 1, "charge", 2 * charge + current[index])
            membrane = self.keep(op, index, sample, window, "membrane", charge + int(op.bias[index[0]]))
            result[index] = membrane
            if op.kind == "readout":
                continue
            theta = int(op.threshold[index[0]])
            sign = (membrane > 0) - (membrane < 0) if op.signed else 1
            offset = theta // 2 if op.rounding == "round_half_up" else 0
            left = self.keep(op, index, sample, window, "fire", membrane * sign + offset)
            code = 0
            for t in range(window):
                power = window - 1 - t
                spike = int(power < op.time_steps and left >= theta * 2**power)
                left -= spike * theta * 2**power
                code += spike * sign * 2**power
                digits[t][index] = spike * sign
            self.values.setdefault(f"code {op.name}", []).append(self.array(op, {index: code}, index))
        self.values.setdefault(op.name, []).append(self.array(op, result, None))
        return digits

    def array(self, op: Any, values: dict[Any, int], at: Any) -> Any:
        if at is not None:
            return values[at]
        array = np.zeros(self.network.shapes[op.name], np.int64)
        for index, value in values.items():
            array[index] = value
        return array

    def digits(self, code: Any) -> list[Any]:
        """Digits of a code by index, one dict per time step."""
        window = self.network.time_steps
        return [
            {i: ((c > 0) - (c < 0)) * (abs(c) >> (window - t) & 1) for i, c in code.items()}
            for t in range(1, window + 1)
        ]

    def other(self, op: Any, parts: list[Any]) -> list[Any]:
        if op.kind != "max_pool2d":
            return [self.apply(self.network, op, list(step)) for step in zip(*parts, strict=True)]
        # The maximum of codes, not of their digits.
        codes = {i: sum(2**t * step[i] for t, step in enumerate(reversed(parts[0]))) for i in parts[0][0]}
        return self.digits(self.apply(self.network, op, [codes]))

    def run(self, codes: dict[str, Any]) -> None:
        for sample in range(len(next(iter(codes.values())))):
            trains: dict[str, list[Any]] = {}
            for op in self.network.ops.values():
                if op.kind == "input":
                    code = codes[op.name][sample]
                    trains[op.name] = self.digits({i: int(code[i]) for i in np.ndindex(code.shape)})
                elif op.kind in {"neuron", "readout"}:
                    trains[op.name] = self.population(op, trains[op.inputs[0]], sample)
                else:
                    trains[op.name] = self.other(op, [trains[name] for name in op.inputs])
        order = {name: n for n, name in enumerate(self.network.ops)}
        registers = ("charge", "membrane", "fire")
        self.found.sort(key=lambda r: (r[2], order[r[0]], r[3], registers.index(r[4]), r[1]))

    def check(self, result: lava_bridge.Simulation, samples: int) -> None:
        for op in (*self.network.neurons, *self.network.readouts):
            assert np.array_equal(result.membranes[op.name], np.stack(self.values[op.name])), op.name
        for op in self.network.neurons:
            expected = np.array(self.values[f"code {op.name}"]).reshape(
                samples, *self.network.shapes[op.name]
            )
            assert np.array_equal(result.codes[op.name], expected), op.name
        assert rows(result) == self.found


def target(bits: int | None, overflow: str = "wrap") -> Target:
    return Target("narrow", weight_bits=16, state_bits=bits, overflow=overflow)


@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_narrow_registers_equal_plain_integers(net_builder: Any, data: Any) -> None:
    builder = type("Builder", (net_builder,), {"leaks": False})(data.draw)
    network = builder.network()
    codes = builder.codes(network, 2)
    bits, overflow = data.draw(st.integers(4, 14)), data.draw(st.sampled_from(["wrap", "saturate"]))
    widths = {op.name: bits for op in (*network.neurons, *network.readouts)}
    brute = Brute(network, widths, overflow)
    brute.run(codes)
    brute.check(simulate(network, codes, target=target(bits, overflow)), 2)


@pytest.mark.parametrize("engine", ["inline", "loihi", "async"])
def test_every_engine_reports_the_same_overflows(engine: str, residual_net: Any, golden: Any) -> None:
    widths = {op.name: 10 for op in (*residual_net.neurons, *residual_net.readouts)}
    brute = Brute(residual_net, widths, "wrap")
    brute.run({"x": golden})
    result = simulate(residual_net, golden, engine=engine, target=target(10))
    assert len(brute.found) > 20
    brute.check(result, len(golden))
    counts = {name: sum(row[0] == name for row in brute.found) for name in widths}
    assert result.overflows.count_by_layer() == {name: n for name, n in counts.items() if n}
    assert result.overflows[:2] == [result.overflows[0], result.overflows[1]]


@settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_exact_widths_and_floating_point_equal_the_reference(
    net_builder: Any, interpreter: Interpreter, assert_same: Any, data: Any
) -> None:
    builder = net_builder(data.draw)
    network = builder.network()
    codes = builder.codes(network, 3)
    model = data.draw(st.sampled_from(["fpga", "floating_pt"]))
    result = simulate(network, codes, model, spikes=data.draw(st.sampled_from(["serial", "graded"])))
    expected = interpreter(network, codes)
    readouts = {op.name: result.membranes[op.name] for op in network.readouts}
    assert_same({**result.codes, **readouts}, expected, expected)
    assert list(result.overflows) == []


@pytest.mark.parametrize("sign", [1, -1])
def test_one_bit_less_than_exact_overflows_on_the_worst_input(sign: int) -> None:
    """The input that the bound is about: weights of one sign at full codes."""
    weight = np.array([[90, -3, 35], [-1, 2, -1]], np.int32) * sign
    ops = [
        g.Input(name="x", inputs=(), threshold=np.ones(1, np.float32), shape=(3,)),
        g.Dense(name="fc", inputs=("x",), weight_bits=8, weight=weight),
        g.Readout(name="out", inputs=("fc",), scale=np.ones(2), bias=np.array([5 * sign, 0], np.int32)),
    ]
    network = g.Network(ops, 4)
    width = accumulator_widths(network)["out"]
    worst = np.array([[15, 0, 15]])
    assert width == 12
    assert rows(simulate(network, worst, target=target(width))) == []
    assert rows(simulate(network, worst)) == []  # without a target: exact widths
    expected = ("out", 0, 0, 4, "charge", 1875 * sign, (1875 - 2048) * sign)
    assert rows(simulate(network, worst, target=target(width - 1))) == [expected]


def test_floating_point_needs_no_width(interpreter: Interpreter, make_small_net: Any) -> None:
    """The same integers where fixed point raises."""
    small = make_small_net(state_bits=12)
    wide = dataclasses.replace(small.ops["fc1"], weight=4 * small.ops["fc1"].weight, weight_bits=10)
    network = g.Network([wide if op.name == "fc1" else op for op in small.ops.values()], 4)
    codes = {"x": np.array([np.where(wide.weight[0] > 0, 15, 0), [1, 2, 3, 4, 5, 6]])}
    with pytest.raises(BoundError, match="the membrane must fit 12 bits"):
        simulate(network, codes, "fixed_pt")
    expected = interpreter(network, codes)
    for spikes in ("serial", "graded"):
        result = simulate(network, codes, "floating_pt", spikes=spikes)
        assert np.array_equal(result.membranes["out"], expected["out"])
        assert np.array_equal(result.codes["n1"], expected["n1"])


@pytest.mark.parametrize("engine", ["inline", "loihi", "async"])
def test_floating_point_runs_every_operation(
    engine: str, residual_net: Any, golden: Any, interpreter: Interpreter
) -> None:
    expected = interpreter(residual_net, {"x": golden})
    result = simulate(residual_net, golden, "floating_pt", engine=engine)
    for name, value in {**result.codes, "out": result.membranes["out"]}.items():
        assert np.array_equal(value, np.asarray(expected[name])), name
    assert result.model == "floating_pt"


@pytest.mark.parametrize("tag", sorted(MODELS))
def test_the_tag_selects_the_models(tag: str, make_small_net: Any, tmp_path: Path) -> None:
    network = make_small_net()
    model = Model(tag, accumulator_widths(network))
    assembly = assemble(network, {"x": np.zeros((1, 6), np.uint8)}, [], tmp_path, model=model)
    builders = compile_assembly(assembly).proc_builders
    chosen = {process.name: builder.proc_model for process, builder in builders.items()}
    suffix = {"fixed_pt": "Fixed", "floating_pt": "Float", "fpga": "Fpga"}[tag]
    assert chosen["n1"] is getattr(neuron_models, f"PySpikePack{suffix}")
    assert chosen["out"] is getattr(neuron_models, f"PyReadout{suffix}")
    assert chosen["fc1"] is (PyDenseModelFloat if tag == "floating_pt" else PyDenseModelBitAcc)


def test_a_target_is_checked_before_the_run(make_small_net: Any) -> None:
    network, codes = make_small_net(), np.full((1, 6), 15)
    with pytest.raises(BoundError, match=r"neuron 'n1': neuron \d can reach .* \(observed: .*11-bit state"):
        simulate(network, codes, "fixed_pt", target=target(11))
    with pytest.raises(BoundError, match="dense 'fc1': its widest weight needs 8 bits"):
        simulate(network, codes, "fpga", target=dataclasses.replace(target(11), weight_bits=7))
    assert rows(simulate(network, codes, "fixed_pt", target="loihi2")) == []
    with pytest.raises(ParameterError, match=r"model must be one of \['fixed_pt', 'floating_pt', 'fpga'\]"):
        simulate(network, codes, "rtl")
    with pytest.raises(ParameterError, match="target: must be one of"):
        simulate(network, codes, "fpga", target="nowhere.json")
