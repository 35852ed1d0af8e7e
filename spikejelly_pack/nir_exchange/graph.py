"""A NIR graph that is being written."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..spec.errors import SpikePackError, UnsupportedError
from ..spec.graph.base import Array, Shape
from ..spec.reason import reason
from .digits import spread
from .library import nir_package

__all__ = ["GraphWriter", "Value", "ungrouped"]

#: Names of the nodes whose sum the value is: edges that meet add up.
Value = tuple[str, ...]


def ungrouped(weight: Array, groups: int) -> Array:
    """The same convolution without groups, zeros between them.

    NIR has ``groups``, but the shapes its reader infers from a file are those of ``groups=1``.
    """
    per_group, outputs = weight.shape[1], len(weight) // groups
    dense = np.zeros((len(weight), per_group * groups, *weight.shape[2:]), weight.dtype)
    for group in range(groups):
        rows = slice(group * outputs, (group + 1) * outputs)
        dense[rows, group * per_group : (group + 1) * per_group] = weight[rows]
    return dense


class GraphWriter:
    """Nodes and edges so far.

    Args:
        dtype: Of all constants.
    """

    def __init__(self, dtype: Any) -> None:
        self.nir, self.dtype = nir_package(), dtype
        self.nodes: dict[str, Any] = {}
        self.edges: list[tuple[str, str]] = []

    def add(self, name: str, node: Any, value: Value = (), shape: Shape = ()) -> Value:
        """Enter a node that reads ``value`` (a sum, of samples of ``shape``); returns its output."""
        name = self._unique(name)
        self.nodes[name] = node
        for source in dict.fromkeys(value):
            self.edges.append((source, name))
            # An edge exists once, so another copy of the same summand passes a node of its own.
            for _ in range(value.count(source) - 1):
                copy = self._unique(f"{source}_copy")
                self.nodes[copy] = self.nir.Scale(np.ones(shape, self.dtype))
                self.edges += [(source, copy), (copy, name)]
        return (name,)

    def scale(self, name: str, value: Value, factors: Array, shape: Shape) -> Value:
        """Multiply by ``[1]`` or ``[C]``."""
        return self.add(name, self.nir.Scale(spread(factors, shape, self.dtype)), value, shape)

    def channel_affine(self, name: str, value: Value, scale: Array, bias: Array, shape: Shape) -> Value:
        """``scale * x + bias`` per channel, in the dtype of ``scale``.

        NIR has it as a diagonal ``Affine`` or a 1 x 1 ``Conv2d``.
        """
        channels = shape[0]
        factors, shift = (spread(values, (channels,), scale.dtype) for values in (scale, bias))
        if len(shape) == 1:
            return self.add(name, self.nir.Affine(np.diag(factors), shift), value, shape)
        if len(shape) == 3:
            kernel = np.diag(factors).reshape(channels, channels, 1, 1)
            node = self.nir.Conv2d(None, kernel, 1, 0, 1, 1, shift)
            return self.add(name, node, value, shape)
        raise UnsupportedError(
            f"NIR: operation {name!r}: a bias per channel must be of samples with 1 or 3 axes, got shape "
            f"{shape}; fold it into the layer before."
        )

    def graph(self, metadata: dict[str, Any]) -> Any:
        """The checked ``nir.NIRGraph``.

        Raises:
            UnsupportedError: NIR's own check of the shapes refuses the graph.
        """
        try:
            return self.nir.NIRGraph(self.nodes, self.edges, metadata=metadata)
        except SpikePackError:
            raise
        except (ValueError, TypeError, IndexError, AssertionError) as error:
            raise UnsupportedError(
                f"NIR: the graph must pass NIR's own shape check, got {reason(error)}; NIR "
                "infers the shapes of square kernels only: change the layer."
            ) from None

    def _unique(self, wanted: str) -> str:
        # '/' separates groups in HDF5
        wanted = wanted.replace("/", "_")
        name, count = wanted, 2
        while name in self.nodes:
            name, count = f"{wanted}_{count}", count + 1
        return name
