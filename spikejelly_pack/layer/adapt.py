"""Make the packed and the serial form of a network the same function, or say where they are not."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from spikingjelly.activation_based import functional, layer
from spikingjelly.activation_based.neuron.base_node import BaseNode
from torch import Tensor, fx, nn

from .balance import Delay, balance
from .containers import in_time, sequence_around
from .dataflow import Finding, Kind, edge_kinds, findings
from .handlers import Outcome, Site, handler_of, unknown_module
from .join_windows import join_windows
from .max_pool import SpikePackMaxPool2d
from .members import form_modules, is_node, nodes_of, shared_code
from .readout import WeightedReadout
from .temporal import TemporalWindow
from .time_axis import hidden_members, time_axes
from .trace import trace
from .window import FormModule

__all__ = ["AdaptReport", "Replacement", "adapt"]


@dataclass(frozen=True)
class Replacement:
    """One module that is exact now.

    Attributes:
        name: Module path in the network (``""`` is the network itself).
        before: Its type before.
        after: Its type now.
        reason: Why the forms differed.
    """

    name: str
    before: str
    after: str
    reason: str


@dataclass(frozen=True)
class AdaptReport:
    """What :func:`adapt` did.

    Attributes:
        replaced: Modules that are exact now.
        named: What still makes the forms differ in eval mode.
        training: What makes them differ in training only.
        trace_error: Why the dataflow could not be followed, ``""`` where it could; then functions called in a
            ``forward`` were not looked at, and only modules were.
        latency: Latency of the single-step form in time steps, None where it is not known.
        delays: Skip branches delayed in single-step form.
        single_step: Why the single-step form has no known latency, ``""`` where it has.
    """

    replaced: tuple[Replacement, ...]
    named: tuple[Finding, ...]
    training: tuple[Finding, ...]
    trace_error: str = ""
    latency: int | None = None
    delays: tuple[Delay, ...] = field(default_factory=tuple)
    single_step: str = ""

    @property
    def exact(self) -> bool:
        """Whether packed and serial multi-step form agree in eval mode, as far as could be seen."""
        return not self.named and not self.trace_error

    @property
    def reasons(self) -> dict[str, str]:
        """Reason of every replacement and finding, by name."""
        entries = (*self.replaced, *self.named, *self.training)
        return {entry.name: entry.reason for entry in entries}

    def __str__(self) -> str:
        """One line per kind of replacement and finding, for people."""
        unseen = ", as far as modules tell (the forward could not be traced)" if self.trace_error else ""
        verdict = "differ in eval mode" if self.named else f"agree in eval mode{unseen}"
        lines = [f"packed and serial multi-step form {verdict}"]
        lines += _grouped("replaced", [(f"{e.before} -> {e.after}", e.reason, e.name) for e in self.replaced])
        lines += _grouped("left", [(e.operation, f"{e.reason}; {e.remedy}", e.name) for e in self.named])
        training = [(e.operation, f"{e.reason}; {e.remedy}", e.name) for e in self.training]
        lines += _grouped("in training only", training)
        known = f"{self.latency} time steps, {len(self.delays)} skip branches delayed"
        lines.append(f"single-step latency: {self.single_step if self.latency is None else known}")
        if self.trace_error:
            lines.append(f"not traced: {self.trace_error} (pass adapt an example_input)")
        return "\n".join(lines)


def _grouped(title: str, entries: list[tuple[str, str, str]]) -> list[str]:
    """A line per operation and reason, with how often and the first place."""
    places: dict[tuple[str, str], list[str]] = {}
    for operation, reason, name in entries:
        places.setdefault((operation, reason), []).append(name or "net")
    return [
        f"{title}: {operation} at {names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {reason}"
        for (operation, reason), names in places.items()
    ]


def adapt(net: nn.Module, example_input: Tensor | tuple[Tensor, ...] | None = None) -> AdaptReport:
    """Replace what does not commute with the charge by its exact form, in place, or name it.

    Affine layers commute with the charge. Max-pooling of spikes, products of two spike trains (attention,
    SEW's AND and IAND), activations, attention over time and a readout by ``.mean(0)`` do not; each known
    one is replaced. Parameters and ``state_dict`` keys stay. Call it after building and loading; calling it
    again changes nothing. Nodes of different windows all get the longest, and the weights behind the others
    absorb what their output loses by it.

    Args:
        net: Network of SpikePack nodes.
        example_input: One input as ``net`` takes it now. Builders whose forward looks at its input
            (``x.ndim``) need it to be traced; without a trace, only modules are looked at and pools decode
            whole windows.

    Returns:
        What was replaced and what was not.

    Raises:
        UnsupportedError: ``net`` has no SpikePackNode, nodes of different tau, or nodes of different windows
            where no weight can absorb the difference.
    """
    _load_handlers()
    replaced = _joined(net, example_input)
    code = shared_code(net, "adapt")
    first = next(iter(nodes_of(net).values()))
    _set_windows(net, code.time_steps)
    graph, _ = trace(net, example_input)
    kinds, hidden = _seen(graph, net) if graph is not None else ({}, frozenset[str]())
    named: list[Finding] = []
    training: list[Finding] = []
    for site in _sites(net, Site("", net, None, code, first.form, first.step_mode, None), kinds, hidden):
        before = type(site.module).__name__
        handler = handler_of(site.module) or unknown_module
        _apply(site, before, in_time(site, handler(site)), replaced, named, training)
    functional.invalidate_reset_cache(net)
    graph, error = trace(net, example_input)
    if graph is not None:
        kinds_of = edge_kinds(graph, net)
        known = {finding.name for finding in named}
        named.extend(found for found in hidden_members(graph, net, kinds_of) if found.name not in known)
        named.extend(findings(graph, net, kinds_of, WeightedReadout))
    latency, delays, single_step = balance(net)
    return AdaptReport(tuple(replaced), tuple(named), tuple(training), error, latency, delays, single_step)


def _joined(net: nn.Module, example_input: Tensor | tuple[Tensor, ...] | None) -> list[Replacement]:
    """Layers whose weights absorb that all codes now share one window."""
    reason = (
        "codes of fewer time steps are right-aligned in the longest window: its weight absorbs the factor"
    )
    types = {name: type(net.get_submodule(name)).__name__ for name in join_windows(net, example_input)}
    return [Replacement(name, kind, kind, reason) for name, kind in types.items()]


def _set_windows(net: nn.Module, window: int) -> None:
    """Layers of an earlier call follow the nodes to another window, unless they were built for theirs."""
    for _, module in form_modules(net):
        if isinstance(module, FormModule) and not isinstance(module, TemporalWindow):
            module.time_steps = window


def _load_handlers() -> None:
    """Import what registers handlers: late, because SpikingJelly's builders pull in torchvision."""
    for room in ("handle_layers", "handle_blocks"):
        importlib.import_module(f"{__package__}.{room}")


def _seen(graph: fx.Graph, net: nn.Module) -> tuple[dict[str, Kind], frozenset[str]]:
    """What flows into every module of the graph, and the modules that do not find the time axis first."""
    edges = edge_kinds(graph, net)
    away = frozenset(path for path, axis in time_axes(graph, net, edges).items() if axis != 0)
    return _input_kinds(graph, edges), away


def _sites(net: nn.Module, root: Site, kinds: dict[str, Kind], hidden: frozenset[str]) -> Iterator[Site]:
    """Every module, parents first; a handler may change a module's children before they are visited."""
    yield root
    current = root.module if root.parent is None else getattr(root.parent, root.path.rpartition(".")[2])
    if isinstance(current, BaseNode | FormModule):
        return
    in_container = isinstance(current, layer.SeqToANNContainer | layer.MultiStepContainer)
    sequence, away = sequence_around(current, root)
    for attribute, child in list(current.named_children()):
        path = f"{root.path}.{attribute}" if root.path else attribute
        kind = kinds.get(path)
        if kind is None:
            kind = _predecessor_kind(current, attribute, root.kind)
        mode = "m" if in_container else root.step_mode
        site = Site(path, child, current, root.code, root.form, mode, kind, away or path in hidden, sequence)
        yield from _sites(net, site, kinds, hidden)


def _input_kinds(graph: fx.Graph, edges: dict[fx.Node, Kind]) -> dict[str, Kind]:
    """Kind of what flows into every module of the graph; the widest of several calls."""
    kinds: dict[str, Kind] = {}
    for node in graph.nodes:
        if node.op == "call_module" and node.all_input_nodes:
            widest = max(edges[source] for source in node.all_input_nodes)
            kinds[str(node.target)] = max(widest, kinds.get(str(node.target), Kind.CONSTANT))
    return kinds


def _predecessor_kind(parent: nn.Module, attribute: str, incoming: Kind | None) -> Kind | None:
    """Kind by the order in a ``Sequential``, where the dataflow was not traced."""
    if not isinstance(parent, nn.Sequential):
        return None
    kind = incoming
    for name, child in parent.named_children():
        if name == attribute:
            return kind
        if is_node(child):
            kind = Kind.SPIKES
        elif not isinstance(child, nn.Flatten | nn.Identity | nn.MaxPool2d | SpikePackMaxPool2d):
            kind = Kind.CURRENT
    return kind


def _apply(
    site: Site,
    before: str,
    outcome: Outcome,
    replaced: list[Replacement],
    named: list[Finding],
    training: list[Finding],
) -> None:
    if outcome.action == "replace":
        assert outcome.module is not None
        if site.parent is not None and outcome.module is not site.module:
            setattr(site.parent, site.path.rpartition(".")[2], outcome.module)
        replaced.append(Replacement(site.path, before, type(outcome.module).__name__, outcome.reason))
    elif outcome.action in ("name", "train"):
        finding = Finding(site.path, before, outcome.reason, outcome.remedy)
        (named if outcome.action == "name" else training).append(finding)
