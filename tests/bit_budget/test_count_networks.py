"""Whole networks: published totals, hand-counted nets, SpikingJelly's SNNs, quantized networks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.ao.quantization as ao
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.op_counter import DispatchCounterMode, FunctionCounterMode, SynOpCounter
from torch import Tensor, nn
from torchvision import models

from spikejelly_pack import BitBudgetCounter, LSQActivation, QCFSActivation, SpikePackNode, set_form
from spikejelly_pack.bit_budget import measure
from spikejelly_pack.bit_budget.quantize import quantize_weights


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


class PokeConv(nn.Module):
    """A binary convolution and the squeeze-and-excite that scales it (PokeBNN, arXiv 2112.00133)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.binary = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
        self.se1, self.se2 = nn.Conv2d(inputs, inputs // 8, 1), nn.Conv2d(inputs // 8, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale = self.se2(self.se1(x.mean((2, 3), keepdim=True)).relu())
        return self.binary(x) * scale


class PokeBNN(nn.Module):
    """The convolutions and the classifier of PokeBNN at its default size, as google/aqt builds them."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 32, 4, 4), nn.Conv2d(32, 64, 3, padding=1, groups=32))
        blocks: list[nn.Module] = []
        inputs = 64
        for features, stride, count in ((64, 1, 3), (128, 2, 4), (256, 2, 6), (512, 2, 3)):
            for index in range(count):
                first = stride if index == 0 else 1
                blocks += [
                    PokeConv(inputs, features, 1, 1),
                    PokeConv(features, features, 3, first),
                    PokeConv(features, 4 * features, 1, 1),
                ]
                inputs = 4 * features
        self.blocks = nn.Sequential(*blocks)
        self.dense = nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Tensor:
        return self.dense(self.blocks(self.stem(x)).mean((2, 3)))


def test_published_ace_of_pokebnn() -> None:
    """google/aqt, aqt/jax_legacy/jax/imagenet/pokebnn_test.py: conv_ace 4091469824, dense_ace 131072000.

    Bits there: stem and classifier 8 x 8, squeeze-and-excite 4 x 4, all other convolutions 1 x 1.
    """
    net = PokeBNN()
    bits = {"*": 8}
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d) and path.startswith("blocks"):
            bits[path] = 1 if path.endswith("binary") else 4
    report = measure(net, torch.rand(1, 3, 224, 224), weight_bits=bits, activation_bits=bits, strict=True)
    found = {c.path: c.s_ace for c in report.layers}
    assert found.pop("dense") == 131_072_000
    assert sum(found.values()) == 4_091_469_824


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "swin_t"])
def test_published_operations_of_torchvision(name: str) -> None:
    """Torchvision states the multiply-accumulates of its networks, in thousand millions at 224 x 224."""
    published = models.get_model_weights(name)["IMAGENET1K_V1"].meta["_ops"]
    report = measure(models.get_model(name, weights=None), torch.rand(1, 3, 224, 224), strict=True)
    assert round(report.macs / 1e9, 3) == published
    assert report.s_ace == report.macs * 1024


def spiking(make: Any) -> nn.Sequential:
    """Return a small multi-step SNN."""
    net = nn.Sequential(
        layer.Conv2d(2, 6, 3, padding=1, stride=2), make(),
        layer.Conv2d(6, 6, 3, groups=3, padding=1, bias=False), make(),
        layer.MaxPool2d(2), layer.Flatten(), layer.Linear(24, 5),
    ).eval()  # fmt: skip
    functional.set_step_mode(net, "m")
    return net


NEURONS: dict[str, Any] = {
    "IF": lambda: neuron.IFNode(v_threshold=0.1),
    "LIF": lambda: neuron.LIFNode(v_threshold=0.1),
    "PLIF": lambda: neuron.ParametricLIFNode(v_threshold=0.1),
    "KLIF": lambda: neuron.KLIFNode(v_threshold=0.1),
    "GLIF": lambda: neuron.GatedLIFNode(T=4),
}


@pytest.mark.parametrize("name", NEURONS)
def test_spikingjelly_networks(name: str) -> None:
    net, x = spiking(NEURONS[name]), torch.rand(4, 3, 2, 8, 8)
    report = measure(net, x, strict=True)
    theirs = SynOpCounter()
    functional.reset_net(net)
    with torch.no_grad(), DispatchCounterMode([theirs]):
        net(x)
    assert round(report.synops * 3, 6) == theirs.get_total() > 0
    macs = [6 * 16 * 18, 6 * 16 * 18, 24 * 5]
    assert [c.macs for c in report.layers] == macs
    assert [c.s_ace for c in report.layers] == [macs[0] * 4 * 32 * 32, macs[1] * 4 * 32, macs[2] * 4 * 32]
    assert [c.windows for c in report.layers] == [4, 4, 4]


def test_single_step_and_multi_step_are_one_cost() -> None:
    net, x = spiking(NEURONS["LIF"]), torch.rand(1, 3, 2, 8, 8)
    multi = measure(net, x.expand(4, -1, -1, -1, -1).clone())
    functional.set_step_mode(net, "s")
    single = measure(net, x[0], steps=4)
    assert [(c.s_ace, c.digit_events, c.windows) for c in single.layers] == [
        (c.s_ace, c.digit_events, c.windows) for c in multi.layers
    ]
    assert single.spikes == multi.spikes
    assert single.memory == multi.memory
    assert single.memory.state == 2 * 6 * 16 * 32  # two potentials per place


def test_multi_level_and_ternary_spikes() -> None:
    four = surrogate.MultiLevelSpikeCount(4)
    net = nn.Sequential(
        neuron.ILIFNode(surrogate_function=four, step_mode="m"), layer.Linear(6, 5, step_mode="m")
    )
    x = torch.rand(2, 3, 6) * 5
    (cost,) = measure(net, x).layers
    counts = net[0](x)
    assert float(counts.max()) > 1
    functional.reset_net(net)
    assert cost.s_ace == 30 * 2 * 3 * 32  # counts 0..4 take three bits
    ones = sum(bin(int(value)).count("1") for value in counts.flatten())
    assert cost.digit_events == pytest.approx(ones * 5 / 3)
    ternary = nn.Sequential(neuron.TernaryIFNode(v_threshold=0.3, v_reset=None), layer.Linear(6, 5))
    (cost,) = measure(ternary, torch.randn(3, 6)).layers
    assert cost.operands[0].signed
    assert cost.s_ace == 30 * 2 * 32  # a sign and a digit


def test_a_sum_of_trains_passes_the_synapse_train_by_train() -> None:
    class Sum(nn.Module):
        def __init__(self, both: bool) -> None:
            super().__init__()
            self.a, self.b = neuron.IFNode(v_threshold=0.3), neuron.IFNode(v_threshold=0.6)
            self.fc, self.both = nn.Linear(6, 5), both

        def forward(self, x: Tensor) -> Tensor:
            if self.both:
                return self.fc(self.a(x) + 0.5 * self.b(x))
            return self.fc(self.a(x)) + self.fc(self.b(x))

    x = torch.rand(3, 6)
    together, apart = measure(Sum(True), x, strict=True), measure(Sum(False), x, strict=True)
    assert together.s_ace == apart.s_ace == 2 * 30 * 32
    assert together.synops == pytest.approx(apart.synops)
    assert together.ns_ace == pytest.approx(apart.ns_ace)
    assert together.layers[0].operands[0].sources == ("a", "b")


def test_a_mean_over_time_still_holds_every_step() -> None:
    class Net(nn.Module):
        def __init__(self, early: bool) -> None:
            super().__init__()
            self.node, self.fc, self.early = (
                neuron.IFNode(v_threshold=0.4, step_mode="m"),
                nn.Linear(6, 5),
                early,
            )

        def forward(self, x: Tensor) -> Tensor:
            spikes = self.node(x)
            return self.fc(spikes.mean(0)) if self.early else self.fc(spikes).mean(0)

    x = torch.rand(4, 3, 6)
    early, late = measure(Net(True), x), measure(Net(False), x)
    assert early.s_ace == late.s_ace == 30 * 4 * 32
    assert early.synops == pytest.approx(late.synops)


def test_neurons_that_multiply_inside_are_listed() -> None:
    net = nn.Sequential(layer.Linear(6, 5), neuron.PSN(T=4), layer.Linear(5, 2))
    functional.set_step_mode(net, "m")
    report = measure(net, torch.rand(4, 3, 6))
    assert report.inside == {"1": 4 * 4 * 3 * 5}
    assert [c.path for c in report.layers] == ["0", "2"]
    assert "inside neurons, outside S-ACE: 1, 240" in str(report)


@pytest.mark.parametrize(
    "make", [NEURONS["LIF"], lambda: SpikePackNode(3), lambda: SpikePackNode(3, form="packed")]
)
def test_both_counter_modes_agree(make: Any) -> None:
    net, x = spiking(make), torch.rand(3, 2, 2, 8, 8)
    totals = []
    for mode in (DispatchCounterMode, FunctionCounterMode):
        counter = BitBudgetCounter()
        functional.reset_net(net)
        with torch.no_grad(), mode([counter]):
            net(x)
        totals.append((counter.get_total(), [(r.digit_events, r.word_events) for r in counter.rows]))
    assert totals[0] == totals[1]


QUANTIZERS = {"LSQ": lambda: LSQActivation(4, step=0.1), "QCFS": lambda: QCFSActivation(15)}


@pytest.mark.parametrize("name", QUANTIZERS)
def test_quantized_activations(name: str) -> None:
    net = nn.Sequential(nn.Linear(6, 5), QUANTIZERS[name](), nn.Linear(5, 2)).eval()
    report = measure(net, torch.rand(3, 6), input_bits=8, strict=True)
    assert [c.s_ace for c in report.layers] == [30 * 8 * 32, 10 * 4 * 32]
    assert report.ns_ace == report.s_ace
    assert report.layers[1].operands[0].kind == "codes"


@pytest.mark.parametrize("bits", [1, 2, 5, 12])
def test_quantized_weights(bits: int) -> None:
    net = nn.Sequential(nn.Linear(6, 5), neuron.IFNode(v_threshold=0.2), nn.Linear(5, 2))
    quantize_weights(net, {"2": bits})
    report = measure(net, torch.rand(3, 6), strict=True)
    assert [c.weight_bits for c in report.layers] == [32, bits]
    assert report.layers[1].s_ace == 10 * bits
    assert report.memory.weights == 30 * 32 + 10 * bits
    assert report.memory.others == (7 + 2) * 32  # biases, and the scales of the two output channels


def test_fake_quantized_networks() -> None:
    net = nn.Sequential(ao.QuantStub(), nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3)).train()
    vars(net)["qconfig"] = ao.get_default_qat_qconfig("fbgemm")
    ao.prepare_qat(net, inplace=True)
    net(torch.rand(2, 2, 8, 8))
    net.eval().apply(ao.disable_observer)
    report = measure(net, torch.rand(2, 2, 8, 8), strict=True)
    # quint8 with reduce_range: codes 0..127 of 7 bits; weights -128..127
    assert [(c.operands[0].kind, c.operands[0].bits, c.weight_bits) for c in report.layers] == [
        ("codes", 7, 8),
        ("codes", 7, 8),
    ]
    assert report.s_ace == (4 * 36 * 18 + 3 * 16 * 36) * 56


@pytest.mark.parametrize("tau", [2.0, 1.6])
@pytest.mark.parametrize("signed", [False, True])
def test_rates_are_those_of_the_codes(tau: float, signed: bool) -> None:
    node = SpikePackNode(5, tau=tau, signed=signed, v_threshold=1.3, scale_output=True, form="packed")
    net = nn.Sequential(node, nn.Linear(50, 1)).double()
    x = torch.randn(8, 50).double()
    (cost,) = measure(net, x, strict=True).layers
    codes = node.encode(x).to(torch.int64).abs()
    ones = sum(bin(int(code)).count("1") for code in codes.flatten())
    assert cost.rate("digit") == pytest.approx(ones / (8 * 50 * 5))
    assert cost.rate("word") == pytest.approx(float((codes != 0).double().mean()))


def test_forms_of_a_learned_threshold_per_channel() -> None:
    node = SpikePackNode(3, v_threshold=[0.5, 1.0, 2.0], learnable_threshold="channel", scale_output=True)
    set_form(node, "packed")
    net = nn.Sequential(node, nn.Conv2d(3, 2, 1))
    (cost,) = measure(net, torch.rand(2, 3, 4, 4), strict=True).layers
    assert cost.operands[0].kind == "spikes"
    assert cost.s_ace == 2 * 3 * 16 * 3 * 32
