"""Operations that are no synapses: what becomes of the signals that pass them.

Moving, averaging, scaling and adding keep spikes spikes: they commute with the synapse behind them. A sum
of trains is several trains, since each of them passes that synapse. Everything else leaves analog values.
A new operation is one line in :data:`PASSING`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from . import names
from .signals import ANALOG, CONSTANT, Ledger, Shadows, Signal
from .storage import storage_of

__all__ = ["PASSING", "Call", "passes"]


@dataclass
class Call:
    """One operation that was run.

    Attributes:
        name: Bare name.
        func: What was called.
        decoding: Whether it runs inside a layer that decodes windows: sums there merge digits to words.
    """

    name: str
    func: Any
    args: Any
    kwargs: Any
    out: Any
    decoding: bool = False

    @property
    def inputs(self) -> list[Tensor]:
        """Floating point tensors among the arguments."""
        return [x for x in tree_flatten((self.args, self.kwargs))[0] if _real(x)]

    @property
    def output(self) -> Any:
        """The first floating point result."""
        return next((x for x in tree_flatten(self.out)[0] if _real(x)), None)


Rule = Callable[[Ledger, Call], None]


def _real(x: Any) -> bool:
    return isinstance(x, Tensor) and x.is_floating_point()


def _soma(book: Ledger, call: Call) -> None:
    """Any function of values: analog, or a computed weight if it saw nothing but weights."""
    if call.output is None:
        return
    known = [book.find(x) for x in call.inputs]
    if known and all(signal is not None and signal.factor for signal in known):
        weights = [signal for signal in known if signal is not None and signal.kind == "weight"]
        computed = Signal("weight", sources=_sources(weights)) if weights else CONSTANT
    else:
        computed = replace(ANALOG, sources=(call.name,))
    for out in tree_flatten(call.out)[0]:
        if _real(out):
            book.put(out, computed)


def _sources(signals: list[Signal]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for signal in signals for name in signal.sources))


def _same_storage(call: Call) -> bool:
    out = call.output
    return any(storage_of(x) == storage_of(out) for x in call.inputs)


def _mapped(book: Ledger, call: Call) -> Shadows:
    """The operation applied to the shadows of its inputs; a value without ones contributes none."""
    found = []
    for side in (0, 1):

        def shadow(x: Any, side: int = side) -> Any:
            if not _real(x):
                return x
            shadows = book.shadows(x)
            return torch.zeros(x.shape, device=x.device) if shadows is None else shadows[side]

        args, kwargs = tree_map(shadow, (call.args, _without_value(call)))
        found.append(call.func(*_without_fill(call.name, args), **kwargs))
    return found[0], found[1]


def _without_fill(name: str, args: Any) -> Any:
    # Padding has no ones, whatever value it has.
    return (*args[:2], 0.0) if name in ("constant_pad_nd", "masked_fill") else args


def _without_value(call: Call) -> dict[str, Any]:
    return {k: v for k, v in call.kwargs.items() if k not in ("value", "dtype", "out", "memory_format")}


def _moving(book: Ledger, call: Call) -> None:
    """Values are rearranged, copied or put side by side."""
    out = call.output
    if out is None or _same_storage(call):
        return None
    known = [book.find(x) for x in call.inputs]
    if not all(known):  # partly unknown; or integers became floats
        return _soma(book, call) if any(known) else None
    if not known:
        return book.put(out, replace(ANALOG, sources=("integers",)))
    signals = [signal for signal in known if signal is not None]
    moving = [signal for signal in signals if not signal.factor] or signals
    if len({signal.kind for signal in moving}) > 1 or len({s.steps for s in moving if s.spikes}) > 1:
        return _soma(book, call)
    merged = reduce(Signal.beside, moving)
    return book.put(out, merged, _mapped(book, call) if merged.spikes else None)


def _copying(book: Ledger, call: Call) -> None:
    """``copy_``: a part of a storage gets other values."""
    target, source = call.args[:2]
    if not _real(target):
        return
    signal = book.find(source) if isinstance(source, Tensor) else CONSTANT
    shadows = book.shadows(source) if isinstance(source, Tensor) else None
    if shadows is not None:
        shadows = shadows[0].expand(target.shape), shadows[1].expand(target.shape)
    book.write(target, signal or ANALOG, shadows)


def _averaging(book: Ledger, call: Call) -> None:
    """Means of values: one word where a node would code them anew; over the steps, all their words."""
    x, out = call.args[0], call.output
    signal = book.find(x)
    if signal is None or signal.kind == "analog":
        return _soma(book, call)
    if not signal.spikes:
        return book.put(out, signal)
    ones, words = _mapped(book, call)
    if (
        call.name in ("sum", "mean")
        and signal.length > 1
        and x.shape[0] == signal.length
        and _over_steps(call)
    ):
        count = signal.length // signal.steps
        scale = float(signal.length) if call.name == "mean" else 1.0
        signal = replace(
            signal, bits=signal.bits * count, digits=signal.digits * count, terms=signal.terms * count,
            steps=1, length=1,
        )  # fmt: skip
        return book.put(out, signal, (ones * scale, words * scale))
    if call.name == "sum":
        share = out.numel() / max(x.numel(), 1)
        ones, words = ones * share, words * share
    return book.put(out, signal, (ones, words))


def _over_steps(call: Call) -> bool:
    axes = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim")
    listed = axes if isinstance(axes, (list, tuple)) else [axes]
    return axes is None or 0 in [axis % call.args[0].dim() for axis in listed]


def _selecting(book: Ledger, call: Call) -> None:
    """Max-pooling: the winner's word goes on."""
    x, out = call.args[0], call.output
    signal, shadows = book.find(x), book.shadows(x)
    if signal is None or not signal.spikes or shadows is None:
        return _soma(book, call)
    flat = [part for part in tree_flatten(call.out)[0] if isinstance(part, Tensor)]
    indices = flat[1] if len(flat) > 1 and not flat[1].is_floating_point() else _indices(call)
    axes = 3 if "3d" in call.name else 1 if "1d" in call.name else 2
    chosen = indices.flatten(-axes)
    ones, words = (part.flatten(-axes).gather(-1, chosen).reshape(out.shape) for part in shadows)
    return book.put(out, signal, (ones, words))


def _indices(call: Call) -> Tensor:
    pool = getattr(F, call.name.removesuffix("_with_indices"))
    return pool(*call.args[:6], **{**call.kwargs, "return_indices": True})[1]


def _scaling(book: Ledger, call: Call) -> None:
    """Values times a weight, a number or a constant."""
    out, inputs = call.output, call.inputs
    known = [book.find(x) for x in inputs]
    carried = [(x, s) for x, s in zip(inputs, known, strict=True) if s is not None and s.kind in _CARRIED]
    others = [s for s in known if s is None or s.kind not in _CARRIED]
    divisor = call.name in ("div", "true_divide") and len(carried) == 1 and carried[0][0] is not call.args[0]
    if out is None or len(carried) != 1 or divisor or any(s is None or not s.factor for s in others):
        return _soma(book, call)
    return _kept(book, out, *carried[0])


_CARRIED = ("spikes", "codes")


def _kept(book: Ledger, out: Tensor, x: Tensor, signal: Signal) -> None:
    shadows = book.shadows(x)
    if shadows is not None:
        shadows = shadows[0].expand(out.shape), shadows[1].expand(out.shape)
    book.put(out, signal, shadows)


def _adding(book: Ledger, call: Call) -> None:
    """Sums: of trains, or of a train and a constant, which is a bias."""
    out, inputs = call.output, call.inputs
    known = [book.find(x) for x in inputs]
    if len(inputs) != 2 or any(signal is None for signal in known):
        return _scaling(book, call)
    one, other = (signal for signal in known if signal is not None)
    if one.kind != other.kind or one.kind not in _CARRIED:
        return _scaling(book, call)
    first, second = book.shadows(inputs[0]), book.shadows(inputs[1])
    shadows = None if first is None or second is None else (first[0] + second[0], first[1] + second[1])
    if call.decoding:
        longer = one.beside(other)
        steps = max(one.steps, other.steps)
        return book.put(out, replace(longer, steps=1, length=max(1, longer.length // steps)), shadows)
    return book.put(out, one.plus(other), shadows) if one.steps == other.steps else _soma(book, call)


def _normalising(book: Ledger, call: Call) -> None:
    """Batch normalisation: affine in evaluation."""
    x = call.args[0]
    signal = book.find(x)
    training = "no_training" not in call.name and bool(call.args[5] if len(call.args) > 5 else True)
    if training or signal is None or signal.kind not in _CARRIED:
        return _soma(book, call)
    return _kept(book, call.output, x, signal)


def _rectifying(book: Ledger, call: Call) -> None:
    """A rectifier leaves unsigned words as they are."""
    x = call.args[0]
    signal = book.find(x)
    if signal is None or signal.signed or signal.kind not in _CARRIED:
        return _soma(book, call)
    return _kept(book, call.output, x, signal)


def _creating(book: Ledger, call: Call) -> None:
    """Values that do not depend on the input."""
    if call.output is not None:
        zero = ("zero",) if call.name.removeprefix("new_").startswith("zero") else ()
        book.put(call.output, replace(CONSTANT, sources=zero))


def _quantizing(book: Ledger, call: Call) -> None:
    """Fake quantization: ``quant_min`` and ``quant_max`` say how many bits a code has."""
    named = dict(zip((a.name for a in call.func._schema.arguments), call.args, strict=False)) | call.kwargs
    bits = (int(named["quant_max"]) - int(named["quant_min"])).bit_length()
    known = book.find(call.args[0])
    kind = "weight" if known is not None and known.factor else "codes"
    length = 1 if known is None else known.length
    book.put(call.output, Signal(kind, bits, length=length, sources=() if known is None else known.sources))


def _nothing(_book: Ledger, _call: Call) -> None:
    """Views share the storage, and questions have no values."""


PASSING: dict[str, Rule] = {
    **dict.fromkeys(names.SOMAS, _soma),
    **dict.fromkeys((*names.QUERIES, *names.VIEWS), _nothing),
    **dict.fromkeys(names.MOVES, _moving),
    **dict.fromkeys(names.AVERAGES, _averaging),
    **dict.fromkeys(names.SELECTS, _selecting),
    **dict.fromkeys(names.SCALES, _scaling),
    **dict.fromkeys(names.SUMS, _adding),
    **dict.fromkeys(names.NORMS, _normalising),
    **dict.fromkeys(names.RECTIFIERS, _rectifying),
    **dict.fromkeys(names.CREATORS, _creating),
    **dict.fromkeys(names.QUANTIZERS, _quantizing),
    "copy": _copying,
}


def passes(name: str, func: Any) -> Rule | None:
    """The rule of an operation that is no synapse; None where there is none."""
    rule = PASSING.get(name)
    if rule is None and isinstance(func, torch._ops.OpOverload):  # pyright: ignore[reportPrivateUsage]
        if func.is_view:
            return _nothing
        if torch.Tag.pointwise in func.tags:
            return _soma
    if rule is None and name.startswith("."):  # attributes: shapes, types, views such as .T
        return _nothing
    return rule
