"""What a counter adds up for one synaptic operation."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from math import floor

from torch import Tensor

from ..spec.budget import Operand, SynapticCost
from .product import Product
from .signals import Shadows, Signal

__all__ = ["Row"]


@dataclass
class Row:
    """One synaptic operation of one module, with one kind of operands; sums over the batch and all calls.

    Attributes:
        path: Module that runs it.
        kind: Bare name of the operation.
        operands: Its two factors; a weight comes second.
        steps: Executions of one word.
        weights: Number of weights.
        macs: Multiply-accumulates executed.
        cost: S-ACE.
        executions: Words per sample, as far as the signals say.
        rows: Size of the leading axes of analog operands.
        stored: Storage of its weight where that is a parameter, so that tied weights count once.
    """

    path: str
    kind: str
    operands: tuple[Operand, Operand]
    steps: int
    weights: int = 0
    macs: int = 0
    cost: Fraction = field(default_factory=Fraction)
    counted: int = 0
    digit_events: float = 0.0
    word_events: float = 0.0
    executions: Fraction = field(default_factory=Fraction)
    rows: int = 0
    calls: int = 0
    stored: int | None = None

    def add(self, product: Product, factors: list[Signal], shadows: list[Shadows | None]) -> int:
        """Enter one call; returns what it adds to S-ACE in whole units."""
        first, second = self.operands
        self.macs += product.macs
        self.cost += Fraction(product.macs * first.bits * second.bits, self.steps)
        self.calls += 1
        self.rows += product.rows
        self.weights = next((x.numel() for x, s in _sides(product, factors) if s.kind == "weight"), 0)
        if self.spiking:
            ones = [None if pair is None else pair[0] for pair in shadows]
            per_step = first.kind == second.kind and any(signal.steps > 1 for signal in factors)
            words = ones if per_step else [None if pair is None else pair[1] for pair in shadows]
            self.digit_events += product.joint(*ones)
            self.word_events += product.joint(*words)
        length = max((signal.length for signal in factors if signal.spikes), default=0)
        self.executions += Fraction(length, self.steps)
        whole = floor(self.cost) - self.counted
        self.counted += whole
        return whole

    @property
    def spiking(self) -> bool:
        """Whether a factor has a rate."""
        return any(operand.kind == "spikes" for operand in self.operands)

    def per_sample(self, samples: int, sequence: int = 1) -> SynapticCost:
        """This operation's cost for one sample.

        Args:
            samples: Samples in the batch.
            sequence: Steps along the first axis of the input, multi-step mode; for analog operands.
        """
        words = Fraction(self.macs, samples * self.steps)
        windows = self._windows(samples, sequence)
        macs = words / windows
        if macs.denominator != 1:
            macs, windows = words, 1
        return SynapticCost(
            self.path, self.kind, int(macs), self.operands, windows,
            self.digit_events / samples if self.spiking else None,
            self.word_events / samples if self.spiking else None, self.weights,
        )  # fmt: skip

    def _windows(self, samples: int, sequence: int) -> int:
        if self.spiking:
            return max(1, floor(self.executions))
        if "conv" in self.kind:
            return max(1, self.rows // (samples * self.steps))
        whole = sequence > 1 and self.rows % (samples * sequence) == 0
        return max(1, self.calls * (sequence if whole else 1) // self.steps)


def _sides(product: Product, factors: list[Signal]) -> list[tuple[Tensor, Signal]]:
    return list(zip((product.first, product.second), factors, strict=True))
