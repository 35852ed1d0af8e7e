"""T per layer: as given, or the least that keeps an error bound."""

from __future__ import annotations

import dataclasses
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import ann2snn, functional
from torch import Tensor, nn

from spikejelly_pack import SpikePackRecipe, adapt, build_integer, latency
from spikejelly_pack.recipes import LSQActivation, SpikePackQuantizedRecipe
from spikejelly_pack.spec.errors import ParameterError, UnsupportedError
from spikejelly_pack.spec.execute import encode, outputs, run_packed
from spikejelly_pack.spec.stream import run_serial_single_step


def steps_of(snn: Any) -> list[int]:
    return [snn.get_submodule(entry.path).time_steps for entry in snn.report.layers]


def relative(got: Any, expected: Any) -> float:
    """Relative error over all outputs together, written out on its own."""
    pairs = [(got, expected)] if isinstance(got, Tensor) else list(zip(got, expected, strict=True))
    wrong = sum(float(((a - b) ** 2).sum()) for a, b in pairs)
    return (wrong / sum(float((b**2).sum()) for _, b in pairs)) ** 0.5


@pytest.fixture(scope="session")
def forms() -> ModuleType:
    """Return the helpers of ``tests/forms.py``."""
    spec = importlib.util.spec_from_file_location(
        "spikepack_tests_forms", Path(__file__).parents[1] / "forms.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class OneOutput(nn.Module):
    """Several outputs side by side, ``[.., N, features]``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        outputs = self.net(x)
        parts = (outputs,) if isinstance(outputs, Tensor) else outputs
        return torch.cat([part.flatten(x.dim() - 3) for part in parts], dim=-1)


def check_forms(forms: ModuleType, snn: Any, x: Tensor, tolerance: Any) -> None:
    """Codes of every node in packed, multi-step and single-step form; the last in the window it says."""
    window, net = snn.report.time_steps, OneOutput(snn)
    functional.set_step_mode(net, "m")
    result = forms.compare(net, x, False, tolerance)
    assert result.unexplained == 0
    close = tolerance(x.dtype).between(10_000, 10 * float(result.packed.abs().max()))
    assert result.difference(result.forced) <= close
    assert result.codes
    assert not result.flips, "choose another seed: a membrane lies on a tie"
    assert result.difference(result.serial) <= close
    _, multi = forms.record(net, x.repeat_interleave(window, 0))
    single, trains = forms.pipelined(net, x, window, latency(snn))
    assert result.difference(single) <= close
    depth = latency(snn) // window
    for name, (_, train) in multi.items():
        starts = [
            windows
            for windows in range(1, depth + 1)
            if torch.equal(trains[name][windows * window :][: len(train)], train)
        ]
        assert starts, name
        assert set(train.unique().tolist()) <= {-1.0, 0.0, 1.0}
        digits = train.unflatten(0, (-1, window))
        assert not digits[:, : window - forms.nodes(net)[name].time_steps].any(), name
        assert digits.any()


def mixed(snn: Any, *choices: int) -> dict[str, int]:
    """T by node path, running through ``choices``."""
    paths = [entry.path for entry in snn.report.layers]
    return {"*": 3} | {path: choices[i % len(choices)] for i, path in enumerate(paths)}


def test_mixed_time_steps_equal_the_quantized_ann(
    name: str, make: Any, convert: Any, images: Tensor, oracle: Any, tolerance: Any
) -> None:
    """Packed form against numpy quantizers of each layer's own T; thresholds are calibrated for that T."""
    ann = make(name)
    given = mixed(convert(ann, images[:16]), 6, 2, 4, 3)
    snn = convert(ann, images[:16], time_steps=given)
    assert steps_of(snn) == [given[entry.path] for entry in snn.report.layers]
    assert [entry.time_steps for entry in snn.report.layers] == steps_of(snn)
    assert snn.report.time_steps == max(steps_of(snn))
    with torch.no_grad():
        got, expected = snn(images), oracle(ann, snn, images)
    for one, other in zip(*((t,) if isinstance(t, Tensor) else t for t in (got, expected)), strict=True):
        assert float((one - other).abs().max()) <= tolerance(torch.float64).between(
            10_000, 10 * float(other.abs().max())
        )


def test_layers_are_named_by_what_they_stand_for(make: Any, convert: Any, images: Tensor) -> None:
    snn = convert(make("residual"), images, time_steps={"*": 5, "relu": 2, "x": 7, "relu_again_node": 3})
    assert steps_of(snn) == [7, 2, 3, 5]
    two = {entry.path: entry.threshold for entry in snn.report.layers}
    alike = {
        entry.path: entry.threshold for entry in convert(make("residual"), images, time_steps=2).report.layers
    }
    assert two["relu_node"] == alike["relu_node"] != two["relu_again_node"]


def test_integer_form_of_mixed_time_steps(make: Any, convert: Any, images: Tensor) -> None:
    """Pipelined steps equal the packed executor code by code; wide weights come near the float form."""
    ann = make("residual", torch.float32)
    x = images.float()
    snn = convert(ann, x, time_steps=mixed(convert(ann, x), 6, 3, 5, 2))
    network = build_integer(snn, x, weight_bits=16, state_bits=32)
    assert network.time_steps == 6
    assert sorted(op.time_steps for op in [*network.inputs, *network.neurons]) == [2, 3, 5, 6]
    codes = encode(network.inputs[0], x.numpy())
    packed, stepped = run_packed(network, codes), run_serial_single_step(network, codes)
    for name, value in packed.items():
        np.testing.assert_array_equal(stepped[name], value, err_msg=name)
    with torch.no_grad():
        expected = snn(x)
    assert relative(torch.from_numpy(outputs(network, packed)["output"]), expected) < 0.01


@pytest.mark.parametrize("encode_input", [True, False])
def test_forms_of_mixed_time_steps(
    forms: ModuleType, name: str, make: Any, convert: Any, images: Tensor, tolerance: Any, encode_input: bool
) -> None:
    """Skip branches, concatenations and pools of codes of different length; signed inputs, analog ones."""
    ann, options = make(name), {"encode_input": encode_input}
    given = mixed(convert(ann, images[:16], **options), 6, 2, 4, 3)
    snn = convert(ann, images[:16], time_steps=given, **options)
    assert {snn.get_submodule(path).window for path in given if path != "*"} == {snn.report.time_steps}
    check_forms(forms, snn, images[:6].unflatten(0, (3, 2)), tolerance)


def test_forms_of_chosen_time_steps(
    forms: ModuleType, make: Any, convert: Any, images: Tensor, tolerance: Any
) -> None:
    snn = convert(make("residual"), images, time_steps="auto", error_bound=0.1)
    assert len(set(steps_of(snn))) > 1
    assert latency(snn) % max(steps_of(snn)) == 0
    check_forms(forms, snn, images[:6].unflatten(0, (3, 2)), tolerance)


def test_adapt_knows_mixed_time_steps(
    forms: ModuleType, make: Any, convert: Any, images: Tensor, tolerance: Any
) -> None:
    """The delays that adapt adds to a copy without them are as long as those the recipe put in."""
    snn = convert(make("residual"), images, time_steps=mixed(convert(make("residual"), images), 5, 2, 3, 4))
    report = adapt(snn)
    assert report.exact
    assert not report.replaced
    assert not report.delays
    assert report.latency == latency(snn) == 4 * 5
    check_forms(forms, snn, images[:6].unflatten(0, (3, 2)), tolerance)


@pytest.mark.parametrize("bound", [0.3, 0.1, 0.02])
def test_auto_keeps_the_bound_and_no_digit_too_many(
    bound: float, make: Any, convert: Any, images: Tensor
) -> None:
    """The error of the finished network, measured here again; lowering any single layer breaks the bound."""
    ann = make("residual")
    batches = (images[:10], images[10:])
    snn = convert(ann, *batches, time_steps="auto", error_bound=bound)
    with torch.no_grad():
        error = relative(snn(images), ann(images))
        assert error <= bound
        assert snn.report.output_error == pytest.approx(error, rel=1e-6)
        found = {entry.path: entry.time_steps for entry in snn.report.layers}
        assert snn.report.time_steps == max(found.values())
        assert sum(found.values()) < 8 * len(found)
        for path, steps in found.items():
            if steps > 1:
                fewer = convert(ann, *batches, time_steps=found | {"*": 1, path: steps - 1})
                assert relative(fewer(images), ann(images)) > bound, path


def test_auto_spends_digits_where_they_matter(convert: Any) -> None:
    """Two branches, one a hundred times weaker: its node needs fewer digits."""

    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.loud, self.faint = nn.Linear(8, 8), nn.Linear(8, 8)
            self.a, self.b = nn.ReLU(), nn.ReLU()
            self.head, self.tail = nn.Linear(8, 4), nn.Linear(8, 4, bias=False)
            self.tail.weight.data *= 0.01

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.a(self.loud(x))) + self.tail(self.b(self.faint(x)))

    torch.manual_seed(0)
    snn = convert(Branches(), torch.rand(64, 8), time_steps="auto", error_bound=0.03)
    steps = {entry.stands_for: entry.time_steps for entry in snn.report.layers}
    assert steps["b"] + 3 <= steps["a"]


BAD: list[tuple[dict[str, Any], str]] = [
    ({"time_steps": "auto"}, "error_bound belongs to time_steps='auto', got time_steps='auto'"),
    ({"time_steps": 4, "error_bound": 0.1}, "give both or neither"),
    ({"time_steps": "auto", "error_bound": 0.0}, "error_bound must be a positive number, got 0.0"),
    ({"time_steps": "auto", "error_bound": "5%"}, "error_bound must be a positive number, got '5%'"),
    ({"time_steps": "best"}, "time_steps must be an integer"),
    ({"time_steps": {"relu": 2}}, "must have an entry '\\*' for the layers it does not name"),
    ({"time_steps": {"*": 17}}, "time_steps must be an integer in 1..16, got 17"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[entry[1][:40] for entry in BAD])
def test_bad_arguments(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        SpikePackRecipe([torch.rand(2, 3)], **options)


def test_bad_choices(make: Any, convert: Any, images: Tensor) -> None:
    with pytest.raises(ParameterError, match=r"must name nodes or what they stand for, got \['nose'\]"):
        convert(make("mlp"), images, time_steps={"*": 4, "nose": 2})
    with pytest.raises(ParameterError, match=r"error_bound must be at least 0\.0\d+, the relative error"):
        convert(make("mlp"), images, time_steps="auto", error_bound=1e-6)
    recipe = SpikePackRecipe(iter([images]), time_steps="auto", error_bound=0.1, progress=False)
    with pytest.raises(ParameterError, match="must yield its batches again"):
        ann2snn.Converter(recipe).convert(make("mlp"))
    silent = nn.Sequential(nn.Linear(8, 2))
    nn.init.zeros_(silent[0].weight)
    nn.init.zeros_(silent[0].bias)
    with pytest.raises(UnsupportedError, match="output must differ from zero"):
        convert(silent, torch.rand(4, 8), time_steps="auto", error_bound=0.1)


class Bits(nn.Module):
    """Quantizers of 2, 3 and 5 bits, one of them signed, in front of sums, pools and synapses."""

    def __init__(self) -> None:
        super().__init__()
        self.q = nn.ModuleList(
            LSQActivation(b, signed=b == 5, step=s) for b, s in ((5, 0.07), (2, 0.3), (3, 0.2))
        )
        self.a, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.pool, self.fc = nn.MaxPool2d(2), nn.Linear(4 * 16, 5)

    def forward(self, x: Tensor) -> Tensor:
        one = self.pool(self.q[1](torch.relu(self.a(self.q[0](x)))))
        two = self.q[2](torch.relu(self.b(one) + one))
        return self.fc(torch.flatten(two, 1))


@pytest.mark.parametrize("fold", [False, True])
def test_quantizers_of_different_bits_run_serially(
    forms: ModuleType, images: Tensor, tolerance: Any, fold: bool
) -> None:
    """Packed floats are the quantized network's own still; digit-serial pools keep to the common window."""
    torch.manual_seed(3)
    net, x = Bits().double().eval(), images[:6]
    recipe = SpikePackQuantizedRecipe([images], mixed_time_steps=True, fold=fold, progress=False)
    snn: Any = ann2snn.Converter(recipe).convert(net)
    assert sorted(steps_of(snn)) == [2, 3, 4]
    with torch.no_grad():
        if not fold:
            assert torch.equal(snn(x), net(x))
    check_forms(forms, snn, x.unflatten(0, (3, 2)), tolerance)


def test_another_t_per_node_after_conversion(
    forms: ModuleType, name: str, make: Any, convert: Any, images: Tensor, tolerance: Any
) -> None:
    """As planners change T: every node in a window of its own, packed; adapt makes it one window again."""
    snn = convert(make(name), images[:16], time_steps=6)
    choices = [4, 6, 2, 3]
    for index, entry in enumerate(snn.report.layers):
        node = snn.get_submodule(entry.path)
        node.params = dataclasses.replace(node.params, time_steps=choices[index % 4], window=None)
    x = images[:6].unflatten(0, (3, 2))
    with torch.no_grad():
        before = snn(images)
        report = adapt(snn)
        after = snn(images)
    for one, other in zip(*((t,) if isinstance(t, Tensor) else t for t in (after, before)), strict=True):
        bound = tolerance(torch.float64).between(10_000, 10 * float(other.abs().max()))
        assert float((one - other).abs().max()) <= bound
    assert report.exact
    assert any(entry.before == entry.after for entry in report.replaced)
    snn.report.time_steps = max(steps_of(snn))
    check_forms(forms, snn, x, tolerance)
