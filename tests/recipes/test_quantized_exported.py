"""Exported graphs with quantize and dequantize operators (PT2E), and the SpikePack networks they become."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.ao.quantization.fx._decomposed
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from spikingjelly.activation_based import ann2snn, functional
from torch import Tensor, nn

from spikejelly_pack import decode_output, set_form
from spikejelly_pack.neuron import SpikePackNode
from spikejelly_pack.recipes import SpikePackQuantizedRecipe
from spikejelly_pack.recipes.quantized_site import QuantizerSite
from spikejelly_pack.recipes.quantizers.exported import DecomposedQuantizer, is_exported
from spikejelly_pack.spec.errors import UnsupportedError

OPS = torch.ops.quantized_decomposed


def coded(x: Tensor, scale: float, zero: int = 0, low: int = 0, high: int = 255) -> Tensor:
    """A pair as convert_pt2e writes it."""
    kind = torch.uint8 if low == 0 else torch.int8
    integers = OPS.quantize_per_tensor(x, scale, zero, low, high, kind)
    return OPS.dequantize_per_tensor(integers, scale, zero, low, high, kind)


class Network(nn.Module):
    """Weights per channel and per tensor, poolings, a skip connection, dropout, a zero point of -128."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(4)
        self.register_buffer("w1", torch.randint(-127, 128, (6, 1, 3, 3), generator=generator).to(torch.int8))
        self.register_buffer("w2", torch.randint(-127, 128, (6, 6, 3, 3), generator=generator).to(torch.int8))
        self.register_buffer("s1", torch.rand(6, generator=generator) / 300)
        self.register_buffer("z1", torch.zeros(6, dtype=torch.long))
        self.b1, self.b2 = nn.Parameter(torch.randn(6, generator=generator) / 5), nn.Parameter(torch.zeros(6))
        self.fc, self.drop = nn.Linear(24, 10), nn.Dropout(0.5)

    def forward(self, x: Tensor) -> Tensor:
        w1 = OPS.dequantize_per_channel(self.w1, self.s1, self.z1, 0, -127, 127, torch.int8)
        w2 = OPS.dequantize_per_tensor(self.w2, 0.0021, 0, -127, 127, torch.int8)
        x = coded(x, 1 / 255)
        x = F.max_pool2d(coded(F.relu(F.conv2d(x, w1, self.b1, padding=1)), 0.009, -128, -128, 127), 2)
        x = coded(F.relu(F.conv2d(x, w2, self.b2, padding=1) + x), 0.0087)
        return self.fc(self.drop(torch.flatten(F.avg_pool2d(x, 2), 1)))


def exported(net: nn.Module, x: Tensor) -> Any:
    dynamic = ({0: torch.export.Dim("n")},)
    return torch.export.export(net.eval(), (x[:2],), dynamic_shapes=dynamic).module()


def convert(net: nn.Module, x: Tensor, **options: Any) -> Any:
    return ann2snn.Converter(SpikePackQuantizedRecipe([x], progress=False, **options)).convert(net)


@pytest.fixture(scope="module")
def graph(digits: Any) -> Any:
    torch.manual_seed(0)
    return exported(Network(), digits[1])


@torch.no_grad()
def test_packed_form_repeats_the_floats(graph: Any, digits: Any) -> None:
    x = digits[1]
    assert is_exported(graph)
    expected, snn = graph(x), convert(graph, x)
    ties = sum(snn.report.ties.values())
    assert int((snn(x) != expected).any(1).sum()) <= ties
    assert ties <= 20 * sum(snn.report.compared.values()) * 2.0**-17
    assert [node.time_steps for node in snn.modules() if isinstance(node, SpikePackNode)] == [8, 8, 8]
    assert snn.report.coverage == 1.0
    assert torch.equal(graph(x), expected)


@torch.no_grad()
def test_folded_and_serial_forms(graph: Any, digits: Any, tolerance: Any) -> None:
    """Weights of the graph, spike by spike; a code at rounding may differ by one step."""
    x = digits[1][:30]
    expected, snn = graph(x), convert(graph, x, fold=True)
    functional.set_step_mode(set_form(snn, "serial"), "m")
    decoded = decode_output(snn(x.expand(8, *x.shape)), 8)[0]
    # one code of the last node off by one LSB, through its pool and the linear layer
    flip = 0.0087 / 4 * float(graph.fc.weight.abs().max())
    rounding = tolerance(torch.float32).between(2000, float(expected.abs().max()) * 10)
    assert float((decoded - expected).abs().max()) <= 2 * flip + rounding


@given(
    scale=st.floats(2.0**-10, 2.0**10), low=st.sampled_from([0, -128]), bits=st.integers(1, 8),
)  # fmt: skip
@torch.no_grad()
def test_pair_is_a_node_off_ties(scale: float, low: int, bits: int) -> None:
    """Every code, and the floats beside every middle between two codes."""
    top = 2**bits - 1
    kind = torch.uint8 if low == 0 else torch.int8
    pair = (OPS.quantize_per_tensor.default, OPS.dequantize_per_tensor.default)
    module = DecomposedQuantizer(*pair, scale, low, low, low + top, kind)
    halves = torch.arange(-4, 2 * top + 5, dtype=torch.float32) / 2 * scale
    x = torch.cat([halves, halves * (1 + 1e-6), halves * (1 - 1e-6)])[None]
    site = QuantizerSite("act", module)
    site.spec = module.spikepack_quantizer("act", nonnegative=False)
    assert site.description.time_steps == bits
    site(x)  # compares, and refuses what is no tie
    assert site.different <= halves.numel()
    assert len(module(x).unique()) == top + 1


class Odd(nn.Module):
    """One operation between a quantizer and a linear layer."""

    def __init__(self, function: Callable[..., Any], **pair: Any) -> None:
        super().__init__()
        self.function, self.pair, self.fc = function, pair, nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Any:
        return self.function(self.fc(coded(x, 0.01, **self.pair).flatten(1)))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "operator": (lambda: Odd(torch.sigmoid), r"operation 'sigmoid' \(aten::sigmoid\) of the exported"),
    "constant": (lambda: Odd(lambda y: y + torch.ones(3)), r"\(aten::add\) .* must join values of the"),
    "two outputs": (lambda: Odd(lambda y: (y, y + y)), "must have one output, got 2"),
    "zero point": (lambda: Odd(nn.Identity(), zero=7), r"got -7\.\.248"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refusals_are_one_sentence(case: str, digits: Any) -> None:
    make, text = REFUSED[case]
    with pytest.raises(UnsupportedError, match=text) as caught:
        convert(exported(make(), digits[1]), digits[1][:8])
    assert str(caught.value).endswith(".")


class Quantizer:
    """Annotates as a user does: the input and every ReLU unsigned, weights per channel."""

    def __init__(self, api: Any) -> None:
        pt2e = importlib.import_module("torchao.quantization.pt2e")
        made = pt2e.FakeQuantize.with_args
        self.api = api
        self.activation = api.QuantizationSpec(
            torch.uint8, made(observer=pt2e.MovingAverageMinMaxObserver), 0, 255,
            torch.per_tensor_affine,
        )  # fmt: skip
        self.weight = api.QuantizationSpec(
            torch.int8, made(observer=pt2e.PerChannelMinMaxObserver), -127, 127,
            torch.per_channel_symmetric, 0,
        )  # fmt: skip

    def transform_for_annotation(self, model: Any) -> Any:
        return model

    def validate(self, model: Any) -> None:
        pass

    def prepare_obs_or_fq_callback(self, *_args: Any) -> None:
        pass

    def annotate(self, model: Any) -> Any:
        for node in model.graph.nodes:
            weights = {}
            if node.target in {torch.ops.aten.conv2d.default, torch.ops.aten.linear.default}:
                weights = {node.args[0]: None, node.args[1]: self.weight}
            coded_here = node.op == "placeholder" and node.name == "x"
            coded_here = coded_here or node.target is torch.ops.aten.relu.default
            node.meta["quantization_annotation"] = self.api.QuantizationAnnotation(
                input_qspec_map=weights, output_qspec=self.activation if coded_here else None, _annotated=True
            )
        return model


class Trained(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(1, 6, 3, 2, 1, bias=False), nn.BatchNorm2d(6)
        self.conv2, self.norm2 = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.fc = nn.Linear(96, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.norm1(self.conv1(x)))
        return self.fc(torch.flatten(F.relu(self.norm2(self.conv2(x)) + x), 1))


def test_network_trained_by_torchao(digits: Any) -> None:
    """prepare_qat_pt2e, training, convert_pt2e, and as many time steps as it has bits."""
    api = pytest.importorskip("torchao.quantization.pt2e.quantizer")
    pt2e = importlib.import_module("torchao.quantization.pt2e.quantize_pt2e")
    torch.manual_seed(0)
    _, x, labels = digits
    dynamic = ({0: torch.export.Dim("n")},)
    graph = torch.export.export(Trained().train(), (x[:4],), dynamic_shapes=dynamic).module()
    prepared = pt2e.prepare_qat_pt2e(graph, Quantizer(api))
    optimizer = torch.optim.Adam(prepared.parameters(), 1e-2)
    for _ in range(4):
        for index in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(prepared(x[index]), labels[index]).backward()
            optimizer.step()
    with torch.no_grad(), pytest.raises(UnsupportedError, match="apply convert_pt2e to the trained network"):
        convert(prepared, x)
    quantized = pt2e.convert_pt2e(prepared)
    with torch.no_grad():
        expected, snn = quantized(x), convert(quantized, x)
        assert float((expected.argmax(1) == labels).float().mean()) > 0.8
        assert int((snn(x) != expected).any(1).sum()) <= sum(snn.report.ties.values())
    assert [entry.time_steps for entry in snn.report.layers] == [8, 8, 8]
    assert snn.report.coverage == 1.0
