"""Latency of the pipelined single-step form, and the delays that keep its branches in the same window."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from spikingjelly.activation_based import base, functional
from torch import Tensor, fx, nn

from ..spec.errors import UnsupportedError
from .dataflow import Kind, edge_kinds
from .delay import SpikeDelay
from .members import form_modules, is_node, nodes_of, shared_code, window_latency
from .trace import trace

__all__ = ["BalancedForward", "Delay", "balance", "latency"]

_DELAYS = "spike_delays"


@dataclass(frozen=True)
class Delay:
    """One delayed skip branch of the single-step form.

    Attributes:
        source: Value that waits (name in the traced graph).
        consumer: Operation that joins the branches.
        steps: Time steps it waits, a multiple of the window.
    """

    source: str
    consumer: str
    steps: int


@contextmanager
def _single_step(net: nn.Module) -> Generator[None]:
    """Step mode ``"s"`` for the time of a trace; step modes are put back, states are not touched."""
    modes = {
        m: m._step_mode  # pyright: ignore[reportPrivateUsage]  (the property's setter asks the module's rules)
        for m in net.modules()
        if isinstance(m, base.StepModule) and hasattr(m, "_step_mode")
    }
    own = net.__dict__.pop("forward", None)
    try:
        for module in modes:
            if "s" in module.supported_step_mode():
                module._step_mode = "s"  # pyright: ignore[reportPrivateUsage]
        yield
    finally:
        for module, mode in modes.items():
            module._step_mode = mode  # pyright: ignore[reportPrivateUsage]
        if own is not None:
            net.__dict__["forward"] = own


def _arrivals(graph: fx.Graph, net: nn.Module) -> dict[fx.Node, int]:
    """Window in which every value is complete, the input's being 0."""
    arrivals: dict[fx.Node, int] = {}
    for node in graph.nodes:
        window = max((arrivals[source] for source in node.all_input_nodes), default=0)
        if node.op == "call_module":
            window += window_latency(net.get_submodule(str(node.target)))
        arrivals[node] = window
    return arrivals


def _traced(net: nn.Module) -> tuple[fx.Graph | None, str]:
    with _single_step(net):
        graph, error = trace(net)
    if graph is None:
        return None, f"the single-step form does not trace ({error})"
    calls = [str(node.target) for node in graph.nodes if node.op == "call_module"]
    inside = {name: module for name, module in form_modules(net) if not isinstance(module, SpikeDelay)}
    hidden = [name for name in inside if any(name.startswith(f"{call}.") for call in calls)]
    if hidden:
        return None, f"the trace does not look into what holds {hidden[0]}"
    twice = {name for name in calls if calls.count(name) > 1 and window_latency(net.get_submodule(name))}
    if twice:
        return None, f"{min(twice)} is called more than once in a time step"
    return graph, ""


def latency(net: nn.Module) -> int:
    """Latency of the serial single-step form in time steps: the window times the nodes on the longest path.

    Step ``latency(net) + t`` of the output belongs to step t of the input. Every node takes one window, as
    do layers that need a whole window (products, pools of currents); affine layers and
    :class:`SpikePackMaxPool2d` take none.

    Args:
        net: Network of SpikePack nodes whose forward torch.fx can trace.

    Returns:
        Time steps, a multiple of the window.

    Raises:
        UnsupportedError: No node, nodes of different windows, or a forward that does not trace.
    """
    code = shared_code(net, "latency")
    graph, error = _traced(net)
    if graph is None:
        raise UnsupportedError(
            f"latency: net must be traceable by torch.fx, got {type(net).__name__}: {error}; add up "
            "one window per node on the longest path by hand."
        )
    return _output_window(graph, net) * code.time_steps


def _output_window(graph: fx.Graph, net: nn.Module) -> int:
    arrivals = _arrivals(graph, net)
    return max(window for node, window in arrivals.items() if node.op == "output")


def balance(net: nn.Module) -> tuple[int | None, tuple[Delay, ...], str]:
    """Delay the skip branches of ``net`` in single-step form, in place; other forms are untouched.

    Returns:
        Latency in time steps (None where unknown), the delays, and why the latency is unknown.
    """
    net.__dict__.pop("forward", None)
    home = _home(net)
    if hasattr(net.get_submodule(home), _DELAYS):
        delattr(net.get_submodule(home), _DELAYS)
    code = shared_code(net, "adapt")
    graph, error = _traced(net)
    if graph is None:
        return None, (), error
    arrivals = _arrivals(graph, net)
    for node in graph.nodes:
        module = net.get_submodule(str(node.target)) if node.op == "call_module" else None
        if is_node(module):
            # Windows before this one only fill the pipeline and must leave no carry.
            module.start_window = arrivals[node] - 1
    wanted = _wanted_delays(graph, net, arrivals)
    if wanted:
        form = next(iter(nodes_of(net).values())).form
        mode = next(iter(nodes_of(net).values())).step_mode
        delays = {
            _delay_name(source, windows): SpikeDelay(
                windows, code.time_steps, code.tau, form=form, step_mode=mode
            )
            for source, _, windows in wanted
        }
        net.get_submodule(home).add_module(_DELAYS, nn.ModuleDict(delays))
        net.__dict__["forward"] = BalancedForward(net)
        functional.invalidate_reset_cache(net)
    records = tuple(Delay(s.name, c.name, w * code.time_steps) for s, c, w in wanted)
    return _output_window(graph, net) * code.time_steps, records, ""


def _home(net: nn.Module) -> str:
    """Where the delays live: the network, or its first node if the network runs its children one by one."""
    return next(iter(nodes_of(net))) if isinstance(net, nn.Sequential) else ""


def _delay_name(source: fx.Node, windows: int) -> str:
    return f"{source.name}_{windows}"


def _wanted_delays(
    graph: fx.Graph, net: nn.Module, arrivals: dict[fx.Node, int]
) -> list[tuple[fx.Node, fx.Node, int]]:
    kinds = edge_kinds(graph, net)
    wanted = []
    for node in graph.nodes:
        trains = [source for source in node.all_input_nodes if kinds[source] is not Kind.CONSTANT]
        latest = max((arrivals[source] for source in trains), default=0)
        wanted += [
            (source, node, latest - arrivals[source]) for source in trains if arrivals[source] < latest
        ]
    return wanted


class BalancedForward:
    """``forward`` of a network whose skip branches are delayed in serial single-step form.

    Stands as the attribute ``forward`` of the network. In every other form it calls the forward of the
    network's class. It can be copied and pickled; the graph is traced again when it is first needed.

    Args:
        net: The network, which holds its delays as ``spike_delays``.
    """

    def __init__(self, net: nn.Module) -> None:
        self.net = net
        self.graph: fx.Graph | None = None

    def __call__(self, *args: Tensor, **kwargs: Any) -> Any:
        """Run the network."""
        net = self.net
        first = next(module for module in net.modules() if isinstance(module, SpikeDelay))
        if first.form == "packed" or first.step_mode == "m":
            return type(net).forward(net, *args, **kwargs)
        if self.graph is None:
            self.graph = self._balanced_graph()
        return fx.Interpreter(net, graph=self.graph).run(*args)

    def _balanced_graph(self) -> fx.Graph:
        graph, error = _traced(self.net)
        if graph is None:
            raise UnsupportedError(
                f"adapt: the single-step form of {type(self.net).__name__} must trace as it did, got: "
                f"{error}; call adapt(net) again after changing the network."
            )
        prefix = f"{_home(self.net)}.{_DELAYS}".lstrip(".")
        for source, consumer, windows in _wanted_delays(graph, self.net, _arrivals(graph, self.net)):
            with graph.inserting_before(consumer):
                delayed = graph.call_module(f"{prefix}.{_delay_name(source, windows)}", (source,))
            consumer.replace_input_with(source, delayed)
        _call_each_delay_once(graph, prefix)
        return graph

    def __getstate__(self) -> dict[str, Any]:
        return {"net": self.net, "graph": None}


def _call_each_delay_once(graph: fx.Graph, prefix: str) -> None:
    """Consumers that wait for the same value equally long share one delay, called once per step."""
    first: dict[str, fx.Node] = {}
    for node in list(graph.nodes):
        if node.op == "call_module" and str(node.target).startswith(f"{prefix}."):
            kept = first.setdefault(str(node.target), node)
            if kept is not node:
                node.replace_all_uses_with(kept)
                graph.erase_node(node)
