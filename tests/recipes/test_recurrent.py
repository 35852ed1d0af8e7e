"""Recurrent layers on the module route: unrolled, they are torch's; coded, every product reads codes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from spikejelly_pack import SpikePackNetwork, convert

# Two float64 computations of one value, summed in another order through a dozen steps.
CLOSE: dict[str, Any] = {"rtol": 0.0, "atol": 1e-9}
KINDS: list[tuple[type[nn.RNNBase], dict[str, Any]]] = [
    (nn.LSTM, {}), (nn.GRU, {}), (nn.RNN, {"nonlinearity": "relu"}), (nn.RNN, {"bias": False}),
    (nn.LSTM, {"num_layers": 2, "bidirectional": True, "dropout": 0.3}),
    (nn.GRU, {"num_layers": 2, "bidirectional": True, "batch_first": True, "bias": False}),
    (nn.LSTM, {"proj_size": 2, "num_layers": 2, "bidirectional": True}),
    (nn.LSTM, {"proj_size": 2, "bias": False, "batch_first": True}),
]  # fmt: skip
IDS = [f"{kind.__name__}-{'-'.join(options)}" for kind, options in KINDS]


class Wrapped(nn.Module):
    """A recurrent layer on plain or packed sequences, with or without a first state."""

    def __init__(self, layer: nn.RNNBase, packed: bool, state: bool) -> None:
        super().__init__()
        self.layer, self.packed, self.state = layer, packed, state

    def first(self, batch: int) -> Any:
        layer: Any = self.layer
        count = layer.num_layers * (2 if layer.bidirectional else 1)
        g = torch.Generator().manual_seed(batch)
        h = torch.randn(count, batch, layer.proj_size or layer.hidden_size, generator=g).double()
        if not isinstance(layer, nn.LSTM):
            return h
        return h, torch.randn(count, batch, layer.hidden_size, generator=g).double()

    def forward(self, x: Tensor) -> Any:
        batch_first: Any = self.layer.batch_first
        hx = self.first(x.shape[0 if batch_first else 1]) if self.state else None
        if not self.packed:
            return self.layer(x, hx)
        lengths = torch.tensor([3, 5, 1])
        given = pack_padded_sequence(x, lengths, batch_first=batch_first, enforce_sorted=False)
        output, state = self.layer(given, hx)
        return pad_packed_sequence(output, batch_first=batch_first)[0], state


def built(kind: Any, options: dict[str, Any], packed: bool = False, state: bool = False) -> Any:
    torch.manual_seed(0)
    return Wrapped(kind(4, 3, **options), packed, state).double().eval()


def sequence(options: dict[str, Any]) -> Tensor:
    x = torch.randn(5, 3, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    return x.transpose(0, 1).contiguous() if options.get("batch_first") else x


@torch.no_grad()
@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("state", [False, True], ids=["zeros", "state"])
def test_without_codes_it_is_torch_s(kind: Any, options: dict[str, Any], packed: bool, state: bool) -> None:
    model, x = built(kind, options, packed, state), sequence(options)
    snn: Any = convert(model, [x], progress=False)
    assert (snn.report.coverage, snn.report.analog, snn.report.unused) == (1.0, [], [])
    assert not torch.allclose(snn(x)[0], model(x)[0], **CLOSE), "nothing was coded"
    snn.transparent = True
    torch.testing.assert_close(snn(x), model(x), **CLOSE)


@pytest.mark.parametrize(("kind", "options"), KINDS, ids=IDS)
def test_multiply_accumulates_are_counted(kind: Any, options: dict[str, Any]) -> None:
    """Every weight matrix meets every step of every sequence once."""
    model, x = built(kind, options), sequence(options)
    snn: Any = convert(model, [x, x], progress=False)
    matrices = [p.numel() for p in model.parameters() if p.dim() > 1]
    assert sum(entry.macs for entry in snn.report.synapses) == 15 * sum(matrices)
    assert len(snn.nodes) == len(matrices)


@torch.no_grad()
def test_coded_lstm_is_the_one_written_out() -> None:
    """Equations of torch's documentation in numpy, with quantized inputs and states."""
    torch.manual_seed(0)
    model, x = built(nn.LSTM, {}), sequence({})
    snn: Any = convert(model, [x], 3, progress=False)
    assert list(snn.nodes) == ["layer:lstm0_ih_l0:0", "layer:lstm0_hh_l0:0"]

    def code(name: str, value: Any) -> Any:
        node = snn.nodes[name]
        lsb = float(node.theta) / 7
        assert node.params.signed
        return np.clip(np.sign(value) * np.floor(np.abs(value) / lsb + 0.5), -7, 7) * lsb

    def sigmoid(value: Any) -> Any:
        return 1 / (1 + np.exp(-value))

    w_ih, w_hh, b_ih, b_hh = (p.numpy() for p in model.layer.parameters())
    h, c, outputs = np.zeros((3, 3)), np.zeros((3, 3)), []
    for step in x.numpy():
        gates = (
            code("layer:lstm0_ih_l0:0", step) @ w_ih.T + b_ih + code("layer:lstm0_hh_l0:0", h) @ w_hh.T + b_hh
        )
        i, f, g, o = np.split(gates, 4, axis=1)
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        outputs.append(h)
    output, (last, cell) = snn(x)
    np.testing.assert_allclose(output.numpy(), np.stack(outputs), rtol=0, atol=1e-9)
    np.testing.assert_allclose(last[0].numpy(), h, rtol=0, atol=1e-9)
    np.testing.assert_allclose(cell[0].numpy(), c, rtol=0, atol=1e-9)


class Cells(nn.Module):
    """Each cell, with and without a first state, driven by a loop."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.LSTMCell(4, 3), nn.GRUCell(3, 3, bias=False)
        self.c, self.d = nn.RNNCell(3, 3), nn.RNNCell(3, 2, nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        state, h = None, None
        for step in x:
            state = self.a(step, state)
            h = self.b(state[0], h)
        return self.d(self.c(h))


@torch.no_grad()
@pytest.mark.parametrize("share_calls", [False, True])
def test_cells(share_calls: bool) -> None:
    torch.manual_seed(0)
    model, x = Cells().double().eval(), sequence({})
    snn: Any = convert(model, [x], share_calls=share_calls, progress=False)
    assert snn.report.coverage == 1.0
    # the first state is zeros whatever the data: no node, unless it is that of the later calls
    names = [name for name in snn.nodes if name.startswith("a:lstm_cell") and "_hh:" in name]
    assert names == [f"a:lstm_cell{i}_hh:0" for i in ((0,) if share_calls else (1, 2, 3, 4))]
    error = (snn(x) - model(x)).norm() / model(x).norm()
    assert 0 < error < 0.02
    snn.transparent = True
    torch.testing.assert_close(snn(x), model(x), **CLOSE)
    if share_calls:
        torch.testing.assert_close(snn(x[:3]), model(x[:3]), **CLOSE)


@torch.no_grad()
def test_other_lengths_files_and_choices(tmp_path: Path) -> None:
    """Steps share nodes: a sequence may be longer than in calibration. T, improvers, files as elsewhere."""
    model, x = built(nn.GRU, {"bidirectional": True}), sequence({})
    steps = {"*": 6, "layer:gru0_hh_l0": 3}
    snn: Any = convert(model, [x], steps, improve=("bias_correction",), progress=False)
    assert snn.nodes["layer:gru0_hh_l0:0"].time_steps == 3
    assert len(snn.corrections) == 4
    longer = torch.cat([x, x.flip(0)])
    error = (snn(longer)[0] - model(longer)[0]).norm() / model(longer)[0].norm()
    assert 0 < error < 0.15
    snn.save(tmp_path / "net.safetensors")
    rebuilt = SpikePackNetwork.load(built(nn.GRU, {"bidirectional": True}), tmp_path / "net.safetensors")
    assert torch.equal(rebuilt(x)[0], snn(x)[0])
