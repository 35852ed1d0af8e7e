"""What is known about the values in a tensor: the ledger of signals that a counter keeps during a pass.

A signal belongs to a storage, so views of a tensor have the signal of the tensor. Two shadows go with
spikes, laid out like the storage: how many digits of each value are one, and whether its word is not zero.
Every operation that only moves, averages or adds values is applied to the shadows too; so the ones that
reach a synapse are known exactly, whatever scale the values have by then.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import _disable_current_modes  # pyright: ignore[reportPrivateUsage]

from ..spec.budget import FLOAT_BITS, Operand
from .storage import storage_of

__all__ = ["ANALOG", "CONSTANT", "Ledger", "Shadows", "Signal", "float_bits", "hidden"]

Shadows = tuple[Tensor, Tensor]
_PURGE_EVERY = 64


@dataclass(frozen=True)
class Signal:
    """What a tensor carries.

    Attributes:
        kind: ``"spikes"``, ``"codes"``, ``"analog"``, ``"weight"``, or ``"constant"``, which costs nothing.
        bits: Bits of one word.
        digits: Digits of one word; 0 for what does not spike.
        signed: Whether words have a sign.
        terms: Trains summed in it.
        steps: Executions that one word takes: T in serial form, 1 where values are decoded.
        length: Steps along the first axis of one call (multi-step mode).
        sources: Where it is from.
    """

    kind: str
    bits: int = FLOAT_BITS
    digits: int = 0
    signed: bool = False
    terms: int = 1
    steps: int = 1
    length: int = 1
    sources: tuple[str, ...] = ()

    @property
    def spikes(self) -> bool:
        """Whether it has a rate."""
        return self.kind == "spikes"

    @property
    def factor(self) -> bool:
        """Whether it is known before the pass: a weight or a constant."""
        return self.kind in ("weight", "constant")

    def operand(self, per_step: bool = False) -> Operand:
        """This signal as one side of a multiplication; ``per_step``: each step is a word of its own."""
        if per_step and self.steps > 1:
            bits = self.terms * (1 + self.signed)
            return Operand("spikes", bits, self.terms, self.signed, self.terms, self.sources)
        kind = "analog" if self.kind == "constant" else self.kind
        return Operand(kind, self.bits, self.digits, self.signed, self.terms, self.sources)

    def plus(self, other: Signal) -> Signal:
        """Sum of two trains: both pass the synapse behind it."""
        return replace(
            self, bits=self.bits + other.bits, digits=self.digits + other.digits,
            signed=self.signed or other.signed, terms=self.terms + other.terms,
            length=max(self.length, other.length), sources=_joined(self, other),
        )  # fmt: skip

    def beside(self, other: Signal) -> Signal:
        """Concatenation: the longer word is what the synapse behind it must take."""
        longer = max(self, other, key=lambda signal: (signal.bits, signal.terms))
        return replace(longer, length=max(self.length, other.length), sources=_joined(self, other))


def _joined(*signals: Signal) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for signal in signals for name in signal.sources))


ANALOG = Signal("analog")
CONSTANT = Signal("constant")


def float_bits(x: Tensor) -> int:
    """Bits of an unquantized value: its dtype's, at most 32 (wider floats serve exact sums, not hardware)."""
    return min(FLOAT_BITS, 8 * x.element_size())


@contextmanager
def hidden() -> Generator[None]:
    """Run operations that no counter sees."""
    with torch.no_grad(), _disable_current_modes(), torch._C.DisableTorchFunction():  # pyright: ignore[reportPrivateUsage]
        yield


@dataclass
class _Entry:
    storage: StorageWeakRef
    signal: Signal
    shadows: Shadows | None  # flat, one value per place of the storage


class Ledger:
    """Signals by storage; an entry lives as long as the storage."""

    def __init__(self) -> None:
        self._entries: dict[int, _Entry] = {}
        self._written = 0

    def find(self, x: Any) -> Signal | None:
        """The signal of a tensor, None where nothing is known."""
        entry = self._entry(x)
        return None if entry is None else entry.signal

    def shadows(self, x: Tensor) -> Shadows | None:
        """Ones and words of every value, shaped like ``x``."""
        entry = self._entry(x)
        if entry is None or entry.shadows is None:
            return None
        ones, words = (flat.as_strided(x.size(), x.stride(), x.storage_offset()) for flat in entry.shadows)
        return ones, words

    def put(self, x: Tensor, signal: Signal, shadows: Shadows | None = None) -> None:
        """Enter what ``x`` and every view of its storage carry."""
        storage = x.untyped_storage()
        flat = None if shadows is None else (_flat(x, shadows[0]), _flat(x, shadows[1]))
        self._entries[storage_of(x)] = _Entry(StorageWeakRef(storage), signal, flat)
        self._written += 1
        if self._written % _PURGE_EVERY == 0:
            self._entries = {k: e for k, e in self._entries.items() if not e.storage.expired()}

    def write(self, x: Tensor, signal: Signal, shadows: Shadows | None) -> None:
        """A part of a storage is overwritten; the rest keeps its ones."""
        entry = self._entry(x)
        whole = x.numel() * x.element_size() >= x.untyped_storage().nbytes()
        if whole or entry is None or entry.signal.kind == "analog" or not signal.spikes or shadows is None:
            merged = signal if whole or entry is None or entry.signal.factor else ANALOG
            self.put(x, merged, shadows if merged.spikes else None)
            return
        if entry.shadows is None:
            size = x.untyped_storage().nbytes() // x.element_size()
            entry.shadows = (x.new_zeros(size, dtype=torch.float32), x.new_zeros(size, dtype=torch.float32))
        entry.signal = signal if entry.signal.factor else entry.signal.beside(signal)
        views = self.shadows(x)
        assert views is not None
        for view, shadow in zip(views, shadows, strict=True):
            view.copy_(shadow)

    def _entry(self, x: Any) -> _Entry | None:
        if not isinstance(x, Tensor) or x.layout is not torch.strided:
            return None
        entry = self._entries.get(storage_of(x))
        return None if entry is None or entry.storage.expired() else entry


def _flat(x: Tensor, shadow: Tensor) -> Tensor:
    """The shadow of ``x`` in the layout of its storage."""
    size = x.untyped_storage().nbytes() // x.element_size()
    flat = torch.zeros(size, dtype=torch.float32, device=shadow.device)
    flat.as_strided(x.size(), x.stride(), x.storage_offset()).copy_(shadow)
    return flat
