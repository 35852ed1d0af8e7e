"""What adapt replaces, what it names, and what it leaves alone."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from spikingjelly.activation_based import functional, layer, memopt, neuron
from spikingjelly.activation_based.model import sew_resnet
from torch import Tensor, nn

from spikejelly_pack import CodeCompressor, SpikeDelay, SpikePackNode, adapt, decode_output, latency, set_form
from spikejelly_pack.layer import handles
from spikejelly_pack.layer.handlers import HANDLERS, Outcome, Site, keep
from spikejelly_pack.spec.errors import SpikePackError, UnsupportedError

T = 3


def node(**arguments: object) -> SpikePackNode:
    return SpikePackNode(time_steps=T, **arguments)  # type: ignore[arg-type]


class Wrapped(nn.Module):
    """A network whose forward is any function of its two nodes' outputs."""

    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a = nn.Sequential(layer.Linear(4, 4), node())
        self.b = nn.Sequential(layer.Linear(4, 4), node())
        self.function = function
        functional.set_step_mode(self, "m")

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.a(x), self.b(x))


@pytest.mark.parametrize(
    ("function", "operation", "remedy"),
    [
        (lambda a, b: a * b, "mul of 2 spike trains", "SpikePackProduct"),
        (lambda a, b: a @ b.transpose(-1, -2), "matmul of 2 spike trains", "SpikePackMatmul"),
        (lambda a, b: torch.einsum("tnc,tnc->tn", a, b), "einsum of 2 spike trains", "SpikePackMatmul"),
        (lambda a, b: a / (b + 1), "truediv of 2 spike trains", "SpikePackMatmul"),
        (lambda _, b: 1 / (b + 1), "truediv of 1 spike trains", "SpikePackMatmul"),
        (lambda a, b: torch.relu(a - b), "relu", "SpikePackWindow"),
        (lambda a, b: (a + b).softmax(-1), "softmax", "SpikePackWindow"),
        (lambda a, b: torch.maximum(a, b), "maximum", "SpikePackWindow"),
        (lambda a, b: (a + b).mean(0), "mean over the time axis", "decode_output"),
        (lambda a, b: (a + b).mean(), "mean over the time axis", "decode_output"),
    ],
)
def test_names_functions_that_do_not_commute(
    function: Callable[[Tensor, Tensor], Tensor], operation: str, remedy: str
) -> None:
    report = adapt(Wrapped(function))
    assert [finding.operation for finding in report.named] == [operation]
    assert remedy in report.named[0].remedy
    assert not report.exact
    assert report.reasons[report.named[0].name]


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + 0.5 * b - 1,
        lambda a, b: torch.cat([a, b], -1).reshape(T, -1).sum(-1),
        lambda a, b: (a / 3).mean(-1) + b.flatten(1).transpose(0, 1).sum(0).unsqueeze(0),
        lambda a, b: a * a.shape[-1] + b.new_zeros(4),
    ],
)
def test_does_not_name_affine_functions(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    named = [finding.operation for finding in adapt(Wrapped(function)).named]
    assert named in ([], ["sum over the time axis"])


def test_replaces_and_names_modules() -> None:
    net = nn.Sequential(
        layer.Conv2d(1, 2, 3, padding=1),
        layer.BatchNorm2d(2),
        layer.MaxPool2d(2),
        node(),
        layer.MaxPool2d(2),
        nn.Dropout(0.5),
        layer.Dropout(0.5),
        layer.GroupNorm(1, 2),
        neuron.LIFNode(),
        nn.ReLU(),
        layer.Flatten(),
        layer.Linear(8, 3),
    )
    functional.set_step_mode(net, "m")
    report = adapt(net)
    assert [(entry.name, entry.after) for entry in report.replaced] == [
        ("2", "SpikePackValueMaxPool2d"),
        ("4", "SpikePackMaxPool2d"),
        ("9", "SpikePackWindow"),
    ]
    assert [(finding.name, finding.operation) for finding in report.named] == [
        ("7", "GroupNorm"),
        ("8", "LIFNode"),
    ]
    assert [finding.name for finding in report.training] == ["1", "5"]
    assert all(finding.reason and finding.remedy for finding in (*report.named, *report.training))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (layer.NeuNorm(4, 2, 2), "keeps a state"),
        (layer.SynapseFilter(), "keeps a state"),
        (layer.Delay(1), "keeps a state"),
        (layer.BatchNormThroughTime1d(4, T), "keeps a state"),
        (layer.TemporalEffectiveBatchNorm1d(T, 4), "scales every time step"),
        (layer.BatchNorm1d(4, track_running_stats=False), "statistics of single steps"),
        (layer.MultiStepContainer(layer.Linear(4, 4), node()), "one window late"),
        (nn.LayerNorm(4), "not known to be affine"),
        (nn.TransformerEncoderLayer(4, 1), "not known to be affine"),
        (nn.MultiheadAttention(4, 1), "not known to be affine"),
        (node(scale_output=True), "scaled by theta"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_names_modules_that_do_not_commute(module: nn.Module, reason: str) -> None:
    net = nn.Sequential(node(), module)
    assert any(reason in finding.reason and finding.name == "1" for finding in adapt(net).named)


def test_pool_follows_the_dataflow_not_the_order_of_modules() -> None:
    """The pool stands behind a node in the module tree but takes a sum."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.node = node()
            self.pool = layer.MaxPool2d(2)

        def forward(self, x: Tensor) -> Tensor:
            return self.pool(self.node(x) + x)

    net = Net()
    assert [entry.after for entry in adapt(net).replaced] == ["SpikePackValueMaxPool2d"]

    class Direct(Net):
        def forward(self, x: Tensor) -> Tensor:
            return self.pool(self.node(x))

    assert [entry.after for entry in adapt(Direct()).replaced] == ["SpikePackMaxPool2d"]


class Untraceable(nn.Module):
    """Asks for the rank of its input."""

    def __init__(self) -> None:
        super().__init__()
        self.node = node()
        self.pool = layer.MaxPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim != 5:
            raise ValueError(x.shape)
        return self.pool(self.node(x))


def test_example_answers_what_tracing_cannot() -> None:
    net = Untraceable()
    functional.set_step_mode(net, "m")
    report = adapt(copy.deepcopy(net))
    assert "TraceError" in report.trace_error
    assert not report.exact
    assert [entry.after for entry in report.replaced] == ["SpikePackValueMaxPool2d"]
    example = torch.rand(T, 1, 1, 4, 4)
    report = adapt(net, example)
    assert report.exact
    assert [entry.after for entry in report.replaced] == ["SpikePackMaxPool2d"]
    assert net.node.phase == 0
    assert net.training


def test_adapt_leaves_state_and_modes_alone() -> None:
    net = nn.Sequential(layer.Conv2d(1, 2, 3), layer.BatchNorm2d(2), node(leak=0.5), layer.MaxPool2d(2))
    functional.set_step_mode(net, "m")
    x = torch.rand(2 * T, 2, 1, 6, 6)
    net(x)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    carry = net[2].carry.clone()
    adapt(net, x)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(net[2].carry, carry)
    assert net[0].step_mode == "m"
    assert net[3].step_mode == "m"
    assert net.training


def test_subclass_of_a_known_block_is_named() -> None:
    class Mine(sew_resnet.BasicBlock):
        pass

    net = nn.Sequential(Mine(4, 4, cnf="AND", spiking_neuron=SpikePackNode, time_steps=T))
    report = adapt(net)
    assert "may override" in report.named[0].reason
    assert type(net[0]) is Mine


def test_binary_compressor_is_named() -> None:
    """SpikingJelly's bit compressor turns decoded values into 0 and 1 without a word."""
    for compressor, named in ((memopt.BitSpikeCompressor(), ["1"]), (CodeCompressor(T), []), (None, [])):
        inner = nn.Sequential(layer.Linear(4, 4), node())
        net = nn.Sequential(node(), memopt.checkpoint_module(inner, compressor=compressor))
        found = [finding for finding in adapt(net).named if "Compressor" in finding.reason]
        assert [finding.name for finding in found] == named


def test_registry_takes_new_types_once() -> None:
    class Mystery(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return 2 * x

    net = nn.Sequential(node(), Mystery())
    assert adapt(net).named[0].operation == "Mystery"

    def affine(_site: Site) -> Outcome:
        return keep()

    handles(Mystery)(affine)
    try:
        assert adapt(net).named == ()
        with pytest.raises(ValueError, match="already has a handler"):
            handles(Mystery)(affine)
    finally:
        del HANDLERS[Mystery]


def test_errors() -> None:
    with pytest.raises(UnsupportedError, match="adapt: net must hold at least one SpikePackNode, got Linear"):
        adapt(nn.Linear(2, 2))
    mixed = nn.Sequential(SpikePackNode(time_steps=2), SpikePackNode(time_steps=3))
    with pytest.raises(UnsupportedError, match="all nodes must share window and tau"):
        latency(mixed)
    with pytest.raises(
        UnsupportedError, match=r"latency: net must be traceable by torch\.fx, got Untraceable"
    ):
        latency(Untraceable())


class Joins(nn.Module):
    """A node of 2 digits and one of 4, read by something."""

    def __init__(self, join: Callable[[nn.Module, Tensor, Tensor], Tensor], **modules: nn.Module) -> None:
        super().__init__()
        self.short, self.long, self.join = SpikePackNode(2), SpikePackNode(4), join
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self, self.short(x), self.long(x))


CANNOT = {
    "the output": lambda _net, a, _b: a,
    "adds values of different scale": lambda net, a, b: net.fc(a + b),
    "which adds values of different scale": lambda net, a, b: net.fc(a + net.fc.bias) + net.fc(b),
    "is BatchNorm1d": lambda net, a, b: net.fc(net.norm(a)) + net.fc(b),
    "is SpikePackNode": lambda net, a, _b: net.fc(net.long(a)),
    "is called on codes of different time steps": lambda net, a, b: net.fc(a) + net.fc(b),
    "is matmul": lambda net, a, b: net.fc(torch.matmul(a, b)),
    "is linear": lambda net, a, b: torch.nn.functional.linear(a, net.fc.weight) + net.fc(b),
    "computes its weight": lambda net, a, b: net.made(a) + net.fc(b),
    "along another axis than the channels": lambda net, a, b: net.fc(torch.cat([a, b], dim=0)),
    "whose channels are not known": lambda net, a, b: net.fc(torch.cat([a, b], dim=1)),
}


@pytest.mark.parametrize("why", CANNOT)
def test_windows_that_no_weight_can_join(why: str) -> None:
    """Refused in one sentence that names the consumer; nothing has changed."""
    made = nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))
    net = Joins(CANNOT[why], fc=layer.Linear(2, 2), norm=layer.BatchNorm1d(2), made=made)
    before = copy.deepcopy(net.state_dict())
    with pytest.raises(UnsupportedError, match=f"{why}; put a synapse in between, or .* window=4") as caught:
        adapt(net)
    assert "\n" not in str(caught.value)
    assert [net.short.window, net.long.window] == [2, 4]
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_tied_weights_absorb_once_or_not_at_all() -> None:
    def join(net: Any, a: Tensor, b: Tensor) -> Tensor:
        return net.one(a) + net.two(a) + net.three(b)

    net = Joins(join, one=layer.Linear(2, 2), two=layer.Linear(2, 2), three=layer.Linear(2, 2)).double()
    net.two.weight = net.one.weight
    weight, other = net.one.weight.detach().clone(), net.three.weight.detach().clone()
    report = adapt(net)
    assert {entry.name for entry in report.replaced} == {"one", "two"}
    assert net.one.weight is net.two.weight
    assert torch.equal(net.one.weight, weight * 5)  # 15 / 3
    assert torch.equal(net.three.weight, other)
    net = Joins(join, one=layer.Linear(2, 2), two=layer.Linear(2, 2), three=layer.Linear(2, 2))
    net.three.weight = net.one.weight
    with pytest.raises(
        UnsupportedError, match="a weight that absorbs a window_gain must read codes of one T, got"
    ):
        adapt(net)
    assert net.short.window == 2


def test_outputs_in_real_units_need_no_factor() -> None:
    scaled = SpikePackNode(2, scale_output=True, form="packed")
    net = nn.Sequential(scaled, layer.Linear(2, 2), SpikePackNode(4, form="packed"), layer.Linear(2, 2))
    weight, x = net[1].weight.detach().clone(), torch.rand(3, 2)
    before = net(x)
    report = adapt(net)
    assert [entry.name for entry in report.named] == ["0"]
    assert scaled.window == 4
    assert torch.equal(net[1].weight, weight)
    assert torch.equal(net(x), before)


def test_functions_that_do_not_trace_keep_their_windows() -> None:
    net = nn.Sequential(SpikePackNode(2), Untraceable())
    with pytest.raises(
        UnsupportedError, match=r"give nodes of windows \[2, 3\] one window, got Sequential: Tr"
    ):
        adapt(nn.Sequential(net, SpikePackNode(3)))


def test_layers_and_delays_follow_the_nodes_to_another_window() -> None:
    """A window that grows after adapt: serial form is refused until adapt has been called again."""
    block = sew_resnet.BasicBlock(2, 2, cnf="ADD", spiking_neuron=SpikePackNode, time_steps=T)
    net = nn.Sequential(SpikePackNode(2, window=T), layer.MaxPool2d(2), block).eval()
    assert [delay.steps for delay in adapt(net).delays] == [2 * T]
    set_form(net, "packed")
    for module in net.modules():
        if isinstance(module, SpikePackNode):
            module.window = T + 3
    with pytest.raises(
        UnsupportedError, match=f"SpikeDelay .* must have the nodes' window of {T + 3} time steps"
    ):
        set_form(net, "serial")
    report = adapt(net)
    assert report.exact
    assert [delay.steps for delay in report.delays] == [2 * (T + 3)]
    assert report.latency == latency(net) == 3 * (T + 3)
    assert net[1].time_steps == T + 3
    set_form(net, "serial")
    net(torch.ones(1, 2, 4, 4))
    with pytest.raises(
        SpikePackError, match=f"time_steps must change between windows, got time_steps={T} after 1"
    ):
        net[1].time_steps = T


def test_balanced_network_survives_copy_pickle_and_training() -> None:
    """The delays of the single-step form travel with the network; other forms keep their own forward."""
    net = nn.Sequential(
        sew_resnet.BasicBlock(2, 2, cnf="ADD", spiking_neuron=SpikePackNode, time_steps=T)
    ).eval()
    report = adapt(net)
    assert [(delay.consumer, delay.steps) for delay in report.delays] == [("add", 2 * T)]
    assert report.latency == latency(net) == 2 * T
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1, 2, 4, 4, generator=generator)
    outputs = []
    for twin in (net, copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        with torch.no_grad():
            steps = [twin(x) for _ in range(3 * T)]
        outputs.append(decode_output(torch.stack(steps[2 * T :]), T))
        functional.reset_net(twin)
    assert torch.equal(outputs[0], outputs[1])
    assert torch.equal(outputs[0], outputs[2])
    functional.set_step_mode(net, "m")
    packed = set_form(net, "packed").train()(x.unsqueeze(0))
    packed.sum().backward()
    assert net[0].conv1.weight.grad is not None
    keys = set(net.state_dict())
    assert not any("delay" in key for key in keys)
    adapt(net)  # again: the old delays are replaced, not stacked
    assert set(net.state_dict()) == keys
    assert sum(isinstance(module, SpikeDelay) for module in net.modules()) == 1


@pytest.mark.parametrize("form", ["packed", "serial"])
def test_adapted_network_compiles_without_graph_breaks(form: str) -> None:
    block = sew_resnet.BasicBlock(2, 2, cnf="IAND", spiking_neuron=SpikePackNode, time_steps=T)
    net = nn.Sequential(layer.Conv2d(1, 2, 3), layer.MaxPool2d(2), node(), layer.MaxPool2d(2), block).eval()
    functional.set_step_mode(net, "m")
    assert adapt(net).exact
    set_form(net, form)
    x = torch.rand(1 if form == "packed" else T, 2, 1, 14, 14, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        expected = net(x)
        functional.reset_net(net)
        assert torch.equal(torch.compile(net, fullgraph=True, backend="aot_eager")(x), expected)
