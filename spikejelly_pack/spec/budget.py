"""Bit Budget: what one inference of a network costs, as equations.

Sources: Bit Budget and S-ACE, arXiv 2311.10802; arithmetic computation effort (ACE), PokeBNN, arXiv
2112.00133.

A *word* is what one value carries in one window: the T digits of a code, or one step of a neuron without a
code, or the bits of a quantized or analog value. A sign is one more bit of the word, counted once, whether
the word travels digit by digit (serial form) or at once (packed form). Therefore the cost of a synapse is
the same in both forms::

    serial   T steps of b_s = 1 bit      n * (T * 1 + sign) * b_w
    packed   1 step of b_s = T bits      n * (1 * T + sign) * b_w

Everything is counted per sample: n multiply-accumulates of one window, W windows.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from typing import Any

from .errors import ParameterError
from .parameters import check_choice

__all__ = [
    "FLOAT_BITS",
    "KINDS",
    "RATES",
    "Operand",
    "SynapticCost",
    "ace",
    "bit_budget",
    "check_bits",
    "ns_ace",
    "product_s_ace",
    "s_ace",
    "word_bits",
]

#: Bits of a float that nothing quantizes.
FLOAT_BITS = 32
#: What NS-ACE counts: digits that are one (bit-serial hardware), or words that are not zero.
RATES = ("digit", "word")
#: What an operand is: a parameter, spikes (with a rate), codes of a quantizer, or analog values.
KINDS = ("weight", "spikes", "codes", "analog")


def check_bits(owner: str, name: str, value: Any, low: int = 1) -> int:
    """``value`` as an ``int`` of at least ``low``.

    Raises:
        ParameterError: It is none.
    """
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or number < low:
        raise ParameterError(
            f"{owner}: {name} must be an integer >= {low}, got {value!r}; pass a number of bits."
        )
    return number


def word_bits(digits: int, digit_bits: int = 1, signed: bool = False) -> int:
    """Bits of one word: ``digits * digit_bits``, and one for the sign, counted once."""
    return digits * digit_bits + int(signed)


def bit_budget(weight_bits: int, bits: int, windows: int = 1) -> int:
    """``BB = T * b_w * b_s`` with ``T * b_s = windows * bits``, bits those of one word."""
    return weight_bits * bits * windows


def ace(macs: int, weight_bits: int, activation_bits: int) -> int:
    """``ACE = n * b_w * b_a`` of a quantized or float network."""
    return macs * weight_bits * activation_bits


def s_ace(macs: int, weight_bits: int, bits: int, windows: int = 1) -> int:
    """``S-ACE = n * T * b_w * b_s``.

    Args:
        macs: n, multiply-accumulates of one window.
        weight_bits: b_w.
        bits: Bits of one word, :func:`word_bits`.
        windows: W; T is W times the digits of a word in serial form, W in packed form.
    """
    return macs * bit_budget(weight_bits, bits, windows)


def product_s_ace(macs: int, first_bits: int, second_bits: int, windows: int = 1) -> int:
    """Cost of a product of two spike operands on decoded values: ``n * b_q * b_k``."""
    return macs * first_bits * second_bits * windows


def ns_ace(cost: float, rate: float) -> float:
    """``NS-ACE = S-ACE * rate``; for a product the rate is that of both operands together."""
    return cost * rate


@dataclass(frozen=True)
class Operand:
    """One side of a multiplication.

    Attributes:
        kind: One of :data:`KINDS`.
        bits: Bits of one word, sign included (of a sum of trains: of all words, each passes the synapse).
        digits: Digits of one word that carry spikes; 0 for what does not spike.
        signed: Whether the word has a sign.
        terms: Trains that are summed.
        sources: Paths of the nodes that emit it, or what else is known about its origin.
    """

    kind: str
    bits: int
    digits: int = 0
    signed: bool = False
    terms: int = 1
    sources: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_choice("Operand", "kind", self.kind, KINDS)
        check_bits("Operand", "bits", self.bits)

    def at(self, digits: int) -> Operand:
        """The same spikes with another T; other operands as they are."""
        if self.kind != "spikes":
            return self
        bits = self.terms * word_bits(digits, 1, self.signed)
        return replace(self, bits=bits, digits=digits * self.terms)


@dataclass(frozen=True)
class SynapticCost:
    """Cost of one synaptic operation for one sample.

    Attributes:
        path: Module that runs it.
        kind: Name of the operation.
        macs: n, multiply-accumulates of one window.
        operands: The two factors; a weight comes second.
        windows: W, how often it runs per sample (real time steps of a network without codes).
        digit_events: Multiply-accumulates whose digits are both one, all windows; None: not spikes.
        word_events: Multiply-accumulates whose words are both not zero, all windows; None: not spikes.
        weights: Number of weights.
        plumbing: Exists in the integer form only (pool, skip); outside S-ACE.
    """

    path: str
    kind: str
    macs: int
    operands: tuple[Operand, Operand]
    windows: int = 1
    digit_events: float | None = None
    word_events: float | None = None
    weights: int = 0
    plumbing: bool = False
    notes: tuple[str, ...] = field(default=())

    @property
    def weight_bits(self) -> int | None:
        """b_w; None for a product of two computed operands."""
        return self.operands[1].bits if self.operands[1].kind == "weight" else None

    @property
    def bit_budget(self) -> int:
        """Bits of both factors over all windows."""
        return bit_budget(self.operands[1].bits, self.operands[0].bits, self.windows)

    @property
    def s_ace(self) -> int:
        """S-ACE; ACE where nothing spikes."""
        return product_s_ace(self.macs, self.operands[0].bits, self.operands[1].bits, self.windows)

    def rate(self, kind: str = "digit") -> float:
        """Share of digit (or word) products that happen, 0..1; 1 for what does not spike."""
        check_choice("SynapticCost", "rate", kind, RATES)
        events = self.digit_events if kind == "digit" else self.word_events
        if events is None or not self.macs:
            return 1.0
        places = self.macs * self.windows
        for operand in self.operands:
            if operand.kind == "spikes":
                places *= operand.digits if kind == "digit" else operand.terms
        return events / places

    def ns_ace(self, rate: str = "digit") -> float:
        """NS-ACE by the digit or the word rate."""
        return ns_ace(self.s_ace, self.rate(rate))

    def at(self, *, weight_bits: int | None = None, digits: int | None = None) -> SynapticCost:
        """The same operation with other weight bits, or another T of the spikes it reads.

        Events are dropped: another coding has another rate.
        """
        operands = [item if digits is None else item.at(digits) for item in self.operands]
        if weight_bits is not None and operands[1].kind == "weight":
            operands[1] = replace(operands[1], bits=weight_bits)
        return replace(self, operands=(operands[0], operands[1]), digit_events=None, word_events=None)
