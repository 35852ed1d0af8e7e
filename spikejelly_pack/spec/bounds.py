"""Proof that no accumulator can leave its declared width, whatever the input.

Interval arithmetic through the graph, one interval per neuron, padding included. In serial form the
membrane after t digits is bounded by the same weights times ``2^t - 1``, so the end of the window is
the worst case; inside one sum, wrap-around is harmless when the final value fits, saturation is not. What a
neuron carries from the window before adds at most its clamp, ``theta * Q``, shifted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .errors import BoundError
from .graph import Input, Network, Neuron, Op, Readout, Synapse
from .graph.base import Array
from .graph.scale import per_channel
from .wiring import wire

__all__ = ["Bound", "accumulator_bounds", "accumulator_widths", "check_bounds"]


@dataclass(frozen=True)
class Bound:
    """Worst case of one accumulator population.

    Attributes:
        name: Neuron or readout.
        magnitude: Largest absolute value any of its registers can take.
        neuron: Index of the neuron that reaches it, in C order.
        state_bits: Declared width, sign included.
    """

    name: str
    magnitude: int
    neuron: int
    state_bits: int

    @property
    def bits(self) -> int:
        """Width the worst case needs, sign included."""
        return self.magnitude.bit_length() + 1

    @property
    def fits(self) -> bool:
        """Whether the declared width holds it."""
        return self.bits <= self.state_bits


def accumulator_bounds(network: Network) -> list[Bound]:
    """Bound of every neuron and readout, in order."""
    low: dict[str, Array] = {}
    high: dict[str, Array] = {}
    bounds: list[Bound] = []
    for op in network.ops.values():
        lows, highs = [low[name] for name in op.inputs], [high[name] for name in op.inputs]
        if isinstance(op, (Neuron, Readout)):
            bounds.append(_bound(op, lows[0], highs[0]))
        low[op.name], high[op.name] = _interval(network, op, lows, highs)
    return bounds


def accumulator_widths(network: Network) -> dict[str, int]:
    """Exact register width of every neuron and readout by name: what hardware built for this network needs.

    Two's complement, sign included. Every register of the population fits whatever the input: the charging
    register after every time step, the membrane with its bias, its magnitude with the rounding offset.
    Hence wrap-around inside one step's sum is harmless, and a register that wraps once per time step,
    after the step's sum is complete, never does. One bit less, and the worst case that :class:`Bound`
    names may not fit. The threshold ``theta * 2^(T-1)`` is a constant beside the register and may be
    wider: a comparator takes the wider of the two (an accumulator that never reaches it fires no digit).

    This is the one place widths come from: generated hardware and the ``fpga`` models of Lava both call it.
    """
    return {bound.name: bound.bits for bound in accumulator_bounds(network)}


def _interval(network: Network, op: Op, lows: list[Array], highs: list[Array]) -> tuple[Array, Array]:
    shape = (1, *network.shapes[op.name])
    if isinstance(op, (Input, Neuron)):
        top = np.full(shape, op.max_code, np.int64)
        return (-top if op.signed else np.zeros_like(top)), top
    if isinstance(op, Synapse):
        weight = op.weights()
        positive, negative = np.maximum(weight, 0), np.minimum(weight, 0)
        return (
            op.apply(lows[0], positive) + op.apply(highs[0], negative),
            op.apply(highs[0], positive) + op.apply(lows[0], negative),
        )
    if isinstance(op, Readout):
        return lows[0], highs[0]
    # All of these are monotone: the ends of an interval go where its values go.
    return wire(op, lows), wire(op, highs)


def _bound(op: Neuron | Readout, low: Array, high: Array) -> Bound:
    extra = np.abs(op.bias.astype(np.int64))
    if isinstance(op, Neuron) and op.half:
        extra = extra + op.threshold // 2
    if isinstance(op, Neuron) and op.leak_shift is not None:
        # The shift rounds down: of a negative carry, the magnitude up.
        extra = extra - (-op.threshold.astype(np.int64) * op.max_code >> op.leak_shift)
    worst = np.maximum(np.abs(low), np.abs(high)) + per_channel(extra, low.ndim - 1)
    neuron = int(worst.argmax())
    return Bound(op.name, int(worst.reshape(-1)[neuron]), neuron, op.state_bits)


def check_bounds(network: Network) -> list[Bound]:
    """Return the bounds, or raise :class:`BoundError` naming layer, neuron, bound and remedy."""
    bounds = accumulator_bounds(network)
    for bound in bounds:
        if not bound.fits:
            raise BoundError(
                f"{network.ops[bound.name].label}: neuron {bound.neuron} can reach {bound.magnitude}, which "
                f"needs {bound.bits} bits, but state_bits is {bound.state_bits}; use fewer time steps, "
                "narrower weights or a wider state."
            )
    return bounds
