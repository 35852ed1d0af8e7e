"""What the exporter knows of each value while it walks a network."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..spec.graph import Op, Shape

__all__ = ["Analog", "Branch", "Current", "FloatArray", "Joined", "Pooled", "Spikes", "Value", "parts_of"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Analog:
    """An input of the network before its encoder; ``shape`` is that of one sample."""

    shape: Shape
    entry: str = "input"


@dataclass(frozen=True)
class Spikes:
    """Codes that the integer operation ``source`` emits.

    Attributes:
        source: Name in the integer network.
        unit: Real value of one LSB, ``[C]`` (channels are the first axis of a sample).
        shape: Shape of one sample.
        max_code: Largest magnitude of a code.
        signed: Whether codes can be negative.
    """

    source: str
    unit: FloatArray
    shape: Shape
    max_code: int
    signed: bool


@dataclass(frozen=True)
class Pooled:
    """Average pooling of ``spikes``, not yet a synapse: it folds into a linear layer or stands alone.

    Attributes:
        spikes: What is pooled.
        kernel, stride, padding: The window.
        size: Height and width of the pooled map.
        flat: Whether it has been flattened.
        gain: Weight per channel ``[C]`` applied on top.
    """

    spikes: Spikes
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    size: tuple[int, int]
    flat: bool
    gain: FloatArray

    @property
    def shape(self) -> Shape:
        """Shape of one sample."""
        shape = (self.spikes.shape[0], *self.size)
        return (int(np.prod(shape)),) if self.flat else shape


@dataclass(frozen=True)
class Branch:
    """One synapse of a sum, in real units.

    Attributes:
        kind: Kind of the integer operation.
        name: Path in the source network.
        source: What it reads.
        rows: Real weight per LSB of the source's code, ``[C_out, K]``.
        weight_field: Name of the operation's weight field.
        weight_shape: Shape of that field.
        options: Its other constants.
        copies: Inputs of one sum that share each weight (a pooling window; else 1).
        quantized_bits: Width of the layer's weights where they are quantized already, else None.
        after: Wiring behind the synapse, in order (its names and inputs are set when it is built).
        together: Masks over K of the weights that can meet in one sum (of a strided transposed convolution);
            empty: all of them.
    """

    kind: str
    name: str
    source: Spikes
    rows: FloatArray
    weight_field: str
    weight_shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    copies: int = 1
    quantized_bits: int | None = None
    after: tuple[Op, ...] = ()
    together: tuple[npt.NDArray[np.bool_], ...] = ()

    def reach(self, row: npt.NDArray[Any]) -> tuple[float, float]:
        """Largest magnitudes that the sum over weights ``row`` ``[K]`` reaches upwards and downwards."""
        groups = [row[mask] for mask in self.together] or [row]
        up = self.most * max(float(group.clip(min=0).sum()) for group in groups)
        down = self.most * max(float((-group).clip(min=0).sum()) for group in groups)
        return (up + down, up + down) if self.source.signed else (up, down)

    @property
    def most(self) -> int:
        """Largest magnitude that the codes behind one weight can sum up to."""
        return self.source.max_code * self.copies


@dataclass(frozen=True)
class Current:
    """Sum of branches plus a bias ``[C]``, in real units."""

    branches: tuple[Branch, ...]
    bias: FloatArray
    shape: Shape


@dataclass(frozen=True)
class Joined:
    """Sums of currents side by side along the channels, which one population reads."""

    parts: tuple[Current, ...]

    @property
    def shape(self) -> Shape:
        """Shape of one sample."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])


def parts_of(current: Current | Joined) -> tuple[Current, ...]:
    """The sums that stand side by side: one, unless they are joined."""
    return current.parts if isinstance(current, Joined) else (current,)


Value = Analog | Spikes | Pooled | Current | Joined
