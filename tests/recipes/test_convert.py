"""What convert promises around the mathematics: routes, report, files, copies, errors that name the place."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_model, save_model
from spikingjelly.activation_based import ann2snn, functional, neuron
from torch import Tensor, nn

from spikejelly_pack import (
    SpikePackNetwork,
    SpikePackQuantizedRecipe,
    SpikePackRecipe,
    SynapseRule,
    set_form,
)
from spikejelly_pack import convert as convert_any
from spikejelly_pack.spec.errors import (
    DtypeError,
    ExchangeFileError,
    ParameterError,
    ShapeError,
    SpikePackError,
    UnsupportedError,
)


class Calls(nn.Module):
    """A layer called as often as it is told, another on demand, and one never."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.aux = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
        self.norm, self.calls, self.detour, self.swap = nn.LayerNorm(4), 2, False, False

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.calls):
            x = self.a(self.norm(x))
        if self.detour:
            x = self.b(x)
        layer = self.b if self.swap else self.a
        return F.linear(F.silu(x), layer.weight)


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm = nn.Embedding(7, 4), nn.LayerNorm(4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.norm(self.embed(tokens)))


def make(kind: Callable[[], nn.Module], seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return kind().eval()


def quiet(model: nn.Module, *batches: Any, **options: Any) -> Any:
    return convert_any(model, list(batches), progress=False, **options)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(6, 4, generator=torch.Generator().manual_seed(1))


def test_route_and_reason(x: Tensor) -> None:
    plain = make(lambda: nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 2)))
    assert quiet(plain, x).report.route == "fx"
    other = quiet(plain, x, route="module")
    assert (other.report.route, other.report.reason) == ("module", "asked for")
    report = quiet(make(Calls), x).report
    assert report.route == "module"
    assert "LayerNorm" in report.reason
    with pytest.raises(UnsupportedError, match="LayerNorm"):
        quiet(make(Calls), x, route="fx")
    with pytest.raises(ParameterError, match="route must be 'auto' or 'fx' or 'module'"):
        quiet(plain, x, route="best")
    with pytest.raises(ParameterError, match="without share_calls"):
        quiet(plain, x, route="fx", share_calls=True)


def test_report_names_everything(x: Tensor) -> None:
    report = quiet(make(Calls), x).report
    assert [entry.path for entry in report.synapses] == ["a:linear0", "a:linear1", ":linear0"]
    assert [entry.weight for entry in report.synapses] == ["a.weight"] * 3
    assert all(entry.macs == 6 * 16 and entry.on_spikes for entry in report.synapses)
    assert {name for entry in report.synapses for name in entry.nodes} == {e.path for e in report.layers}
    assert report.soma == {"layer_norm": ["norm"], "silu": [""]}
    assert report.unused == ["b", "aux"]
    found = json.loads(report.to_json())
    assert (found["route"], found["coverage"], found["unused"]) == ("module", 1.0, ["b", "aux"])
    for text in ("route: module", "silu x1", "never ran: b, aux", "multiply-accumulates on spikes: 100.0%"):
        assert text in str(report)
    assert max(entry.error for entry in report.layers) < 0.01


def test_source_is_left_alone(x: Tensor) -> None:
    model = make(Calls).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    snn = quiet(model, x)
    assert all(module.training for module in model.modules())
    assert not any(module.training for module in snn.modules())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())
    with torch.no_grad():
        snn.model.a.weight.zero_()
    assert bool(model.a.weight.any())


@pytest.mark.parametrize("kind", [Calls, Tied])
def test_files_and_copies_give_the_same_outputs(kind: type[nn.Module], x: Tensor, tmp_path: Path) -> None:
    data = torch.arange(7) if kind is Tied else x
    snn = quiet(make(kind), data, time_steps=3)
    wanted = snn(data)
    assert torch.equal(copy.deepcopy(snn)(data), wanted)
    snn.save(tmp_path / "net.safetensors")
    rebuilt: Any = SpikePackNetwork.load(make(kind, seed=5), tmp_path / "net.safetensors")
    assert torch.equal(rebuilt(data), wanted)
    # converted again, from other weights, T and data of one sign: other nodes until the file is read
    other = quiet(make(kind, seed=5), data if kind is Tied else x.abs(), time_steps=8)
    save_model(snn, str(tmp_path / "again.safetensors"))
    load_model(other, str(tmp_path / "again.safetensors"))
    assert torch.equal(other(data), wanted)
    with pytest.raises(
        ExchangeFileError, match=r"net\.safetensors: must hold a converted network that fits Linear"
    ):
        SpikePackNetwork.load(nn.Linear(2, 2), tmp_path / "net.safetensors")


def test_forms_are_refused(x: Tensor) -> None:
    snn = quiet(make(Calls), x)
    with pytest.raises(UnsupportedError, match="form must be 'packed', got 'serial'"):
        set_form(snn, "serial")
    assert {node.form for node in snn.nodes.values()} == {"packed"}
    with pytest.raises(SpikePackError, match="step_mode must be 's', got 'm'"):
        functional.set_step_mode(snn, "m")


def test_changed_control_flow_names_the_place(x: Tensor) -> None:
    snn = quiet(make(Calls), x)
    snn.model.calls = 3
    with pytest.raises(UnsupportedError, match="layer 'a:linear2': this call saw no data in calibration"):
        snn(x)
    snn.model.calls = 1
    with pytest.raises(UnsupportedError, match=r"layer 'a:linear': must be called 2 times per pass .* got 1"):
        snn(x)
    snn.model.calls, snn.model.detour = 2, True
    with pytest.raises(
        UnsupportedError, match=r"layer 'b:linear0': this call saw no data .* share_calls=True"
    ):
        snn(x)
    snn.model.detour, snn.model.swap = False, True
    with pytest.raises(UnsupportedError, match=r"must read the parameter 'a.weight' .* got 'b.weight'"):
        snn(x)
    snn.model.swap = False
    snn(x)


def test_shared_calls_run_any_number_of_times(x: Tensor) -> None:
    snn = quiet(make(Calls), x, share_calls=True)
    assert sorted(snn.nodes) == [":linear0:0", "a:linear0:0"]
    for snn.model.calls in (1, 5):
        source = make(Calls)
        source.calls = snn.model.calls
        error = (snn(x) - source(x)).norm() / source(x).norm()
        assert float(error.detach()) < 0.05


def test_each_number_of_calls_seen_in_calibration_is_right(x: Tensor) -> None:
    def forward(model: Any, batch: tuple[Tensor, int]) -> Tensor:
        model.calls = batch[1]
        return model(batch[0])

    snn = quiet(make(Calls), (x, 1), (x, 3), forward=forward)
    assert snn.plan.calls["a:linear"] == [1, 3]
    for calls, fits in ((1, True), (2, False), (3, True)):
        snn.model.calls = calls
        if fits:
            snn(x)
        else:
            with pytest.raises(UnsupportedError, match="called 1 or 3 times"):
                snn(x)


class Kernel(nn.Module):
    """An operation whose products lie inside one kernel."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(1, 4, 3)), nn.Parameter(torch.zeros(3))

    def forward(self, x: Tensor) -> Tensor:
        return torch.conv_tbc(x, self.weight, self.bias)


def test_products_inside_a_kernel_stay_analog_by_name() -> None:
    model, data = make(Kernel), torch.randn(5, 2, 4)
    snn = quiet(model, data)
    assert (snn.report.coverage, snn.report.analog) == (0.0, [":conv_tbc0"])
    assert sum(entry.macs for entry in snn.report.synapses) == 5 * 2 * 4 * 3
    assert torch.equal(snn(data), model(data))
    with pytest.raises(UnsupportedError, match=r"strict=True needs .* got 0\.0% with :conv_tbc0 analog"):
        quiet(model, data, strict=True)


def test_rules_of_the_user(x: Tensor) -> None:
    with torch.library._scoped_library("spikepack_tests", "FRAGMENT") as library:
        library.define("mix(Tensor x, Tensor w) -> Tensor")
        library.impl("mix", lambda x, w: x.relu() @ w.T, "CPU")
        operator = torch.ops.spikepack_tests.mix

        class Custom(Calls):
            def forward(self, x: Tensor) -> Tensor:
                return operator(super().forward(x), self.aux.weight)

        model = make(Custom)
        with pytest.raises(
            UnsupportedError, match=r"custom operation spikepack_tests::mix has no .* extra_rules="
        ):
            quiet(model, x)
        kept = quiet(model, x, extra_rules={operator: "soma"})
        assert kept.report.soma["mix"] == [""]
        rule = SynapseRule((0, 1), lambda args, output: output.numel() * args[0].shape[-1])
        snn = quiet(model, x, extra_rules={operator: rule})
        entry = snn.report.synapses[-1]
        assert (entry.path, entry.nodes, entry.macs) == (":mix0", ("nodes.:mix0:0",), 6 * 2 * 4)
        assert not torch.equal(snn(x), kept(x))


def test_rules_for_modules(x: Tensor) -> None:
    model = make(lambda: nn.Sequential(nn.LayerNorm(4), nn.GRUCell(4, 3), nn.Linear(3, 2)))
    rule = SynapseRule((0,), lambda _module, _args, output: output.numel() * 3 * (4 + 3))
    snn = quiet(model, x, extra_rules={nn.GRUCell: rule, nn.Linear: "soma"})
    assert [entry.path for entry in snn.report.synapses] == ["1:GRUCell0"]
    assert snn.report.synapses[0].macs == 6 * 3 * 3 * 7
    node = snn.nodes["1:GRUCell0:0"]
    wanted = model[2](model[1](node(model[0](x))))
    torch.testing.assert_close(snn(x), wanted)
    with pytest.raises(ParameterError, match="'soma' or a SynapseRule for each key, got 3 for Linear"):
        quiet(model, x, extra_rules={nn.Linear: 3})
    with pytest.raises(ParameterError, match="module types or functions as keys, got 'Linear'"):
        quiet(model, x, extra_rules={"Linear": "soma"})


class Empties(nn.Module):
    """A layer that only ever reads empty tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.late = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = torch.sigmoid(self.a(x))
        return torch.cat([y, self.late(y[y[:, 0] > 2.0])])


def test_bad_data_is_named(x: Tensor) -> None:
    model = make(Calls)
    with pytest.raises(DtypeError, match="the calibration data is empty; pass at least one batch"):
        quiet(model)
    with pytest.raises(DtypeError, match="the calibration data is empty"):
        quiet(model, x[:0])
    with pytest.raises(DtypeError, match="layer 'a:linear0:0': calibration values must be finite"):
        quiet(model, x * torch.nan)
    with pytest.raises(ShapeError, match=r"got shapes \[\(6, 3\)\], in layer 'norm': .* forward="):
        quiet(model, x[:, :3])
    with pytest.raises(UnsupportedError, match="layer 'late:linear0:0': saw no calibration data"):
        quiet(make(Empties), x)
    with pytest.raises(ParameterError, match="dataloader must yield batches, got Tensor"):
        convert_any(model, x)
    with pytest.raises(ParameterError, match=r"model must be a torch\.nn.Module, got function"):
        convert_any(convert_any, [x])
    with pytest.raises(DtypeError, match="must hold a tensor, got str without one"):
        quiet(model, "images", route="module")
    with pytest.raises(ParameterError, match=r"time_steps must be an integer in 1\.\.16"):
        quiet(model, x, time_steps=17)


@pytest.mark.parametrize(
    ("wrap", "remedy"),
    [
        (nn.DataParallel, r"got DataParallel, .* pass the network it holds, its \.module"),
        (lambda net: torch.compile(net, backend="eager"), r"got OptimizedModule, .* its \._orig_mod"),
        (torch.jit.script, "got ScriptModule, .* the Python module it was made from"),
    ],
)
def test_wrappers_are_named_on_every_route(wrap: Callable[..., nn.Module], remedy: str, x: Tensor) -> None:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU())

    for layer, model in (("''", wrap(build())), ("'1'", nn.Sequential(nn.ReLU(), wrap(build())))):
        for recipe in (SpikePackRecipe, SpikePackQuantizedRecipe):
            with pytest.raises(UnsupportedError, match=f"layer {layer}: .*{remedy}"):
                ann2snn.Converter(recipe([x])).convert(model)
        with pytest.raises(UnsupportedError, match=f"layer {layer}: .*{remedy}"):
            quiet(model, x)


def test_a_network_of_nodes_takes_the_module_route(x: Tensor) -> None:
    snn = quiet(make(lambda: nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))), x)
    assert snn.report.route == "fx"
    assert quiet(snn, x).report.route == "module"  # tracing the nodes fails as tracing does


@pytest.mark.parametrize("kind", [neuron.IFNode, neuron.LIFNode, neuron.ParametricLIFNode])
def test_spiking_networks_are_no_source(kind: Callable[[], nn.Module], x: Tensor) -> None:
    with pytest.raises(UnsupportedError, match=r"layer '1': the network must be an ANN, .*=SpikePackNode"):
        quiet(make(lambda: nn.Sequential(nn.Linear(4, 4), kind(), nn.Linear(4, 2))), x)


def test_a_profiled_forward_converts(x: Tensor) -> None:
    class Profiled(Calls):
        def forward(self, x: Tensor) -> Tensor:
            with torch.profiler.record_function("part"):
                return self.a(x)

    assert quiet(make(Profiled), x, route="module").report.coverage == 1.0


def test_iterators_are_read_once(x: Tensor) -> None:
    def once() -> Iterator[Tensor]:
        yield x

    assert convert_any(make(Calls), once(), progress=False).report.route == "module"


def test_silent_inputs_are_listed(x: Tensor) -> None:
    class Silent(Calls):
        def forward(self, x: Tensor) -> Tensor:
            return self.a(torch.zeros_like(x) * x)

    snn = quiet(make(Silent), x, route="module")
    assert snn.report.silent == ["nodes.a:linear0:0"]
    torch.testing.assert_close(snn(x), make(Silent)(x))
