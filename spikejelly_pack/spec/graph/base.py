"""What every operation of the integer network has: a name, inputs, shapes, checks and a registry entry.

Signals are either *spikes* (digits of a code, or the code itself in packed form) or *currents* (integer
sums of weights). Synapses turn spikes into currents, neurons turn currents into spikes; a sum of currents
never passes a second synapse, as on neuromorphic hardware.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from ..errors import BoundError, DtypeError, ShapeError, UnsupportedError

__all__ = [
    "MAX_WEIGHT_BITS",
    "OPS",
    "Array",
    "Op",
    "Shape",
    "Signal",
    "Synapse",
    "pair",
    "register",
    "tensor_field",
]

Shape = tuple[int, ...]
Array = npt.NDArray[Any]
MAX_WEIGHT_BITS = 16
OPS: dict[str, type[Op]] = {}
_OpType = TypeVar("_OpType", bound="type[Op]")


class Signal(enum.Enum):
    """What flows along an edge."""

    SPIKES = "spikes"
    CURRENTS = "currents"


def register(kind: str) -> Callable[[_OpType], _OpType]:
    """Class decorator: enter an operation under ``kind``, the name it has in the exchange file."""

    def enter(cls: _OpType) -> _OpType:
        if kind in OPS:
            raise ValueError(f"operation kind {kind!r} is registered twice")
        cls.kind = kind
        OPS[kind] = cls
        return cls

    return enter


def tensor_field(dtype: type[np.generic]) -> Any:
    """A dataclass field stored as a tensor of ``dtype`` in the exchange file (others go to its JSON)."""
    return field(metadata={"tensor": np.dtype(dtype)})


def pair(owner: str, name: str, value: Any, low: int) -> tuple[int, int]:
    """Two integers >= ``low`` from one integer or a pair."""
    both = tuple(value) if isinstance(value, (list, tuple)) else (value, value)
    if len(both) != 2 or any(isinstance(v, bool) or not isinstance(v, int) or v < low for v in both):
        raise ShapeError(f"{owner}: {name} must be two integers >= {low}, got {value!r}.")
    return both[0], both[1]


@dataclass(frozen=True, eq=False)
class Op:
    """One operation of the network; subclasses add their constants as dataclass fields.

    Attributes:
        name: Unique in the network; the layer's path in the source model where there is one.
        inputs: Names of the operations it reads.
    """

    name: str
    inputs: tuple[str, ...]

    kind: ClassVar[str]
    accepts: ClassVar[Signal | None] = None
    emits: ClassVar[Signal | None] = None
    arity: ClassVar[tuple[int, int | None]] = (1, 1)

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise ShapeError(f"{self.kind}: name must be a non-empty string, got {self.name!r}.")
        object.__setattr__(self, "inputs", tuple(self.inputs))
        low, high = self.arity
        if len(self.inputs) < low or (high is not None and len(self.inputs) > high):
            raise ShapeError(f"{self.label}: needs {low} input(s), got {len(self.inputs)}.")
        for item in self.tensor_fields():
            array = np.ascontiguousarray(getattr(self, item.name))
            if array.dtype != item.metadata["tensor"]:
                raise DtypeError(
                    f"{self.label}: {item.name} must have dtype {item.metadata['tensor']}, got {array.dtype}."
                )
            array.setflags(write=False)
            object.__setattr__(self, item.name, array)
        self.check()

    @property
    def label(self) -> str:
        """How messages name the operation."""
        return f"{self.kind} {self.name!r}"

    @classmethod
    def tensor_fields(cls) -> list[Field[Any]]:
        """Fields stored as tensors."""
        return [item for item in fields(cls) if "tensor" in item.metadata]

    def check(self) -> None:
        """Raise when a constant of the operation is out of range."""

    def output_shape(self, *shapes: Shape) -> Shape:
        """Shape of one sample of the output, without batch and time axes."""
        raise UnsupportedError(f"{self.label}: the kind declares no output shape.")


@dataclass(frozen=True, eq=False)
class Synapse(Op):
    """A linear, stateless operation from spikes to currents; it commutes with the charge.

    Attributes:
        weight_bits: Declared width of a weight, sign included.
    """

    weight_bits: int
    accepts: ClassVar[Signal | None] = Signal.SPIKES
    emits: ClassVar[Signal | None] = Signal.CURRENTS
    plumbing: ClassVar[bool] = False  # exists in the integer form only (pool, skip)

    def weights(self) -> Array:
        """The integer weights."""
        return np.asarray(getattr(self, self.tensor_fields()[0].name))

    def apply(self, x: Array, weight: Array | None = None) -> Array:
        """Currents ``[N, *]`` (int64) from codes or digits ``[N, *]``; ``weight`` replaces the own ones."""
        raise UnsupportedError(f"{self.label}: the kind has no numpy reference.")

    def check(self) -> None:
        if not 1 <= self.weight_bits <= MAX_WEIGHT_BITS:
            raise BoundError(
                f"{self.label}: weight_bits must be in 1..{MAX_WEIGHT_BITS}, got {self.weight_bits}."
            )
        weight, limit = self.weights().astype(np.int64), 1 << (self.weight_bits - 1)
        if weight.size and not (-limit <= weight.min() and weight.max() < max(limit, 2)):
            raise BoundError(
                f"{self.label}: weights must fit {self.weight_bits} bits, got {weight.min()}..{weight.max()}; "
                "declare more weight_bits or a larger weight scale."
            )
