"""Recurrent layers as their products: one for the input of all steps, one per step for the state.

Equations: the documentation of ``torch.nn.LSTM``, ``GRU``, ``RNN`` and their cells. The products go through a
callable, so that all steps of one layer and direction share the node at their state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["RECURRENT", "unrolled"]

#: ``linear(label, x, weight, bias)``.
Linear = Callable[[str, Tensor, Tensor, Any], Tensor]
#: Hidden state and, for an LSTM, the cell.
State = tuple[Tensor, ...]


def _lstm(x: Tensor, h: Tensor, state: State) -> State:
    gates = (x + h).chunk(4, -1)
    i, f, o = (torch.sigmoid(gates[at]) for at in (0, 1, 3))
    cell = f * state[1] + i * torch.tanh(gates[2])
    return o * torch.tanh(cell), cell


def _gru(x: Tensor, h: Tensor, state: State) -> State:
    (xr, xz, xn), (hr, hz, hn) = x.chunk(3, -1), h.chunk(3, -1)
    r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
    return ((1 - z) * torch.tanh(xn + r * hn) + z * state[0],)


def _tanh(x: Tensor, h: Tensor, _state: State) -> State:
    return (torch.tanh(x + h),)


def _relu(x: Tensor, h: Tensor, _state: State) -> State:
    return (torch.relu(x + h),)


#: What torch calls them, and how a step's products become the next state; the cells' names end in ``_cell``.
RECURRENT: dict[str, Callable[[Tensor, Tensor, State], State]] = {
    name + end: step
    for name, step in {"lstm": _lstm, "gru": _gru, "rnn_tanh": _tanh, "rnn_relu": _relu}.items()
    for end in ("", "_cell")
}


def unrolled(name: str, linear: Linear, args: Sequence[Any]) -> Any:
    """What ``torch.<name>(*args)`` gives, by products through ``linear``."""
    if name.endswith("_cell"):
        return _cell(name, linear, *args)
    layer = _Layer(name, linear)
    if isinstance(args[3], (list, tuple)):  # a packed sequence: data, batch sizes, state, weights, ...
        data, sizes, hx, weights, biased, layers, dropout, train, both = args
        output, states = layer.stack(data, sizes.tolist(), hx, weights, biased, layers, both, dropout * train)
        return output, *states
    x, hx, weights, biased, layers, dropout, train, both, batch_first = args
    x = x.transpose(0, 1) if batch_first else x
    length, batch = x.shape[:2]
    flat = x.reshape(length * batch, -1)
    output, states = layer.stack(flat, [batch] * length, hx, weights, biased, layers, both, dropout * train)
    output = output.view(length, batch, -1)
    return output.transpose(0, 1) if batch_first else output, *states


def _cell(
    name: str,
    linear: Linear,
    x: Tensor,
    hx: Any,
    w_ih: Tensor,
    w_hh: Tensor,
    b_ih: Any = None,
    b_hh: Any = None,
) -> Any:
    state = hx if isinstance(hx, (tuple, list)) else (hx,)
    products = linear("ih", x, w_ih, b_ih), linear("hh", state[0], w_hh, b_hh)
    found = RECURRENT[name](*products, tuple(state))
    return found if name == "lstm_cell" else found[0]


@dataclass(frozen=True)
class _Layer:
    """A recurrent module of several layers and one or two directions.

    Args:
        name: In ``RECURRENT``.
        linear: The product.
    """

    name: str
    linear: Linear

    def stack(
        self,
        x: Tensor,
        sizes: list[int],
        hx: Any,
        weights: Sequence[Tensor],
        biased: bool,
        layers: int,
        both: bool,
        dropout: float,
    ) -> tuple[Tensor, list[Tensor]]:
        """Output ``[sum of sizes, H]`` and last states, of inputs in time order, ``sizes[t]`` at step t."""
        first = hx if isinstance(hx, (tuple, list)) else (hx,)
        directions = 2 if both else 1
        each = len(weights) // (layers * directions)
        last: list[State] = []
        for number in range(layers):
            if number and dropout:
                x = F.dropout(x, dropout)
            outputs = []
            for direction in range(directions):
                at = number * directions + direction
                label = f"l{number}{'_reverse' * direction}"
                given = list(weights[at * each : (at + 1) * each])
                matrices, bias = (given[:2] + given[4:], given[2:4]) if biased else (given, [None, None])
                start = tuple(state[at] for state in first)
                output, final = self._run(label, x, sizes, start, matrices, bias, direction == 1)
                outputs.append(output)
                last.append(final)
            x = torch.cat(outputs, -1)
        return x, [torch.stack(parts) for parts in zip(*last, strict=True)]

    def _run(
        self,
        label: str,
        x: Tensor,
        sizes: list[int],
        state: State,
        matrices: list[Tensor],
        bias: list[Any],
        reverse: bool,
    ) -> tuple[Tensor, State]:
        """One layer in one direction; sequences that are shorter keep their state, or start later."""
        steps = list(self.linear(f"ih_{label}", x, matrices[0], bias[0]).split(sizes))
        order = range(len(sizes) - 1, -1, -1) if reverse else range(len(sizes))
        outputs: list[Any] = [None] * len(sizes)
        for t in order:
            alive = tuple(part[: sizes[t]] for part in state)
            h = self.linear(f"hh_{label}", alive[0], matrices[1], bias[1])
            new = RECURRENT[self.name](steps[t], h, alive)
            if len(matrices) == 3:  # an LSTM with a projection of its output
                new = (self.linear(f"hr_{label}", new[0], matrices[2], None), *new[1:])
            outputs[t] = new[0]
            state = tuple(torch.cat([n, old[sizes[t] :]]) for n, old in zip(new, state, strict=True))
        return torch.cat(outputs), state
