"""Report, saving, and bad input of the recipe."""

from __future__ import annotations

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from spikingjelly.activation_based import ann2snn
from torch import Tensor, nn

from spikejelly_pack import SpikePackNode
from spikejelly_pack.recipes import SpikePackRecipe
from spikejelly_pack.spec.errors import (
    DtypeError,
    ParameterError,
    ShapeError,
    SpikePackError,
    UnsupportedError,
)


def test_multiply_accumulates_of_every_kind(convert: Any) -> None:
    """Counted by hand: outputs times the weights each reads; transposed: inputs times those they reach."""
    torch.manual_seed(0)  # with other weights a layer may be silent, which is refused
    net = nn.Sequential(
        nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Conv2d(4, 8, 3, stride=2, groups=2), nn.ReLU(),
        nn.ConvTranspose2d(8, 2, 2, stride=2), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(8, 3),
    )  # fmt: skip
    snn = convert(net, torch.rand(4, 2, 8, 8))
    macs = {entry.path: entry.macs for entry in snn.report.synapses}
    assert macs == {"0": 36 * 4 * 18, "2": 4 * 8 * 18, "4": 4 * 8 * 8, "8": 24}
    assert snn.report.coverage == 1.0
    analog = convert(net, torch.rand(4, 2, 8, 8), encode_input=False).report
    assert analog.coverage == pytest.approx(1 - macs["0"] / sum(macs.values()))


def test_report_says_what_was_done(make: Any, convert: Any, images: Tensor) -> None:
    snn = convert(make("residual"), images, time_steps=5)
    report = snn.report
    assert [entry.stands_for for entry in report.layers] == ["x", "relu", "relu_again", "relu_again_2"]
    assert [entry.signed for entry in report.layers] == [True, False, False, False]
    assert report.folded_batchnorms == ["bn1", "bn2"]
    for entry in report.layers:
        node = snn.get_submodule(entry.path)
        assert isinstance(node, SpikePackNode)
        assert (node.time_steps, entry.channels) == (5, node.theta.numel())
        assert entry.threshold[0] <= entry.threshold[1] <= entry.threshold[2]
        assert 0 < entry.error < 0.1
        assert 0 <= entry.saturation < 0.2
    data = json.loads(report.to_json())
    assert data["coverage"] == 1.0
    assert [entry["path"] for entry in data["layers"]] == [entry.path for entry in report.layers]
    assert "multiply-accumulates on spikes: 100.0%" in str(report)


@pytest.mark.parametrize(
    "duplicate", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"]
)
def test_copies_keep_report_and_function(
    duplicate: Callable[[Any], Any], make: Any, convert: Any, images: Tensor
) -> None:
    snn = convert(make("pooled"), images)
    twin = duplicate(snn)
    assert twin.report.to_json() == snn.report.to_json()
    with torch.no_grad():
        assert torch.equal(twin(images), snn(images))


def test_state_passes_through_safetensors(
    name: str, make: Any, convert: Any, images: Tensor, tmp_path: Path
) -> None:
    """Into the same network converted from other data: thresholds and folded weights all travel."""
    snn = convert(make(name), images)
    other = convert(make(name), images[:5] * 0.5 + 0.1 * images[:5].sign())
    save_file(snn.state_dict(), tmp_path / "snn.safetensors")
    with torch.no_grad():
        expected, before = snn(images), other(images)
        other.load_state_dict(load_file(tmp_path / "snn.safetensors"))
        after = other(images)
    assert not torch.equal(_first(before), _first(expected))
    assert torch.equal(_first(after), _first(expected))


def _first(result: Any) -> Tensor:
    return result if isinstance(result, Tensor) else result[0]


LINEAR = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
BATCH = torch.rand(4, 2, 2, 2)
BAD: list[tuple[Any, nn.Module, type[SpikePackError], str]] = [
    ([], LINEAR, DtypeError, "the calibration data is empty"),
    ([BATCH[:0]], LINEAR, DtypeError, "the calibration data is empty"),
    (BATCH, LINEAR, ParameterError, "dataloader must yield batches, got Tensor"),
    (3, LINEAR, ParameterError, "dataloader must yield batches, got int"),
    ([BATCH.int()], LINEAR, DtypeError, "must hold a floating point tensor first, got torch.int32"),
    ([("label",)], LINEAR, DtypeError, "must hold a floating point tensor first, got str"),
    ([BATCH * torch.nan], LINEAR, DtypeError,
     "layer 'encoder_input_1': calibration values must be finite"),
    ([BATCH * 0], LINEAR, UnsupportedError, "layer 'encoder_input_1': every calibration value was zero"),
    ([torch.rand(4, 5)], LINEAR, ShapeError, r"must accept its input, got torch.float32 of shape \(1, 5\)"),
    ([torch.rand(1, 6, 6)], nn.Sequential(nn.Conv2d(1, 2, 3)), ShapeError,
     r"layer '0': .*must read \[N, C, H, W\]"),
    ([torch.rand(2, 3, 8)], nn.Sequential(nn.Linear(8, 2)), ShapeError,
     r"layer '0': .*must read \[N, features\]"),
    ([BATCH], nn.Sequential(nn.Flatten()), UnsupportedError,
     "the model must have a rectifier or a synaptic layer"),
    ([BATCH], nn.Bilinear(2, 2, 2), UnsupportedError, "the network must have one input, got"),
]  # fmt: skip


@pytest.mark.parametrize(("loader", "net", "error", "message"), BAD, ids=[entry[3][:45] for entry in BAD])
def test_bad_input_is_named(loader: Any, net: nn.Module, error: Any, message: str) -> None:
    with pytest.raises(error, match=message):
        ann2snn.Converter(SpikePackRecipe(loader, progress=False)).convert(net)


def test_data_dependent_control_flow_is_named() -> None:
    class Branching(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x if x.sum() > 0 else -x

    with pytest.raises(UnsupportedError, match=r"torch.fx must be able to trace the network"):
        ann2snn.Converter(SpikePackRecipe([BATCH], progress=False)).convert(Branching())


def test_views_are_checked_against_the_shapes() -> None:
    class Mixing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.fc(x.view(-1, 4))

    with pytest.raises(UnsupportedError, match="a view must keep the batch axis, got 4 features"):
        ann2snn.Converter(SpikePackRecipe([BATCH], progress=False)).convert(Mixing())


@pytest.mark.parametrize(
    "options", [{"time_steps": 0}, {"time_steps": 17}, {"rounding": "up"}, {"calibrator": "?"}]
)
def test_parameters_are_checked(options: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        SpikePackRecipe([BATCH], **options)


def test_batches_may_be_tuples_and_dicts(make: Any, convert: Any, images: Tensor) -> None:
    labels = torch.zeros(24)
    expected = convert(make("mlp"), images).state_dict()
    for batch in ((images, labels), [images, labels], {"image": images, "label": labels}):
        recipe = SpikePackRecipe([batch], progress=False)
        got = ann2snn.Converter(recipe).convert(make("mlp")).state_dict()
        assert all(torch.equal(got[key], value) for key, value in expected.items())
