"""Layers that quantization-aware training fused with their BatchNorm, and what they become."""

from __future__ import annotations

import copy
import functools
from typing import Any

import numpy as np
import pytest
import torch
import torch.ao.nn.intrinsic.qat as nniqat
import torch.ao.quantization as ao
import torch.nn.functional as F
from sklearn.datasets import load_digits
from spikingjelly.activation_based import ann2snn, functional
from torch import Tensor, nn

from spikejelly_pack import decode_output, set_form
from spikejelly_pack.integer import build_integer
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.recipes import SpikePackQuantizedRecipe
from spikejelly_pack.spec.errors import UnsupportedError
from spikejelly_pack.spec.execute import encode, run_packed


class Fused(nn.Module):
    """Convolution, BatchNorm, ReLU; without bias, with bias, without ReLU; a skip connection."""

    def __init__(self) -> None:
        super().__init__()
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.conv1, self.norm1, self.relu1 = (
            nn.Conv2d(1, 6, 3, 2, 1, bias=False),
            nn.BatchNorm2d(6),
            nn.ReLU(),
        )
        self.conv2, self.norm2, self.relu2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU()
        self.fc1, self.relu3, self.fc2 = nn.Linear(96, 24), nn.ReLU(), nn.Linear(24, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu1(self.norm1(self.conv1(self.quant(x))))
        x = self.relu2(self.norm2(self.conv2(x)))
        return self.dequant(self.fc2(self.relu3(self.fc1(x.flatten(1)))))


def prepared(bits: int = 8) -> nn.Module:
    fake = ao.FakeQuantize.with_args(
        observer=ao.MovingAverageMinMaxObserver, quant_min=0, quant_max=2**bits - 1, dtype=torch.quint8,
        qscheme=torch.per_tensor_affine,
    )  # fmt: skip
    groups = [["conv1", "norm1", "relu1"], ["conv2", "norm2", "relu2"], ["fc1", "relu3"]]
    net = ao.fuse_modules_qat(Fused().train(), groups)
    weight = ao.default_per_channel_weight_fake_quant
    net.qconfig = ao.QConfig(activation=fake, weight=weight)
    net.fc2.qconfig = ao.QConfig(activation=nn.Identity, weight=weight)
    return ao.prepare_qat(net)


@functools.cache
@torch.enable_grad()
def trained(bits: int = 8) -> nn.Module:
    torch.manual_seed(5)
    net = prepared(bits)
    data: Any = load_digits()
    images, labels = torch.from_numpy(data.images).float()[:1200, None] / 16, torch.from_numpy(data.target)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(3):
        for index in torch.randperm(1200).split(60):
            loss = F.cross_entropy(net(images[index]), labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net.eval().apply(ao.disable_observer)


def typed(net: nn.Module, dtype: torch.dtype) -> Any:
    net = copy.deepcopy(net).to(dtype)
    for module in net.modules():
        if isinstance(module, ao.FakeQuantizeBase):
            module.scale = module.scale.float()
    return net


def convert(net: nn.Module, x: Tensor, **options: Any) -> Any:
    return ann2snn.Converter(SpikePackQuantizedRecipe([x], progress=False, **options)).convert(net)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_packed_form_repeats_the_floats(dtype: torch.dtype, digits: Any) -> None:
    """The factor of the BatchNorm is undone and applied as torch.ao does it: equal to the last bit."""
    net, x = typed(trained(), dtype), digits[1].to(dtype)
    assert {type(net.conv1), type(net.conv2)} == {nniqat.ConvBnReLU2d}
    expected, snn = net(x), convert(net, x)
    assert float((expected.argmax(1) == digits[2]).float().mean()) > 0.8
    ties = sum(snn.report.ties.values())
    assert int((snn(x) != expected).any(1).sum()) <= ties
    assert snn.report.coverage == 1.0
    if dtype is torch.float64:
        assert ties == 0


@torch.no_grad()
def test_folded_layer_has_the_same_codes(digits: Any, tolerance: Any) -> None:
    """One convolution with a bias, packed and spike by spike."""
    net, x = typed(trained(), torch.float64), digits[1][:60].double()
    expected, snn = net(x), convert(net, x, fold=True)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in snn.modules())
    # torch's fake quantization scales its output in float32
    magnitude = float(net.fc2.weight.abs().sum(1).max()) * 10
    bound = tolerance(torch.float32).between(200, magnitude)
    assert float((snn(x) - expected).abs().max()) <= bound
    functional.set_step_mode(set_form(snn, "serial"), "m")
    decoded = decode_output(snn(x.expand(8, *x.shape)), 8)
    assert float((decoded[0] - expected).abs().max()) <= bound


@torch.no_grad()
def test_serial_form_keeps_the_operations(digits: Any, tolerance: Any) -> None:
    """Factor, bias and BatchNorm act on every step."""
    net, x = typed(trained(), torch.float64), digits[1][:60].double()
    snn = convert(net, x)
    functional.set_step_mode(set_form(snn, "serial"), "m")
    decoded = decode_output(snn(x.expand(8, *x.shape)), 8)
    magnitude = float(net.fc2.weight.abs().sum(1).max()) * 10
    assert float((decoded[0] - net(x)).abs().max()) <= tolerance(torch.float32).between(200, magnitude)


def nodes_of(snn: nn.Module) -> list[tuple[str, Any]]:
    return [(path, node) for path, node in snn.named_modules() if isinstance(node, SpikePackNode)]


@torch.no_grad()
def test_exact_integer_form(digits: Any) -> None:
    """The fused weight is integers times one scale per channel: the integer form has the network's codes."""
    net, x = typed(trained(4), torch.float64), digits[1][:80].double()
    snn: Any = convert(net, x, fold=True)
    expected: dict[str, Any] = {}
    hooks = [
        node.register_forward_hook(
            lambda node, args, _out, path=path: expected.__setitem__(path, node.encode(args[0]).numpy())
        )
        for path, node in nodes_of(snn)
    ]
    snn(x)
    for hook in hooks:
        hook.remove()
    network = build_integer(snn, x[:1], weight_bits=16, state_bits=32, exact=True)
    codes = run_packed(network, encode(network.inputs[0], x.numpy()))
    assert set(expected) == {op.name for op in [*network.inputs, *network.neurons]}
    for path, code in expected.items():
        np.testing.assert_array_equal(codes[path].astype(np.int64), code.astype(np.int64), err_msg=path)


@torch.no_grad()
def test_layers_by_themselves() -> None:
    """Every fused type: its own output, bit for bit, bias or none, any factor's sign."""
    torch.manual_seed(0)
    line, plane, space = torch.randn(2, 3, 9), torch.randn(2, 3, 9, 9), torch.randn(2, 3, 5, 5, 5)
    cases = [
        (nniqat.ConvBn1d, (3, 4, 3), line), (nniqat.ConvBnReLU1d, (3, 4, 3), line),
        (nniqat.ConvBn2d, (3, 4, 3), plane), (nniqat.ConvBnReLU2d, (3, 4, 3), plane),
        (nniqat.ConvBn3d, (3, 4, 3), space), (nniqat.ConvBnReLU3d, (3, 4, 3), space),
        (nniqat.LinearBn1d, (5, 4), torch.randn(6, 5)),
    ]  # fmt: skip
    for kind, sizes, x in cases:
        for bias in (False, True):
            check_layer(kind(*sizes, bias=bias, qconfig=ao.get_default_qat_qconfig("x86")), x)


def check_layer(layer: Any, x: Tensor) -> None:
    # torch.ao leaves some of these in uninitialised memory (LinearBn1d: weight and bias)
    for tensor in (*layer.parameters(), layer.bn.running_mean):
        tensor.copy_(torch.randn(tensor.shape))
    layer.bn.running_var.copy_(torch.rand(4) + 0.1)
    layer.train()(x)
    layer.eval().apply(ao.disable_observer)
    fake = ao.FakeQuantize(quant_min=-15, quant_max=15, dtype=torch.qint8, qscheme=torch.per_tensor_symmetric)
    fake.scale, fake.zero_point = torch.tensor([0.23]), torch.tensor([0], dtype=torch.int32)
    fake.apply(ao.disable_observer)
    last = ao.FakeQuantize(quant_min=0, quant_max=15, dtype=torch.quint8).apply(ao.disable_observer)
    last.scale, last.zero_point = torch.tensor([0.31]), torch.tensor([0], dtype=torch.int32)
    net = nn.Sequential(fake, layer, last).eval()
    snn = convert(net, x)
    assert sum(snn.report.ties.values()) == 0
    assert torch.equal(snn(x), net(x)), type(layer)
    flips = (convert(net, x, fold=True)(x) - net(x)).abs() > 1e-4
    assert float(flips.float().mean()) <= 0.02, type(layer)


@torch.no_grad()
def test_weight_quantizer_must_be_frozen(digits: Any) -> None:
    with pytest.raises(
        UnsupportedError, match=r"layer 'conv1\.weight_fake_quant': fake quantization must be on"
    ):
        convert(prepared().eval(), digits[1][:10])
