"""``read_nir``: a NIR graph as a SpikePack network."""

from __future__ import annotations

import keyword
import math
import operator
import os
import re
from dataclasses import dataclass
from functools import partial
from graphlib import CycleError, TopologicalSorter
from typing import Any

import torch
from spikingjelly.activation_based import functional
from torch import fx, nn

from ..neuron import SpikePackNode, set_form
from ..recipes.graph import fresh_name
from ..spec.errors import DtypeError, ExchangeFileError, ParameterError, ShapeError, UnsupportedError
from ..spec.graph.base import Shape, check_size
from ..spec.parameters import check_choice
from ..spec.reason import reason
from .library import check_arrays, faults_of_nir, nir_package
from .readers import RULES, Reading

__all__ = ["read_nir"]

TIMES = ("rate", "steps")


def read_nir(
    source: Any,
    *,
    time: str = "rate",
    time_steps: int | None = None,
    dt: float = 1e-4,
    input_threshold: float | None = None,
    input_signed: bool = False,
    dtype: torch.dtype = torch.float32,
) -> fx.GraphModule:
    """Read a NIR graph into a network of SpikePackNodes in packed form.

    NIR: Pedersen et al., Neuromorphic intermediate representation (2024), doi 10.1038/s41467-024-52259-9.

    Args:
        source: Path of a NIR file, or a ``nir.NIRGraph``.
        time: What becomes of NIR's time. ``"rate"``: nothing is left of it; an ``IF`` becomes a node whose
            value is its spikes per ``dt`` under a constant input. ``"steps"``: each ``dt`` is one window,
            input ``[W, N, *]``; ``IF`` and ``LIF`` keep their membrane between windows.
        time_steps: T of the nodes; None: 4 with ``"rate"``, 1 with ``"steps"``, where every spike is one of
            NIR's.
        dt: Seconds per time step.
        input_threshold: Put an encoder with this threshold behind the input, so that every layer reads
            spikes, as :func:`.export` needs; None adds none.
        input_signed: Whether that encoder is signed.
        dtype: Of parameters and buffers.

    Returns:
        The network: one module per node, named after it, sums where edges meet.

    Raises:
        UnsupportedError: A node has no meaning here; the message names it.
        ExchangeFileError: The file is no NIR file, or the graph is inconsistent.
        ShapeError: Shapes do not fit.
        DtypeError: ``dtype`` is neither float32 nor float64.
        ParameterError: An argument or a neuron's parameter is outside its range.
        EnvironmentMissingError: The package ``nir`` is not installed.
    """
    check_choice("NIR", "time", time, TIMES)
    if dtype not in (torch.float32, torch.float64):
        raise DtypeError(
            f"NIR: dtype must be torch.float32 or torch.float64, got {dtype}; choose one of these."
        )
    steps = time_steps if time_steps is not None else (4 if time == "rate" else 1)
    graph = _loaded(source)
    encoder = None
    if input_threshold is not None:
        encoder = SpikePackNode(steps, v_threshold=input_threshold, signed=input_signed)
    model = _Builder(graph, Reading(time, steps, _checked_dt(dt), dtype), encoder).run()
    set_form(model, "packed")
    functional.set_step_mode(model, "m" if time == "steps" else "s")
    functional.reset_net(model)
    return model


def _attribute(name: str) -> str:
    """A node's name as that of a module: torch.fx writes it into the code it generates, unquoted."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "node"
    return f"{plain}_" if keyword.iskeyword(plain) else plain


def _checked_dt(dt: float) -> float:
    if isinstance(dt, bool) or not isinstance(dt, (int, float)) or not (math.isfinite(dt) and dt > 0):
        raise ParameterError(f"NIR: dt must be a positive number of seconds, got {dt!r}; 1e-4 is usual.")
    return float(dt)


def _loaded(source: Any) -> Any:
    nir = nir_package()
    if isinstance(source, nir.NIRGraph):
        return source
    if not isinstance(source, (str, os.PathLike)):
        raise ExchangeFileError(
            f"NIR: source must be a path or a nir.NIRGraph, got {type(source).__name__}; pass one of these."
        )
    with faults_of_nir(f"{os.fspath(source)}", "must be a NIR file", "write it again with nir.write"):
        check_arrays(source)
        # Shapes are checked by running the network: NIR's own check knows square kernels only.
        graph = nir.read(source, type_check=False)
    if not isinstance(graph, nir.NIRGraph):
        raise ExchangeFileError(
            f"{os.fspath(source)}: must hold a NIRGraph, got {type(graph).__name__}; wrap the node in a "
            "graph."
        )
    return graph


@dataclass
class _Place:
    """Where a node of the NIR graph is in the traced one."""

    node: fx.Node
    shape: Shape


class _Builder:
    """One pass in topological order; every node sees the shape of what it reads."""

    def __init__(self, graph: Any, reading: Reading, encoder: SpikePackNode | None) -> None:
        self.nir, self.source, self.reading, self.encoder = nir_package(), graph, reading, encoder
        self.model = fx.GraphModule(nn.Module(), fx.Graph())
        self.places: dict[str, _Place] = {}

    def run(self) -> fx.GraphModule:
        """The network, its shapes checked on zeros."""
        sources = self._sources()
        results = []
        for name in self._order(sources):
            node = self.source.nodes[name]
            if isinstance(node, self.nir.Input):
                self.places[name] = self._input(name, node)
            elif isinstance(node, self.nir.Output):
                results.append(self._sum(name, sources[name]).node)
            else:
                self.places[name] = self._module(name, node, self._sum(name, sources[name]))
        if not results:
            raise UnsupportedError("NIR: the graph must have an Output, got none; add one.")
        self.model.graph.output(results[0] if len(results) == 1 else tuple(results))
        self.model.graph.lint()
        self.model.recompile()
        return self.model.eval()

    def _sources(self) -> dict[str, list[str]]:
        """Names that each node reads."""
        sources: dict[str, list[str]] = {name: [] for name in self.source.nodes}
        with faults_of_nir("NIR", "edges must be pairs of names of nodes", "mend the graph"):
            for before, after in self.source.edges:
                if before not in sources:
                    raise KeyError(before)
                sources[after].append(before)
        inputs = [name for name, node in self.source.nodes.items() if isinstance(node, self.nir.Input)]
        if len(inputs) != 1:
            raise UnsupportedError(f"NIR: the graph must have one Input, got {inputs}; read its parts.")
        for name, read in sources.items():
            if not read and name not in inputs:
                raise ExchangeFileError(
                    f"NIR: node {name!r} must read something, got no edge; connect or remove it."
                )
        return sources

    def _order(self, sources: dict[str, list[str]]) -> list[str]:
        try:
            return list(TopologicalSorter(sources).static_order())
        except CycleError as error:
            raise UnsupportedError(
                f"NIR: the graph must have no cycle, got {' -> '.join(error.args[1])}; recurrent "
                "connections have no packed form."
            ) from None

    def _input(self, name: str, node: Any) -> _Place:
        with faults_of_nir(f"NIR: Input {name!r}", "must have a shape", "give the shape of one sample"):
            shape = tuple(int(n) for n in node.input_type["input"])
        if not shape or min(shape) < 1:
            raise ExchangeFileError(
                f"NIR: Input {name!r} must have a shape of positive sizes, got {shape}; mend it."
            )
        place = _Place(self.model.graph.placeholder("input"), shape)
        return place if self.encoder is None else self._call("encoder", self.encoder, place)

    def _sum(self, name: str, sources: list[str]) -> _Place:
        places = [self.places[source] for source in sources]
        shapes = {place.shape for place in places}
        if len(shapes) > 1:
            raise ExchangeFileError(
                f"NIR: the edges into {name!r} must carry equal shapes, got {sorted(shapes)}; mend the graph."
            )
        total = places[0].node
        for place in places[1:]:
            total = self.model.graph.call_function(operator.add, (total, place.node))
        return _Place(total, places[0].shape)

    def _module(self, name: str, node: Any, place: _Place) -> _Place:
        kind = type(node).__name__
        rule = RULES.get(kind)
        if rule is None:
            raise UnsupportedError(
                f"NIR: node {name!r}: {kind} has no meaning in a SpikePack network; graphs of "
                f"{', '.join(sorted(RULES))} can be read."
            )
        with faults_of_nir(f"NIR: node {name!r}", f"must be a well-formed {kind}", "mend the graph"):
            modules = rule(name, node, place.shape, self.reading)
        for suffix, module in modules:
            place = self._call(f"{name}{suffix}", module.to(self.reading.dtype), place)
        return place

    def _call(self, name: str, module: nn.Module, place: _Place) -> _Place:
        name = fresh_name(self.model, _attribute(name))
        self.model.add_module(name, module.eval())
        node = self.model.graph.call_module(name, (place.node,))
        return _Place(node, self._shape(name, module, place.shape))

    def _shape(self, name: str, module: nn.Module, shape: Shape) -> Shape:
        """Shape behind ``module``, by running it on zeros; first without values: a file may pad at will."""
        owner = f"NIR: node {name!r}"
        zeros = partial(torch.zeros, 1, *check_size(owner, shape), dtype=self.reading.dtype)
        try:
            with torch.no_grad():
                if not isinstance(module, SpikePackNode):  # whose output is as large as its input
                    constants = {**dict(module.named_parameters()), **dict(module.named_buffers())}
                    bare = {name: value.to("meta") for name, value in constants.items()}
                    result = torch.func.functional_call(module, bare, (zeros(device="meta"),))
                    check_size(owner, tuple(result.shape[1:]))
                result = module(zeros())
        except (ArithmeticError, RuntimeError, ValueError, IndexError, TypeError) as error:
            raise ShapeError(
                f"{owner}: samples must fit the operation, got shape {shape}: "
                f"{reason(error)}; mend the graph."
            ) from None
        functional.reset_net(module)
        return check_size(owner, tuple(result.shape[1:]))
