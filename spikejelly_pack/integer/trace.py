"""A SpikePack network as a canonical graph for the exporter."""

from __future__ import annotations

import copy

from spikingjelly.activation_based import base, functional
from torch import Tensor, fx, nn
from torch.fx.proxy import TraceError

from ..layer.synaptic_scale import ChannelConcat, SynapticScale
from ..neuron import SpikePackNode, set_form
from ..recipes.batchnorm import fold_batchnorm
from ..recipes.canonical import canonicalize
from ..recipes.shapes import shapes_of
from ..spec.errors import UnsupportedError
from .weight_grid import plain_weights

__all__ = ["canonical_graph"]


class _Tracer(fx.Tracer):
    """Keeps SpikingJelly's layers and ours whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = (SpikePackNode, SynapticScale, ChannelConcat)
        whole = isinstance(m, (*ours, base.StepModule)) and not isinstance(m, fx.GraphModule)
        return whole or super().is_leaf_module(m, module_qualified_name)


def canonical_graph(snn: nn.Module, example_input: Tensor) -> fx.GraphModule:
    """Copy of ``snn`` in packed form, evaluation mode, on the CPU; one module per call, BatchNorm folded.

    Raises:
        UnsupportedError: The network does not trace, or an operation has no rule.
        ShapeError: The network does not take ``example_input``.
    """
    net = plain_weights(copy.deepcopy(snn).cpu().eval())
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    set_form(net, "packed")
    try:
        graph = _Tracer().trace(net)
    except (TraceError, TypeError) as error:
        raise UnsupportedError(
            f"export: torch.fx must be able to trace the network, got {type(error).__name__}: "
            f"{str(error).splitlines()[0]}; move control flow that depends on the data out of forward."
        ) from None
    model = fx.GraphModule(net, graph)
    inputs = [node.name for node in graph.nodes if node.op == "placeholder" and node.users]
    if len(inputs) != 1:
        raise UnsupportedError(f"export: the network must have one input, got {inputs}; export its parts.")
    canonicalize(model)
    fold_batchnorm(model)
    dtype = next((p.dtype for p in model.parameters()), example_input.dtype)
    shapes_of(model, example_input[:1].detach().cpu().to(dtype), "export")  # does the network take it?
    return model
