"""What every operation of the integer network has: a name, inputs, shapes, checks and a registry entry.

Signals are either *spikes* (digits of a code, or the code itself in packed form) or *currents* (integer
sums of weights). Synapses turn spikes into currents, neurons turn currents into spikes; a sum of currents
never passes a second synapse, as on neuromorphic hardware.
"""

from __future__ import annotations

import enum
import math
import operator
import re
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, ClassVar, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ..errors import BoundError, DtypeError, ParameterError, ShapeError, SpikePackError, UnsupportedError

__all__ = [
    "MAX_SIZE",
    "MAX_WEIGHT_BITS",
    "OPS",
    "Array",
    "Op",
    "Shape",
    "Signal",
    "Synapse",
    "boolean",
    "check_size",
    "integer",
    "pair",
    "register",
    "tensor_field",
]

Shape = tuple[int, ...]
Array = npt.NDArray[Any]
MAX_WEIGHT_BITS = 16
MAX_SIZE = 1 << 26  # values of one sample at one edge; a file cannot make its reader allocate more
OPS: dict[str, type[Op]] = {}
_NAME = re.compile(r"[A-Za-z0-9_.:+/-]{1,200}")
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


def integer(
    owner: str,
    name: str,
    value: Any,
    low: int,
    high: int,
    remedy: str,
    error: type[SpikePackError] = ParameterError,
) -> int:
    """``value`` as an ``int`` in ``low..high``; booleans and floats are none, numpy integers are."""
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or not low <= number <= high:
        raise error(f"{owner}: {name} must be an integer in {low}..{high}, got {value!r}; {remedy}.")
    return number


def boolean(owner: str, name: str, value: Any) -> bool:
    """``value`` as a ``bool``; numbers and text are none."""
    if not isinstance(value, (bool, np.bool_)):
        raise ParameterError(f"{owner}: {name} must be True or False, got {value!r}; pass a boolean.")
    return bool(cast("bool | np.bool_", value))


def pair(owner: str, name: str, value: Any, low: int) -> tuple[int, int]:
    """Two integers >= ``low`` from one integer or a pair."""
    both = tuple(cast("list[Any]", value)) if isinstance(value, (list, tuple)) else (value, value)
    if len(both) != 2:
        raise ShapeError(f"{owner}: {name} must be two integers, got {value!r}; pass one for each axis.")
    remedy = "pass one for both axes or one for each"
    first, second = (integer(owner, name, v, low, MAX_SIZE, remedy, ShapeError) for v in both)
    return first, second


def check_size(owner: str, shape: Shape) -> Shape:
    """Return ``shape``, or raise when one sample of it has more than ``MAX_SIZE`` values."""
    if math.prod(shape) > MAX_SIZE:
        raise ShapeError(
            f"{owner}: one sample may hold at most {MAX_SIZE} values, got shape {shape}; use smaller inputs."
        )
    return shape


def _check_name(kind: str, name: Any) -> None:
    # Names become paths of tensors, and of files and identifiers in generated hardware.
    if not isinstance(name, str) or not _NAME.fullmatch(name) or {"", ".", ".."} & set(name.split("/")):
        raise ParameterError(
            f"{kind}: name must be 1..200 characters of A-Z a-z 0-9 _ . : + - with single '/' in between, "
            f"got {name!r}; rename the layer."
        )


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
    since: ClassVar[int] = 1  # version of the exchange file that brought the kind
    accepts: ClassVar[Signal | None] = None
    emits: ClassVar[Signal | None] = None
    arity: ClassVar[tuple[int, int | None]] = (1, 1)

    def __post_init__(self) -> None:
        _check_name(self.kind, self.name)
        if not isinstance(self.inputs, (list, tuple)) or not all(
            isinstance(name, str) for name in self.inputs
        ):
            raise ShapeError(
                f"{self.label}: inputs must be a list of names, got {self.inputs!r}; name each operation."
            )
        object.__setattr__(self, "inputs", tuple(self.inputs))
        low, high = self.arity
        if len(self.inputs) < low or (high is not None and len(self.inputs) > high):
            least = "" if high is not None else "at least "
            raise ShapeError(
                f"{self.label}: needs {least}{low} input(s), got {len(self.inputs)}; connect them."
            )
        for item in self.tensor_fields():
            # A copy: the caller's array stays writable, and writing to it does not change the network.
            array = np.array(getattr(self, item.name), order="C")
            if array.dtype != item.metadata["tensor"]:
                raise DtypeError(
                    f"{self.label}: {item.name} must have dtype {item.metadata['tensor']}, got "
                    f"{array.dtype}; convert it."
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

    @property
    def version(self) -> int:
        """Oldest version of the exchange file that holds the operation."""
        return self.since

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
        remedy = "use a coarser weight scale"
        bits = integer(self.label, "weight_bits", self.weight_bits, 1, MAX_WEIGHT_BITS, remedy, BoundError)
        object.__setattr__(self, "weight_bits", bits)
        weight, limit = self.weights().astype(np.int64), 1 << (bits - 1)
        # One bit holds two values: binary weights are -1 and 1.
        fits = np.abs(weight) == 1 if bits == 1 else (-limit <= weight) & (weight < limit)
        if not fits.all():
            raise BoundError(
                f"{self.label}: weights must be {f'in {-limit}..{limit - 1}' if bits > 1 else '-1 or 1'} to "
                f"fit {bits} bit(s), got {weight.min()}..{weight.max()}; declare more weight_bits or a "
                "larger weight scale."
            )
