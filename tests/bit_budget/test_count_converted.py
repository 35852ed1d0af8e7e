"""Converted networks of both routes, their integer form, and four codings side by side."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from spikejelly_pack import IntegerNetwork, convert, export
from spikejelly_pack.bit_budget import compare, lif_twin, measure, measure_integer
from spikejelly_pack.spec.errors import UnsupportedError
from spikejelly_pack.spec.execute import encode


class Residual(nn.Module):
    """A small residual network."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.branch, self.act = nn.Conv2d(4, 4, 3, padding=1), nn.ReLU()
        self.head = nn.Linear(4 * 36, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.act(self.norm(self.stem(x)))
        return self.head(self.act(y + self.branch(y)).flatten(1))


MACS = {"stem": 4 * 36 * 9, "branch": 4 * 36 * 36, "head": 144 * 3}


@pytest.fixture
def data() -> Tensor:
    """Return calibration data."""
    torch.manual_seed(0)
    return torch.rand(5, 1, 6, 6)


@pytest.mark.parametrize("route", ["fx", "module"])
def test_both_routes(route: str, data: Tensor) -> None:
    net = Residual().eval()
    snn = convert(net, [data], time_steps=3, route=route, progress=False)
    report = measure(snn, data, strict=True)
    source = measure(net, data, strict=True)
    assert {c.path.removeprefix("model."): c.macs for c in report.layers} == MACS
    assert report.macs == source.macs == sum(MACS.values())
    assert report.s_ace == report.macs * 3 * 32
    assert source.s_ace == source.ace(32) == report.ace(32) == report.macs * 1024
    assert not report.analog
    assert 0 < report.ns_ace < report.s_ace


def test_attention_reads_codes_on_both_sides(data: Tensor) -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(6, 18), nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x.squeeze(1)).chunk(3, -1)
            return self.out(nn.functional.scaled_dot_product_attention(q, k, v).mean(1))

    snn = convert(Attention().eval(), [data], time_steps=4, progress=False)
    report = measure(snn, data, strict=True)
    products = [c for c in report.layers if c.weight_bits is None]
    assert [c.macs for c in products] == [6 * 6 * 6, 6 * 6 * 6]
    # q and k have a sign, softmax has none
    assert [[o.bits for o in c.operands] for c in products] == [[5, 5], [4, 5]]
    assert [c.s_ace for c in products] == [216 * 25, 216 * 20]


def test_the_integer_form_counts_what_the_float_form_counts(data: Tensor, tmp_path: Path) -> None:
    snn = convert(Residual().eval(), [data], time_steps=3, progress=False)
    network = export(snn, str(tmp_path / "net.spk"), data)
    codes = {op.name: encode(op, data.numpy()) for op in network.inputs}
    report, packed = measure_integer(network, codes), measure(snn, data, weight_bits=8)
    assert report.s_ace == packed.s_ace == sum(MACS.values()) * 3 * 8
    found = {c.path: c for c in report.layers}
    plumbing = [c for c in report.layers if c.plumbing]
    assert report.plumbing == sum(c.s_ace for c in plumbing) == 144 * 3 * plumbing[0].operands[1].bits
    # the encoder and the stem are the same in both, code for code
    stem = next(c for c in packed.layers if c.path == "stem")
    assert found["stem"].digit_events == pytest.approx(stem.digit_events)
    assert found["stem"].word_events == pytest.approx(stem.word_events)
    assert report.memory.weights == sum(c.weights * c.operands[1].bits for c in report.layers)
    assert report.memory.state == (144 + 144 + 3) * 24
    assert measure(IntegerNetwork(network), codes).s_ace == report.s_ace


def test_rates_of_a_file_without_samples_are_unknown(data: Tensor, tmp_path: Path) -> None:
    snn = convert(Residual().eval(), [data], time_steps=3, progress=False)
    report = measure_integer(export(snn, str(tmp_path / "net.spk"), data))
    assert report.ns_ace == report.s_ace
    assert all(row["digit_rate"] is None for row in report.rows())


def test_comparison(data: Tensor) -> None:
    found = compare(
        Residual().eval(), data, [data], time_steps=4, weight_bits=8, input_bits=8, progress=False
    )
    macs, stem = sum(MACS.values()), MACS["stem"]
    s_ace = {report.name: report.s_ace for report in found.reports}
    assert s_ace == {
        "ANN, float32": (macs - stem) * 1024 + stem * 8 * 32,
        "QANN, 8 x 8 bits": macs * 64,
        "QANN, 4 x 4 bits": (macs - stem) * 16 + stem * 8 * 4,
        "LIF, T x b_w = 4 x 8 bits": macs * 32,
        "SpikePack, T x b_w = 4 x 8 bits": macs * 32,
    }
    lif, packed = found.reports[-2:]
    assert lif.memory.state == 324 * 32  # three potentials: the encoder's, the stem's, the sum's
    assert packed.memory.state == 0
    table = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert [row["network"] for row in table] == list(s_ace)
    assert [int(row["s_ace"]) for row in table] == list(s_ace.values())
    assert json.loads(json.dumps(found.to_dict()))["comparison"][0]["network"] == "ANN, float32"
    assert "not trained" in str(found)


def test_networks_without_steps_have_no_lif_twin(data: Tensor) -> None:
    snn = convert(Residual().eval(), [data], time_steps=3, route="module", progress=False)
    with pytest.raises(UnsupportedError, match=r"must have nodes with spikes of 0 and 1"):
        lif_twin(snn)


def test_reports_as_files(data: Tensor) -> None:
    snn = convert(Residual().eval(), [data], time_steps=3, progress=False)
    report = measure(snn, data, rate="word")
    rows = list(csv.DictReader(io.StringIO(report.to_csv())))
    assert [int(row["s_ace"]) for row in rows] == [c.s_ace for c in report.layers]
    stored = json.loads(report.to_json())
    assert stored["totals"]["s_ace"] == report.s_ace
    assert stored["rate"] == "word"
    assert stored["totals"]["ns_ace"] == pytest.approx(sum(c.s_ace * c.rate("word") for c in report.layers))
    assert stored["energy_table"]["technology_nm"] == 45
    assert "by the word rate" in str(report)
