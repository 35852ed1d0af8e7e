"""Delays of skip branches, so that the single-step form needs no further preparation."""

from __future__ import annotations

from torch import fx

from ..layer.delay import SpikeDelay
from ..layer.members import window_latency
from ..spec.parameters import NeuronParameters
from .graph import call_after, module_of

__all__ = ["balance_branches"]


def balance_branches(model: fx.GraphModule, parameters: NeuronParameters) -> int:
    """Delay what arrives early where branches join, in place; returns how many delays it took.

    Every node takes one window in the pipelined single-step form. In the other forms a delay is the identity.
    """
    arrivals: dict[fx.Node, int] = {}
    delays: dict[tuple[fx.Node, int], fx.Node] = {}
    for node in list(model.graph.nodes):
        latest = max((arrivals[source] for source in node.all_input_nodes), default=0)
        for source in node.all_input_nodes:
            windows = latest - arrivals[source]
            if windows:
                if (source, windows) not in delays:
                    delay = SpikeDelay(windows, parameters.time_steps, parameters.tau, form="packed")
                    delays[source, windows] = call_after(model, source, f"{source.name}_delay", delay)
                node.replace_input_with(source, delays[source, windows])
        arrivals[node] = latest + window_latency(module_of(model, node))
    model.graph.lint()
    model.recompile()
    return len(delays)
