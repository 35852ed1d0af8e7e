"""One window for the codes of a converted network, whatever their length.

All nodes take the window of the longest code. A right-aligned code of T digits in a window of L stands for
``Q_T / Q_L`` of its value, in packed and serial form alike; what reads it absorbs ``Q_L / Q_T``, once and in
every form: weights in :mod:`.scales`, amplitude chains here.
"""

from __future__ import annotations

import torch
from torch import fx

from ..layer.scale_chain import SpikeAmplitude
from ..layer.window import FormModule
from ..neuron import SpikePackNode
from .graph import module_of, node_input

__all__ = ["share_window"]


def share_window(model: fx.GraphModule) -> None:
    """Give nodes and layers that look at whole windows the longest window, in place.

    Amplitude chains behind a right-aligned code first restore its own decoded value, to the last bit: at
    tau = 2 ``(P / Q_L) Q_L`` is the integer P in float32 and float64 for every P < 2^16.
    """
    nodes = [module for module in model.modules() if isinstance(module, SpikePackNode)]
    longest = max((node.window for node in nodes), default=1)
    for module in model.modules():
        if isinstance(module, SpikePackNode):
            module.window = longest
        elif isinstance(module, FormModule):
            module.time_steps = longest
    for node in model.graph.nodes:
        module = module_of(model, node)
        if isinstance(module, SpikeAmplitude):
            _restore(model, node, module)


def _restore(model: fx.GraphModule, node: fx.Node, amplitude: SpikeAmplitude) -> None:
    source = node_input(node)
    while not isinstance(firing := module_of(model, source), SpikePackNode):
        source = node_input(source)
    if firing.params.silent_steps:
        window, own = (
            torch.tensor(code.weight_sum, dtype=torch.float64)
            for code in (firing.params.window_code, firing.params)
        )
        model.add_submodule(str(node.target), amplitude.behind((("mul", window), ("div", own))))
