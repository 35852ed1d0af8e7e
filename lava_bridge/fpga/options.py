"""What the user may choose about the hardware: parallelism, memories, number system of the digits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from spikejelly_pack.spec.errors import ParameterError

__all__ = ["CONVOLUTIONS", "DIGITS", "MEMORIES", "Options", "PopulationOptions"]

MEMORIES = ("auto", "block", "distributed")
DIGITS = ("csd", "binary")
CONVOLUTIONS = ("event", "line", "auto")
_MOST = 1 << 12


@dataclass(frozen=True)
class PopulationOptions:
    """Choices for one population (or, fire only, one input); None takes the general choice.

    Attributes:
        lanes: Neurons that add in one cycle, at most; rounded so that words of this many cover the channels.
        fire: Neurons that fire in one cycle and travel in one beat; a power of two.
        weight_memory: Where weights live.
        digits: Number system of the incoming codes.
        convolution: How its convolution is computed; ``line`` is refused where it cannot be.
    """

    lanes: int | None = None
    fire: int | None = None
    weight_memory: str | None = None
    digits: str | None = None
    convolution: str | None = None


@dataclass(frozen=True)
class Options:
    """Choices for all populations, and exceptions by name.

    Attributes:
        lanes: Most neurons that add in one cycle. Fewer lanes than channels fold a population: an event
            then takes several cycles.
        fire: Most neurons that fire in one cycle and travel in one beat; a power of two. Readouts emit one
            membrane a beat unless told otherwise.
        weight_memory: ``auto`` leaves it to synthesis, ``block`` and ``distributed`` ask for block RAM
            or LUTs.
        membrane_memory: Likewise for the membranes of populations that are folded or have positions.
        digits: ``csd`` recodes every code into the fewest signed digits of the same number (exact, fewer
            events); ``binary`` makes every spike one event.
        convolution: ``event`` adds the weights of every digit to a memory of membranes; ``line`` buffers a
            few rows of codes and computes one position after the other, where a population is one convolution
            of all channels (others stay event-driven); ``auto`` leaves it to the search for the parallelism,
            or takes what has fewer cycles at an assumed density where the parallelism is given.
        buffers: Whether a branch that skips populations gets buffers for the windows it waits; without them
            the result is the same and the branches take turns.
        per: Exceptions by the name of a neuron, readout or input.
    """

    lanes: int = 64
    fire: int = 4
    weight_memory: str = "auto"
    membrane_memory: str = "auto"
    digits: str = "csd"
    convolution: str = "event"
    buffers: bool = True
    per: Mapping[str, PopulationOptions] = field(default_factory=dict[str, PopulationOptions])

    def __post_init__(self) -> None:
        for owner, part in (("Options", self), *((f"Options for {n!r}", p) for n, p in self.per.items())):
            _check(owner, part)
        _one_of("Options", "membrane_memory", self.membrane_memory, MEMORIES)

    def of(self, name: str, what: str) -> Any:
        """The choice ``what`` for the population ``name``."""
        own = getattr(self.per.get(name), what, None)
        return getattr(self, what) if own is None else own


def _one_of(owner: str, name: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ParameterError(
            f"{owner}: {name} must be one of {', '.join(known)}, got {value!r}; choose one of them."
        )


def _check(owner: str, part: Options | PopulationOptions) -> None:
    for name in ("lanes", "fire"):
        value = getattr(part, name)
        good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= _MOST
        if value is not None and not (good and (name == "lanes" or value & (value - 1) == 0)):
            kind = "an integer" if name == "lanes" else "a power of two"
            raise ParameterError(f"{owner}: {name} must be {kind} in 1..{_MOST}, got {value!r}; change it.")
    if part.weight_memory is not None:
        _one_of(owner, "weight_memory", part.weight_memory, MEMORIES)
    if part.digits is not None:
        _one_of(owner, "digits", part.digits, DIGITS)
    if part.convolution is not None:
        _one_of(owner, "convolution", part.convolution, CONVOLUTIONS)
