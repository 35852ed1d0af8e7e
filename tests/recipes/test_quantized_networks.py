"""Networks trained with quantized activations, and the SpikePack networks they become: the same floats."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
import torch.ao.quantization as ao
import torch.nn.functional as F
from sklearn.datasets import load_digits
from spikingjelly.activation_based import ann2snn, functional
from torch import Tensor, nn

from spikejelly_pack import decode_output, latency, set_form
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.recipes import LSQActivation, QCFSActivation, SpikePackQuantizedRecipe

DTYPES = (torch.float32, torch.float64)
FAKE = {"fake": ao.FakeQuantize, "fused": ao.FusedMovingAvgObsFakeQuantize}
BITS = {"qcfs 3": 2, "qcfs 7": 3, "qcfs 15": 4, "lsq 2": 2, "lsq 3": 3, "lsq 4": 4}


class Network(nn.Module):
    """BatchNorm kept, a rectifier in front of a quantizer, both poolings, a skip connection."""

    def __init__(self, quantizer: Any) -> None:
        super().__init__()
        self.encoder, self.act1, self.act2, self.act3 = (quantizer() for _ in range(4))
        self.conv1, self.norm = nn.Conv2d(1, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.conv3 = nn.Conv2d(8, 8, 3, padding=1), nn.Conv2d(8, 16, 3, padding=1)
        self.relu, self.avg, self.max, self.fc = (
            nn.ReLU(),
            nn.AvgPool2d(2),
            nn.MaxPool2d(2),
            nn.Linear(64, 10),
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm(self.conv1(self.encoder(x))))
        x = self.avg(self.act2(self.relu(self.conv2(x) + x)))
        return self.fc(self.act3(self.max(self.relu(self.conv3(x)))).flatten(1))


class Eager(nn.Module):
    """A network as torch.ao's eager mode wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv1, self.relu1 = nn.Conv2d(1, 8, 3, padding=1), nn.ReLU()
        self.conv2, self.relu2 = nn.Conv2d(8, 8, 3, padding=1), nn.ReLU()
        self.add, self.max = torch.ao.nn.quantized.FloatFunctional(), nn.MaxPool2d(2)
        self.fc = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.conv1(self.quant(x)))
        x = self.add.add(self.relu2(self.conv2(x)), x)
        return self.dequant(self.fc(self.max(x).flatten(1)))


def eager(kind: type, activation: Any = None) -> nn.Module:
    fake = kind.with_args(
        observer=ao.MovingAverageMinMaxObserver, quant_min=0, quant_max=255, dtype=torch.quint8,
        qscheme=torch.per_tensor_affine,
    )  # fmt: skip
    net = ao.fuse_modules_qat(Eager().train(), [["conv1", "relu1"], ["conv2", "relu2"]])
    weight = ao.default_per_channel_weight_fake_quant
    net.qconfig = ao.QConfig(activation=fake, weight=weight)
    net.fc.qconfig = ao.QConfig(activation=activation or nn.Identity, weight=weight)
    return ao.prepare_qat(net)


@torch.enable_grad()
def train(net: nn.Module) -> nn.Module:
    data = load_digits()
    images, labels = torch.from_numpy(data.images).float()[:1200, None] / 16, torch.from_numpy(data.target)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(4):
        for index in torch.randperm(1200).split(60):
            loss = F.cross_entropy(net(images[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval()


@functools.cache
def trained(network: str) -> nn.Module:
    torch.manual_seed(3)
    family, _, number = network.partition(" ")
    if family in FAKE:
        return train(eager(FAKE[family])).apply(ao.disable_observer)
    quantizer = QCFSActivation if family == "qcfs" else LSQActivation
    return train(Network(lambda: quantizer(int(number))))


def typed(net: nn.Module, dtype: torch.dtype) -> nn.Module:
    """The network in ``dtype``; torch's fake quantization wants its scales in float32 all the same."""
    net = net.to(dtype)
    for module in net.modules():
        if isinstance(module, ao.FakeQuantizeBase):
            module.scale = module.scale.float()
    return net


def convert(net: nn.Module, *batches: Tensor, **options: Any) -> Any:
    recipe = SpikePackQuantizedRecipe(list(batches), progress=False, **options)
    return ann2snn.Converter(recipe).convert(net)


@torch.no_grad()
def codes(snn: nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Codes of every node in packed form."""
    found: dict[str, Tensor] = {}

    def keep(path: str, node: SpikePackNode, output: Tensor) -> None:
        found[path] = (output * node.params.max_code).round().long()

    hooks = [
        module.register_forward_hook(lambda node, _x, output, path=path: keep(path, node, output))
        for path, module in snn.named_modules()
        if isinstance(module, SpikePackNode)
    ]
    snn(x)
    for hook in hooks:
        hook.remove()
    return found


@torch.no_grad()
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("network", BITS)
def test_packed_form_repeats_the_floats(network: str, dtype: torch.dtype, digits: Any) -> None:
    """Ties too: these quantizers round as the node does."""
    net, x = typed(trained(network), dtype), digits[1].to(dtype)
    expected = net(x)
    assert float((expected.argmax(1) == digits[2]).float().mean()) > 0.8
    snn = convert(net, x[:100])
    assert torch.equal(snn(x), expected)
    bits = BITS[network]
    nodes = [module for module in snn.modules() if isinstance(module, SpikePackNode)]
    assert [node.time_steps for node in nodes] == [bits] * 4
    assert snn.report.coverage == 1.0
    assert set(snn.report.ties.values()) == {0}
    assert not any(isinstance(module, (nn.ReLU, QCFSActivation, LSQActivation)) for module in snn.modules())


@torch.no_grad()
@pytest.mark.parametrize("network", FAKE)
def test_fake_quantized_network(network: str, digits: Any) -> None:
    """Eight bits, T = 8. float64: equal. float32: equal where no value lies on a tie."""
    for dtype in DTYPES:
        net, x = typed(trained(network), dtype), digits[1].to(dtype)
        expected, snn = net(x), convert(net, x)
        assert float((expected.argmax(1) == digits[2]).float().mean()) > 0.8
        assert {entry.time_steps for entry in snn.report.layers} == {8}
        assert snn.report.coverage == 1.0
        ties = sum(snn.report.ties.values())
        changed = int((snn(x) != expected).any(1).sum())
        assert changed <= ties
        if dtype is torch.float64:
            assert ties == 0
        # half of the ties round otherwise; a float32 code below 256 has at least 16 bits behind the point
        assert ties <= 20 * sum(snn.report.compared.values()) * 2.0**-17


@torch.no_grad()
@pytest.mark.parametrize("network", [*BITS, *FAKE])
@pytest.mark.parametrize("fold", [False, True])
def test_serial_forms_spike_the_same_codes(network: str, fold: bool, digits: Any, tolerance: Any) -> None:
    """float64: the same codes in every node, packed and spike by spike; outputs to rounding."""
    net, x = typed(trained(network), torch.float64), digits[1][:60].double()
    expected = net(x)
    reference = codes(convert(net, x[:20]), x)
    snn = convert(net, x[:20], fold=fold)
    assert all(torch.equal(found, reference[path]) for path, found in codes(snn, x).items())
    steps = snn.report.time_steps
    spikes: dict[str, Tensor] = {}
    for path, node in snn.named_modules():
        if isinstance(node, SpikePackNode):
            node.register_forward_hook(lambda _n, _x, out, path=path: spikes.__setitem__(path, out))
    functional.set_step_mode(set_form(snn, "serial"), "m")
    decoded = decode_output(snn(x.expand(steps, *x.shape)), steps)
    for path, train_of_spikes in spikes.items():
        assert set(train_of_spikes.unique().tolist()) <= {0.0, 1.0}
        read = (decode_output(train_of_spikes, steps) * (2**steps - 1)).round().long()[0]
        assert torch.equal(read, reference[path])
    # torch's fake quantization scales its output in float32
    kind = torch.float32 if network in FAKE else torch.float64
    magnitude = float(net.fc.weight.abs().sum(1).max()) * 10 * float(x.abs().max() + 1)
    assert float((decoded[0] - expected).abs().max()) <= tolerance(kind).between(200, magnitude)


@torch.no_grad()
def test_single_step_form_is_balanced(digits: Any) -> None:
    """The skip branch waits for its node: outputs come after the latency, T steps per node."""
    net, x = typed(trained("lsq 2"), torch.float64), digits[1][:20].double()
    snn = set_form(convert(net, x), "serial")
    functional.set_step_mode(snn, "s")
    waited = latency(snn)
    out = torch.stack([snn(x) for _ in range(waited + 2)])
    torch.testing.assert_close(decode_output(out[waited:], 2)[0], net(x))


def test_the_source_network_stays(digits: Any) -> None:
    net = typed(trained("fake"), torch.float32)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with torch.no_grad():
        expected = net(digits[1])
        convert(net, digits[1][:10])
        assert torch.equal(net(digits[1]), expected)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert type(net.conv1).__name__ == "ConvReLU2d"


@torch.no_grad()
def test_folded_network_has_thresholds_in_real_units(digits: Any) -> None:
    """The threshold is s (2^b - 1): what the integer form reads."""
    net, x = typed(trained("lsq 3"), torch.float64), digits[1][:20].double()
    snn = convert(net, x, fold=True)
    for path, module in snn.named_modules():
        if isinstance(module, SpikePackNode):
            step = float(net.get_submodule(path).s)
            assert float(module.theta) == pytest.approx(step * 7, rel=1e-15)
    assert not [path for path, _ in snn.named_modules() if path.endswith(("_charge", "_amplitude"))]
