"""A SpikePack network as a canonical graph for the exporter."""

from __future__ import annotations

import copy

from spikingjelly.activation_based import base, functional
from torch import fx, nn
from torch.fx.proxy import TraceError

from ..layer.synaptic_scale import ChannelConcat, SynapticScale
from ..neuron import SpikePackNode, set_form
from ..recipes.batchnorm import fold_batchnorm
from ..recipes.canonical import canonicalize
from ..recipes.shapes import shapes_of
from ..recipes.tree import SpikePackNetwork
from ..spec.errors import UnsupportedError
from ..spec.reason import reason
from .examples import Example, named_examples
from .weight_grid import plain_weights

__all__ = ["canonical_graph", "inputs_of"]


class _Tracer(fx.Tracer):
    """Keeps SpikingJelly's layers and ours whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        ours = (SpikePackNode, SynapticScale, ChannelConcat)
        whole = isinstance(m, (*ours, base.StepModule)) and not isinstance(m, fx.GraphModule)
        return whole or super().is_leaf_module(m, module_qualified_name)


def canonical_graph(snn: nn.Module, example_input: Example) -> fx.GraphModule:
    """Copy of ``snn`` in packed form, evaluation mode, on the CPU; one module per call, BatchNorm folded.

    Raises:
        UnsupportedError: The network does not trace, or an operation has no rule.
        ShapeError: The network does not take ``example_input``.
    """
    if isinstance(snn, SpikePackNetwork):
        why = getattr(snn.report, "reason", "") or "loaded from a file"
        raise UnsupportedError(
            "export: the network must be of the FX route, got one of the module route, which has no integer "
            f"form ({why}); replace what has no rule in the source network, or convert with route='fx'."
        )
    net = plain_weights(copy.deepcopy(snn).cpu().eval())
    functional.reset_net(net)
    functional.set_step_mode(net, "s")
    set_form(net, "packed")
    try:
        graph = _Tracer().trace(net)
    except (TraceError, TypeError) as error:
        raise UnsupportedError(
            f"export: torch.fx must be able to trace the network, got {type(error).__name__}: "
            f"{reason(error)}; move control flow that depends on the data out of forward."
        ) from None
    model = fx.GraphModule(net, graph)
    for node in [node for node in graph.nodes if node.op == "placeholder" and not node.users]:
        graph.erase_node(node)
    examples = named_examples(example_input, inputs_of(model))
    canonicalize(model)
    fold_batchnorm(model)
    # Does the network take them?
    batches = [value[:1].detach().cpu() for value in examples.values()]
    dtype = next((p.dtype for p in model.parameters()), None)
    shapes_of(model, [batch if dtype is None else batch.to(dtype) for batch in batches], "export")
    return model


def inputs_of(model: fx.GraphModule) -> list[str]:
    """Arguments of the network, in order."""
    return [str(node.target) for node in model.graph.nodes if node.op == "placeholder"]
