"""What the exporter knows of each value while it walks a network: spikes, pooled spikes, or a sum of branches."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..spec.graph import Shape

__all__ = ["Branch", "Current", "FloatArray", "Pooled", "Spikes"]

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Spikes:
    """Codes that the integer operation ``source`` emits.

    Attributes:
        source: Name in the integer network.
        unit: Real value of one LSB, ``[C]`` (channels are the first axis of a sample).
        shape: Shape of one sample.
    """

    source: str
    unit: FloatArray
    shape: Shape


@dataclass(frozen=True)
class Pooled:
    """Average pooling of ``spikes``, not yet a synapse: it folds into a linear layer or stands alone.

    Attributes:
        spikes: What is pooled.
        kernel, stride, padding: The window.
        shape: Shape of one pooled sample, or its flattened length.
        gain: Weight per channel ``[C]`` applied on top.
    """

    spikes: Spikes
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    shape: Shape
    gain: FloatArray


@dataclass(frozen=True)
class Branch:
    """One synapse of a sum, in real units.

    Attributes:
        kind: Kind of the integer operation.
        name: Path in the source network.
        source: Name of the integer operation it reads.
        rows: Real weight per LSB of the source's code, ``[C_out, K]``.
        field: Name of the operation's weight field.
        weight_shape: Shape of that field.
        options: Its other constants.
    """

    kind: str
    name: str
    source: str
    rows: FloatArray
    field: str
    weight_shape: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Current:
    """Sum of branches plus a bias ``[C]``, in real units."""

    branches: tuple[Branch, ...]
    bias: FloatArray
    shape: Shape
