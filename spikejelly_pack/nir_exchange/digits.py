"""A SpikePack population as a sub-graph of NIR's stateless nodes: one ``Threshold`` per digit.

The firing equation itself, most significant digit first: digit t fires where the membrane, less what the
earlier digits took, exceeds its threshold; ``Scale`` nodes are the soft resets and the digits' values, and
edges that meet are sums. NIR fires on ``v > threshold``, SpikePack on ``v >= threshold``: the stored
threshold is the next smaller float.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..spec.errors import ExchangeFileError, UnsupportedError
from ..spec.graph.base import Array, Shape
from ..spec.parameters import NeuronParameters
from .library import nir_package

__all__ = ["KEY", "Digits", "spread"]

KEY = "spikepack"  # of the sub-graph's metadata
_ARRAYS = ("theta", "bias", "amplitude")
_SCALARS = ("time_steps", "tau", "signed", "rounding")


def spread(values: Array, shape: Shape, dtype: Any = np.float64) -> Array:
    """Values ``[1]`` or ``[C]`` as one array of a sample's shape, channels first, as NIR wants them."""
    column = np.asarray(values, np.float64).reshape(-1, *(1,) * (len(shape) - 1))
    return np.ascontiguousarray(np.broadcast_to(column, shape)).astype(dtype)


@dataclass(frozen=True, eq=False)
class Digits:
    """One population.

    Attributes:
        parameters: T, tau, signed and rounding; no leak.
        theta: float64 ``[1]`` or ``[C]``, the membrane of the full code.
        bias: float64 ``[1]`` or ``[C]``, added to the membrane.
        amplitude: float64 ``[1]`` or ``[C]``, what a full code stands for.
        shape: Shape of one sample.
        dtype: Of the stored arrays.
    """

    parameters: NeuronParameters
    theta: Array
    bias: Array
    amplitude: Array
    shape: Shape
    dtype: Any

    def graph(self, owner: str) -> Any:
        """The ``nir.NIRGraph``, its parameters in the metadata.

        Raises:
            UnsupportedError: The neuron carries something from window to window.
        """
        if self.parameters.leak > 0.0:
            raise UnsupportedError(
                f"NIR: neuron {owner!r} must have leak 0, got {self.parameters.leak}; NIR's neurons with "
                "memory reset to a constant, which no soft reset is: set leak to 0."
            )
        nir = nir_package()
        nodes: dict[str, Any] = {"input": nir.Input({"input": np.array(self.shape)})}
        edges: list[tuple[str, str]] = []
        self._branch(nir, nodes, edges, "", 1.0, "input")
        if self.parameters.signed:
            nodes["minus"] = nir.Scale(np.full(self.shape, -1.0, self.dtype))
            edges.append(("input", "minus"))
            self._branch(nir, nodes, edges, "negative_", -1.0, "minus")
        nodes["output"] = nir.Output({"output": np.array(self.shape)})
        return nir.NIRGraph(nodes, edges, metadata=self._metadata())

    def _branch(
        self,
        nir: Any,
        nodes: dict[str, Any],
        edges: list[tuple[str, str]],
        prefix: str,
        sign: float,
        source: str,
    ) -> None:
        p = self.parameters
        lsb = self.theta / p.weight_sum
        for t, q in enumerate(p.weights, start=1):
            digit, reset, value = f"{prefix}digit_{t}", f"{prefix}reset_{t}", f"{prefix}value_{t}"
            level = spread(lsb * q - p.half * lsb - sign * self.bias, self.shape, self.dtype)
            nodes[digit] = nir.Threshold(np.nextafter(level, np.array(-np.inf, self.dtype)))
            nodes[value] = nir.Scale(spread(sign * self.amplitude * q / p.weight_sum, self.shape, self.dtype))
            edges += [(source, digit), (digit, value), (value, "output")]
            if t < p.time_steps:
                nodes[reset] = nir.Scale(spread(-lsb * q, self.shape, self.dtype))
                edges.append((digit, reset))
                edges += [(reset, f"{prefix}digit_{later}") for later in range(t + 1, p.time_steps + 1)]

    def _metadata(self) -> dict[str, Any]:
        scalars = {name: value for name, value in asdict(self.parameters).items() if name in _SCALARS}
        arrays = {name: np.asarray(getattr(self, name), np.float64).reshape(-1) for name in _ARRAYS}
        return {KEY: json.dumps({"version": 1, **scalars}), **arrays}

    @classmethod
    def of(cls, owner: str, graph: Any) -> Digits:
        """The population that ``graph`` was written from.

        Raises:
            UnsupportedError: The sub-graph is none of ours.
            ExchangeFileError: Nodes and metadata disagree.
        """
        if KEY not in graph.metadata:
            raise UnsupportedError(
                f"NIR: node {owner!r} must be a single operation or a SpikePack population, got a sub-graph; "
                "flatten it before reading."
            )
        found = cls._from_metadata(owner, graph)
        try:
            with np.errstate(over="raise", invalid="raise"):
                described = found.graph(owner)
        except FloatingPointError as error:
            raise ExchangeFileError(
                f"NIR: the metadata of sub-graph {owner!r} must hold numbers that fit {found.dtype}, got "
                f"{error}; write the file again."
            ) from None
        if not _same(graph, described):
            raise ExchangeFileError(
                f"NIR: the nodes of sub-graph {owner!r} must be those its metadata describes, got others; "
                "write the file again, or remove the metadata to be told what cannot be read."
            )
        return found

    @classmethod
    def _from_metadata(cls, owner: str, graph: Any) -> Digits:
        try:
            scalars = json.loads(graph.metadata[KEY])
            if scalars.pop("version") != 1:
                raise ValueError("another version")
            arrays = {name: np.asarray(graph.metadata[name], np.float64).reshape(-1) for name in _ARRAYS}
            (shape,) = (tuple(int(n) for n in value) for value in graph.input_type.values())
            parameters = NeuronParameters(**scalars)
            dtype = graph.nodes["digit_1"].threshold.dtype
            for values in arrays.values():
                spread(values, shape)
        except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            raise ExchangeFileError(
                f"NIR: the metadata of sub-graph {owner!r} must describe a SpikePack population, got "
                f"{type(error).__name__}: {error}; write the file again."
            ) from None
        return cls(parameters, **arrays, shape=shape, dtype=dtype)


def _same(one: Any, other: Any) -> bool:
    """Whether two graphs have the same nodes, constants and edges."""
    if one.nodes.keys() != other.nodes.keys() or sorted(map(tuple, one.edges)) != sorted(
        map(tuple, other.edges)
    ):
        return False
    return all(_same_node(one.nodes[name], other.nodes[name]) for name in one.nodes)


def _same_node(one: Any, other: Any) -> bool:
    left, right = one.to_dict(), other.to_dict()
    return left.keys() == right.keys() and all(
        np.array_equal(left[key], right[key]) for key in left if key != "metadata"
    )
