"""Modules whose output is a signal of its own: neurons, quantizers, computed weights.

A reader looks at a module and its output and returns the signal, and for spikes the ones and words of every
value. It returns None where the output is none of its signals: the values then count as analog, by name.
A new kind of module is one line in :data:`SOURCES`; users pass ``extra_sources=`` to the counter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from spikingjelly.activation_based import encoding
from spikingjelly.activation_based import neuron as sj
from torch import Tensor, nn
from torch.nn.utils import parametrize

from ..layer import SpikePackMaxPool2d
from ..neuron import SpikePackNode
from ..recipes.quantizers import QUANTIZERS, QCFSActivation, is_quantizer
from ..recipes.quantizers.base import describe
from ..spec.budget import word_bits
from ..spec.errors import UnsupportedError
from .signals import Shadows, Signal

__all__ = ["SOURCES", "Emission", "Reader", "reader_of", "spiking"]


@dataclass
class Emission:
    """One output of a module.

    Attributes:
        path: Where the module stands.
        incoming: Signal of its first input, None where unknown.
        memory: What the reader keeps between calls of this module.
    """

    path: str
    module: Any
    inputs: tuple[Any, ...]
    output: Tensor
    incoming: Signal | None
    memory: dict[str, Any]


Found = tuple[Signal, Shadows | None] | None
Reader = Callable[[Emission], Found]


def spiking(signal: Signal, ones: Tensor, words: Tensor | None = None) -> Found:
    """Spikes with their ones; the words are those with a one where nothing else is said."""
    ones = ones.to(torch.float32)
    return signal, (ones, (ones > 0).to(torch.float32) if words is None else words.to(torch.float32))


def _length(module: Any, output: Tensor) -> int:
    return output.shape[0] if getattr(module, "step_mode", "s") == "m" else 1


def _popcount(codes: Tensor) -> Tensor:
    codes = codes.to(torch.int64)
    ones = torch.zeros_like(codes)
    while bool(codes.any()):
        ones += codes & 1
        codes = codes >> 1
    return ones


def _spikepack(it: Emission) -> Found:
    node = it.module
    params = node.params
    bits = word_bits(params.time_steps, 1, params.signed)
    serial = node.form == "serial"
    length = _length(node, it.output)
    steps = params.window_steps if serial else 1
    signal = Signal(
        "spikes", bits, params.time_steps, params.signed, steps=steps, length=length, sources=(it.path,)
    )
    if serial:
        return spiking(signal, it.output != 0, _first_ones(it, params.window_steps))
    codes = _codes(it.output, node)
    return None if codes is None else spiking(signal, _popcount(codes))


def _first_ones(it: Emission, steps: int) -> Tensor:
    """Marks the first one of every word, so that a word counts once."""
    fired = it.output != 0
    if it.module.step_mode == "m":
        windows = fired.unflatten(0, (fired.shape[0] // steps, steps))
        return (windows & (windows.cumsum(1) == 1)).flatten(0, 1)
    if it.module.phase == 1 or steps == 1 or "seen" not in it.memory:
        it.memory["seen"] = torch.zeros_like(fired)
    first = fired & ~it.memory["seen"]
    it.memory["seen"] = it.memory["seen"] | fired
    return first


def _codes(output: Tensor, node: Any) -> Tensor | None:
    """Magnitudes of the codes behind decoded values; None where the values are none."""
    params = node.params
    values = output.detach().double()
    if node.scale_output:
        values = values / _amplitude(node, output).double()
    if params.tau == 2.0:
        share = values.abs() * params.window_code.weight_sum
        codes = share.round()
        close = (share - codes).abs() <= 0.01
    else:
        codes, error = _nearest_codes(values.abs(), params)
        close = error <= 1e-3
    good = close & (codes <= params.max_code) & (params.signed | (values >= 0))
    if not bool((good | values.isnan()).all()):
        return None
    return codes.nan_to_num(nan=float(params.max_code))  # none of a NaN's digits is zero


def _amplitude(node: Any, output: Tensor) -> Tensor:
    """Threshold as the node broadcasts it against its output."""
    theta: Tensor = node._theta_for(output, 1 if node.step_mode == "m" else 0)
    return theta.detach()


def _nearest_codes(values: Tensor, params: Any) -> tuple[Tensor, Tensor]:
    """Codes of base tau by value; of equal values the lexicographically largest code, which firing gives."""
    codes = torch.arange(1 << params.time_steps)
    digits = (codes.unsqueeze(1) >> torch.arange(params.time_steps - 1, -1, -1)) & 1
    table = (digits * torch.tensor(params.weights, dtype=torch.float64)).sum(
        1
    ) / params.window_code.weight_sum
    order = torch.argsort(table, stable=True)
    table, codes = table[order].to(values.device), codes[order].to(values.device)
    after = torch.searchsorted(table, values + 1e-6, right=True).clamp(1, len(table)) - 1
    return codes[after].double(), (table[after] - values).abs()


def _max_pool(it: Emission) -> Found:
    """The maximum of node outputs is a word of the same code; decoded values are followed by operation."""
    if it.incoming is None or not it.incoming.spikes or it.module.form == "packed":
        return None
    return spiking(it.incoming, it.output != 0, _first_ones(it, it.module.time_steps))


def _events(it: Emission) -> Found:
    """A neuron (or encoder) of SpikingJelly: one word a step, as its values show."""
    x = it.output
    length = _length(it.module, x)
    signed = isinstance(it.module, (sj.TernaryIFNode, sj.TernaryLIFNode, sj.STBIFNode))
    levels = getattr(getattr(it.module, "surrogate_function", None), "max_spike_count", None)
    if isinstance(it.module, sj.ILIFNode) and levels is not None:
        bits = int(levels).bit_length()
        whole = bool(((x >= 0) & (x <= levels) & (x == x.round())).all())
        signal = Signal("spikes", bits, bits, length=length, sources=(it.path,))
        return spiking(signal, _popcount(x)) if whole else None
    low = -1 if signed else 0
    if not bool(((x == 0) | (x == 1) | (x == low)).all()):
        return None
    signal = Signal("spikes", 1 + signed, 1, signed, length=length, sources=(it.path,))
    return spiking(signal, x != 0)


def _quantizer(it: Emission) -> Found:
    """An activation quantizer: codes of as many bits as it has levels."""
    if isinstance(it.module, QCFSActivation):
        return Signal("codes", int(it.module.levels).bit_length(), sources=(it.path,)), None
    if type(it.module) in QUANTIZERS:  # torch.ao's: the operation says how many bits
        return None
    try:
        spec = describe(it.path, it.module, False, QUANTIZERS)
    except UnsupportedError:
        return None
    return Signal("codes", word_bits(spec.time_steps, 1, spec.signed), sources=(it.path,)), None


def _computed_weight(it: Emission) -> Found:
    """A parametrized weight: as many bits as its last parametrization declares."""
    bits = getattr(it.module[-1], "bits", None)
    if not isinstance(bits, int) or isinstance(bits, bool):
        return None
    return Signal("weight", bits, sources=(it.path,)), None


_NEURONS = tuple(
    kind
    for name, kind in vars(sj).items()
    if isinstance(kind, type) and issubclass(kind, nn.Module) and "NonSpiking" not in name
)
_ENCODERS = (encoding.PoissonEncoder, encoding.LatencyEncoder, encoding.PeriodicEncoder)

#: Module type -> reader; the first that fits, so special types come first.
SOURCES: dict[type, Reader] = {
    SpikePackNode: _spikepack,
    SpikePackMaxPool2d: _max_pool,
    parametrize.ParametrizationList: _computed_weight,
    **dict.fromkeys((*_NEURONS, *_ENCODERS), _events),
}


def reader_of(module: nn.Module, extra: Mapping[type, Reader]) -> Reader | None:
    """How to read a module's output, None for modules that only compute."""
    for kind, reader in (*extra.items(), *SOURCES.items()):
        if isinstance(module, kind):
            return reader
    return _quantizer if is_quantizer(module, QUANTIZERS) else None
